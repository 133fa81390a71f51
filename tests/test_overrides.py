"""`--set key.path=value`: the text is changed where asked, comments stay, and mistakes are named."""

from __future__ import annotations

import contextlib
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pib_lab.errors import ConfigurationError
from pib_lab.experiment import parse_experiment
from pib_lab.overrides import apply_overrides
from protocols import read

TEXT = """# a comment
name = "small"

[schedule]
epochs = 3  # few

[[units]]
name = "hidden-1"
objective = { name = "renyi", beta = 0.1 }

[[units]]
name = "read-out"
objective = "cross-entropy"
"""


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("schedule.epochs=5", ["schedule", "epochs"], 5),
        (" schedule.epochs = 5 ", ["schedule", "epochs"], 5),
        ("name=other", ["name"], "other"),
        ('name="two words"', ["name"], "two words"),
        ("limits.drive=200 mV", ["limits", "drive"], "200 mV"),
        ("units.0.outputs=8", ["units", 0, "outputs"], 8),
        ("units.read-out.objective=nhsic", ["units", 1, "objective"], "nhsic"),
        ("units.hidden-1.objective.beta=0.5", ["units", 0, "objective", "beta"], 0.5),
        ("units.hidden-1.train=false", ["units", 0, "train"], False),
        ("scan.reads=2", ["scan", "reads"], 2),
        ("faults=[{step = 3, fraction = 0.1}]", ["faults"], [{"step": 3, "fraction": 0.1}]),
    ],
)
def test_values_land_where_the_path_leads(override: str, path: list[str | int], value: object) -> None:
    """By table, by position, by an entry's name, into inline tables and into tables that were not there."""
    node = tomllib.loads(apply_overrides(TEXT, [override]))
    for key in path:
        node = node[key]  # type: ignore[index]
    assert node == value


def test_comments_are_kept() -> None:
    """What the run file shows is the protocol as it was written, with the change."""
    changed = apply_overrides(TEXT, ["schedule.epochs=5"])
    assert "# a comment" in changed
    assert "epochs = 5  # few" in changed


def test_later_overrides_win() -> None:
    """They are applied in order."""
    changed = apply_overrides(TEXT, ["schedule.epochs=5", "schedule.epochs=6"])
    assert tomllib.loads(changed)["schedule"]["epochs"] == 6


def test_without_overrides_the_text_is_untouched() -> None:
    """Not even parsed: the parser's own message, with its line, comes later."""
    assert apply_overrides("not toml at all", []) == "not toml at all"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.epochs", "write key.path=value"),
        ("=5", "write key.path=value"),
        ("schedule..epochs=5", "write key.path=value"),
        ("units.hiden-1.outputs=3", "did you mean 'hidden-1'"),
        ("units.7.outputs=3", "not an entry"),
        ("units.read-out.objective.gain=2", "is a value, not a table"),
        ("name.first=2", "is a value, not a table"),
    ],
)
def test_paths_that_lead_nowhere_are_named(override: str, message: str) -> None:
    """One clear message, with the nearest right name where there is one."""
    with pytest.raises(ConfigurationError, match=message):
        apply_overrides(TEXT, [override])


def test_a_text_that_is_no_toml_is_refused() -> None:
    """Before anything is set."""
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        apply_overrides("[[[", ["a=1"])


def test_a_misspelt_key_is_caught_by_the_protocol() -> None:
    """An override may name any key; the validation that follows knows which there are."""
    _, text = read("memristor-digits")
    with pytest.raises(ConfigurationError, match=r"schedule\.epoch: unknown key; did you mean 'epochs'"):
        parse_experiment(apply_overrides(text, ["schedule.epoch=5"]))


@given(st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_no_override_makes_a_traceback(path: str, value: str) -> None:
    """Whatever is typed either gives valid TOML or a ConfigurationError."""
    with contextlib.suppress(ConfigurationError):
        tomllib.loads(apply_overrides(TEXT, [f"{path}={value}", f"schedule.{path}={value}"]))
