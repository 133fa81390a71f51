# Everything a fresh clone needs: python3 (3.11 or newer, with its venv module) and make. Nothing has to be done before.
#   make demo    train a deep memristor network on handwritten digits (mock chip) and write a report
#   make test    run the tests
#   make check   linter, formatter, types, layers between packages, tests
#   make bench   print the figures of docs/benchmarks.md anew
#   make screenshots   take the pictures of docs/operator-guide.md anew, of the real desktop on mocks
# Another interpreter: make test PYTHON=python3.12. Another place for the environment: make test VENV=/tmp/venv.
# On Linux pip fetches a CUDA build of torch unless told otherwise:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two processes, each with whole files, whose tests may share what is dear to make.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

# These belong to whoever calls make; a foreign PYTHONPATH would shadow what is installed here.
unexport PYTHONPATH PYTHONHOME

.PHONY: demo test check bench screenshots clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/pib-lab run memristor-digits --out runs

test: $(VENV)/.installed-test
	$(PYTEST)

check: $(VENV)/.installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks

# With xvfb-run (on Debian and Ubuntu: apt install xvfb) in real windows on a screen that is not there, else without a screen.
screenshots: $(VENV)/.installed-test
	@if command -v xvfb-run > /dev/null; then \
	  xvfb-run -a -s "-screen 0 2560x1440x24" $(BIN)/python -m benchmarks.screenshots; \
	else \
	  $(BIN)/python -m benchmarks.screenshots; \
	fi

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Stamp files make a second call fast; a change of the dependencies (setup.cfg, pyproject.toml) installs again.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "PIB Lab needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "the venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.installed: $(VENV)/.created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test,optics,gui]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-check: $(VENV)/.created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test,check,optics,gui]'
	touch $@ $(VENV)/.installed-test $(VENV)/.installed
