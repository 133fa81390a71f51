"""The report: what a reader must find in it, whatever became of the run."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import synthetic_run

from data.guardian_record import GUARDIAN_RECORD, read_guardian
from data.map_plots import maps_figure
from data.plots import as_png
from data.recorder import Recorder
from data.report import render, write_report
from data.summary import UNFINISHED, UnitData, summarise
from data.wording import count, duration, interval, percent
from pib_lab.errors import RunFileError
from pib_lab.events import CheckpointTaken, Event, MadeSafe, MapTaken, RunFinished, StepDone
from pib_lab.records import Passes


class _Checker(HTMLParser):
    """Counts open tags and gathers every address that a browser would fetch."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    """The report of a whole mock run."""
    return render(synthetic_run.events(sizes={"hidden-1": (16, 12), "read-out": (12, 3)}))


def _until(kind: type[Event]) -> list[Event]:
    made = synthetic_run.events(sizes={"only": (4, 3)})
    return made[: next(i for i, event in enumerate(made) if isinstance(event, kind))]


def test_a_report_counts_steps_from_one(page: str) -> None:
    """A whole run of 60 steps is reported as 60 of 60."""
    assert "60 of 60" in page
    assert "61 of" not in page


def test_a_report_is_well_formed_and_needs_nothing_but_itself(page: str) -> None:
    """Every tag is closed, and every picture is inside the file."""
    checker = _Checker()
    checker.feed(page)
    assert not checker.open
    assert len(checker.sources) == 6  # entropies, plane, accuracy, losses, two maps
    assert all(source.startswith("data:image/") for source in checker.sources)


def test_its_headline_states_accuracy_seed_and_data_set(page: str) -> None:
    """Test accuracy, seed and data set stand in the headline."""
    headline = page[page.index('class="headline"') : page.index("<h2>Units")]
    assert "97.22 %" in headline
    assert "finished" in headline
    assert "digits" in headline
    assert "seed" in headline


def test_a_mock_run_says_so_before_any_number(page: str) -> None:
    """The mock banner comes before the headline."""
    assert page.index("MOCK") < page.index('class="headline"')
    assert "proved on a model, not on real hardware" in page


def test_a_real_run_carries_no_mock_banner() -> None:
    """A run on instruments is badged as such."""
    real = render(synthetic_run.events(mock=False, sizes={"only": (4, 3)}))
    assert "MOCK" not in real
    assert "REAL HARDWARE" in real


def test_texts_from_the_run_are_escaped(page: str) -> None:
    """A protocol or a message cannot put markup into the page."""
    assert "<b>not markup</b>" not in page
    assert "&lt;b&gt;not markup" in page


def test_wear_is_stated_with_its_time_at_two_pulse_widths(page: str) -> None:
    """180,000 pulses take 1.8 s at 10 µs and 3 min at 1 ms."""
    assert "180\u2009000 programming pulses" in page
    assert re.search(r"<b>1\.8 s</b> at 10 µs", page)
    assert re.search(r"<b>3 min</b> at 1 ms", page)


def test_passes_are_counted_by_kind_and_faults_with_recall(page: str) -> None:
    """Cost by purpose, and what the scan found, are tables."""
    for words in ("verify", "calibration", "99.50 %", "97.00 %", "mixed"):
        assert words in page


def test_a_run_without_a_step_still_yields_a_report() -> None:
    """Before the first step the report says that nothing is recorded yet."""
    page = render(_until(StepDone))
    assert "No step is recorded yet" in page
    assert "No map is recorded yet" in page
    assert "No entropies are recorded yet" in page


def test_a_killed_run_still_yields_a_report_that_says_so() -> None:
    """Without an end the report claims neither success nor safety."""
    page = render(_until(MadeSafe))
    assert "No end of this run is recorded" in page
    assert "whether outputs are off is not known" in page


def test_outputs_not_confirmed_off_are_shouted() -> None:
    """An output that was not read back off stands at the top."""
    made = [*_until(MadeSafe), MadeSafe("only", ("word lines",), ("read voltage",), "link dead")]
    page = render(made)
    assert "NOT confirmed off: only (read voltage)" in page
    assert page.index("NOT confirmed off") < page.index("<h2>Units")


def _acted(folder: Path, unix_s: float, *outcomes: dict[str, object], safe: bool | None = True) -> None:
    notes: list[dict[str, object]] = [{"what": "acting", "why": "the run is gone", "devices": ["mock"]}]
    notes += [{"what": "outcome", **outcome} for outcome in outcomes]
    notes += [{"what": "ended", "safe": safe}] if safe is not None else []
    lines = [json.dumps({"unix_s": unix_s, **note}) for note in notes]
    (folder / GUARDIAN_RECORD).write_text("\n".join([*lines, '{"what": "cut']))


OFF = {"device": "chip", "confirmed": ["read voltage"], "not_confirmed": []}
ON = {"device": "chip", "confirmed": [], "not_confirmed": ["read voltage"]}


@pytest.mark.parametrize(
    ("outcomes", "safe", "since_s", "settled"),
    [
        ((OFF,), True, 0.0, True),
        ((OFF, {**OFF, "device": "other"}), True, 0.0, True),
        (({**OFF, "device": "chip.drive"},), True, 0.0, True),
        (({**OFF, "device": "other"},), True, 0.0, False),
        ((ON,), False, 0.0, False),
        ((OFF,), None, 0.0, False),
        ((OFF,), True, 2001.0, None),
    ],
    ids=["off", "others too", "a link of it", "another device", "on", "it was killed", "before the doubt"],
)
def test_a_guardian_vouches_for_what_it_read_back_later(
    tmp_path: Path, outcomes: tuple[dict[str, object], ...], safe: bool | None, since_s: float, settled: bool | None
) -> None:
    """Only a word that came after the run's, has an end, and names the device as off, takes the doubt away."""
    _acted(tmp_path, 2000.0, *outcomes, safe=safe)
    word = read_guardian(tmp_path, since_s)
    assert (None if word is None else word.vouches_for({"chip"})) is settled


def test_what_the_guardian_could_not_confirm_is_shouted_too(tmp_path: Path) -> None:
    """Both the run's doubt and the guardian's stand at the top."""
    _acted(tmp_path, 2000.0, ON, safe=False)
    made = [*_until(MadeSafe), MadeSafe("only", (), ("read voltage",), "link dead")]
    page = render(made, lambda: read_guardian(tmp_path))
    assert "NOT confirmed off: only (read voltage)" in page
    assert "NOT confirmed off: chip: read voltage" in page


def test_a_run_without_a_guardians_record_has_no_word_of_it(tmp_path: Path) -> None:
    """It never had to act."""
    assert read_guardian(tmp_path) is None


def test_a_failed_run_shows_its_error() -> None:
    """The banner of a failed run holds the message of the error."""
    made = synthetic_run.events(sizes={"only": (4, 3)})[:-1]
    failed = RunFinished("failed", 60, {}, Passes(), 0, 1.0, "the ADC did not answer")
    page = render([*made, failed])
    assert "the ADC did not answer" in page


def test_a_summary_of_no_run_is_an_error() -> None:
    """Events without a start are refused."""
    with pytest.raises(RunFileError, match="no start of a run"):
        summarise([])


def test_a_summary_follows_an_unfinished_run() -> None:
    """Passes and pulses of a killed run are those of its last step."""
    run = summarise(_until(MadeSafe))
    assert run.status == UNFINISHED
    assert run.pulses == 60 * 1000
    assert run.last_step == 60
    assert run.units[0].wear is not None


def test_the_newest_faults_are_shown() -> None:
    """A scan after the last map replaces the map's faults."""
    info = synthetic_run.started(sizes={"only": (4, 3)}).units[0]
    taken = synthetic_run.map_taken(5, info)
    scan = next(e for e in synthetic_run.events(sizes={"only": (4, 3)}) if type(e).__name__ == "FaultsScanned")
    unit = UnitData(info, {}, taken, (scan,))
    assert unit.faults is scan.faults
    assert UnitData(info, {}, taken, ()).faults is taken.faults


@pytest.mark.parametrize("shape", [(9,), (5, 4), (3, 4, 5)])
def test_maps_of_any_shape_can_be_drawn(shape: tuple[int, ...]) -> None:
    """Parameters that are not pairs of cells (phases, say) are drawn as they are."""
    info = synthetic_run.started(sizes={"only": (4, 3)}).units[0]
    codes, counts = np.zeros(shape, np.int8), np.zeros(shape, np.int32)
    taken = MapTaken(0, "only", np.zeros(shape, np.float32), codes, counts)
    figure = maps_figure(UnitData(info, {}, taken, ()))
    assert figure is not None
    assert as_png(figure, 30).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("seconds", "words"), [(10e-6, "10 µs"), (1e-3, "1 ms"), (2600.0, "43.3 min"), (255600.0, "71 h"), (0.0, "0 s")]
)
def test_durations_are_read_at_a_glance(seconds: float, words: str) -> None:
    """A time is stated in the unit that suits it."""
    assert duration(seconds) == words


def test_what_is_not_known_is_a_dash() -> None:
    """NaN never reaches the reader's eye."""
    assert percent(float("nan")) == "–"
    assert count(1234567) == "1\u2009234\u2009567"


def test_write_report_puts_it_beside_the_run_file(tmp_path: Path) -> None:
    """A recorded run, not yet closed, gives report.html in its folder."""
    made = synthetic_run.events(total_steps=10, sizes={"only": (4, 3)})
    folder = tmp_path / "run"
    with Recorder.create(folder, synthetic_run.started(sizes={"only": (4, 3)}), CheckpointTaken(0, {})) as recorder:
        for event in made[1:]:
            recorder.record(event)
    path = write_report(folder)
    assert path == folder / "report.html"
    source = re.search(r"data:image/png;base64,([^\"]+)", path.read_text("utf-8"))
    assert source is not None
    assert base64.b64decode(source[1]).startswith(b"\x89PNG")
    assert not list(folder.glob("*.partial"))


def test_limits_are_stated_with_a_prefix() -> None:
    """Forty microsiemens, not 4e-05 S."""
    assert interval((0.0, 40e-6), "S") == "0 to 40 µS"
