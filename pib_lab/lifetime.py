"""The wear of real chips over all runs: written down as a run goes on, and its budget (`limits.lifetime_pulses`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from data.wear_ledger import ChipWear, WearLedger
from pib_lab.capabilities import Costs, CountsWear, SitsOnChip
from pib_lab.errors import ConfigurationError, LimitError
from pib_lab.events import CheckpointTaken, Event, FaultsScanned, StepDone
from pib_lab.experiment import Experiment
from pib_lab.lessons import learner_config
from pib_lab.quantities import Counts, Mask
from pib_lab.rules import settings_of
from pib_lab.unit import PhysicalUnit

FLUSH_S = 10.0
_ALLOWED_WRITES = 32
"""Writes that a cell may get before its pulses are on record: what a killed run is charged with."""


@dataclass
class _Worn:
    """A unit, where its cells are, and what its writes can cost; counts are by cell.

    written: the unit's own counts that are on record; elsewhere: what the ledger holds besides them.
    """

    unit: PhysicalUnit
    sites: npt.NDArray[np.int32]  # (cells, 3): array, row, column
    written: npt.NDArray[np.int64]
    elsewhere: npt.NDArray[np.int64]
    pulses_per_write: int
    writes_ahead: int

    def pulses(self) -> npt.NDArray[np.int64]:
        counts: Counts = self.unit.pulses()  # type: ignore[attr-defined]  # only units that count are kept
        return counts.reshape(-1).astype(np.int64)

    def by_array(self) -> Iterator[tuple[str, Mask, npt.NDArray[np.int32], npt.NDArray[np.int32]]]:
        """For each array: its name in the ledger, which cells are on it, their rows and their columns."""
        for number in np.unique(self.sites[:, 0]):
            here = self.sites[:, 0] == number
            yield str(number), here, self.sites[here, 1], self.sites[here, 2]

    def put(self, values: npt.NDArray[Any], into: dict[str, npt.NDArray[Any]]) -> None:
        """Put a value of each cell to its place in `into`, maps by array, which grow as needed."""
        for name, here, rows, columns in self.by_array():
            old = into.get(name, np.zeros((0, 0), values.dtype))
            shape = np.maximum(old.shape, (rows.max() + 1, columns.max() + 1))
            grown = np.zeros(shape, values.dtype)
            grown[: old.shape[0], : old.shape[1]] = old
            grown[rows, columns] = values[here]
            into[name] = grown

    def note(self, pulses: npt.NDArray[np.int64], wear: ChipWear) -> None:
        """`pulses` are on record, in `wear`."""
        self.written = pulses
        for name, here, rows, columns in self.by_array():
            self.elsewhere[here] = wear.arrays[name].total[rows, columns] - pulses[here]

    def lifetime(self) -> npt.NDArray[np.int64]:
        """Pulses of each cell over all runs, what is not on record yet included."""
        return self.elsewhere + self.pulses()


def uncounted(units: Sequence[PhysicalUnit], limit: int | None) -> list[str]:
    """A warning for each of these real units whose wear cannot be kept over runs.

    Raises ConfigurationError when there is a budget to keep.
    """
    silent = [unit.spec.name for unit in units if not (isinstance(unit, CountsWear) and isinstance(unit, SitsOnChip))]
    if silent and limit is not None:
        raise ConfigurationError(
            f"limits.lifetime_pulses: the driver of {', '.join(silent)} does not tell which cells of which chip it "
            "wears; leave limits.lifetime_pulses out"
        )
    return [f"unit {name}: its driver does not tell which cells of which chip it wears: not kept" for name in silent]


class Lifetime:
    """Counts one run's pulses into the ledgers of its chips. Units must be open from `begin` to `end`."""

    def __init__(
        self,
        ledger: WearLedger,
        experiment: Experiment,
        units: Sequence[PhysicalUnit],
        run: str,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ledger, self._run, self._clock = ledger, run, clock
        self._limit = experiment.limits.lifetime_pulses
        self._chips: dict[str, list[_Worn]] = {}
        for unit in units:
            if isinstance(unit, CountsWear) and isinstance(unit, SitsOnChip):
                sites = np.asarray(unit.cell_sites(), np.int32).reshape(-1, 3)
                most = unit.costs().pulses_per_write_max if isinstance(unit, Costs) else 1
                none = np.zeros(len(sites), np.int64)
                worn = _Worn(unit, sites, none, none.copy(), most, _writes_ahead(experiment, unit))
                worn.written = worn.pulses()
                self._chips.setdefault(unit.chip_serial(), []).append(worn)
        self._sessions: dict[str, str] = {}
        self._flushed_s = clock()

    def begin(self) -> None:
        """Open a session in each chip's ledger. Raises LimitError when the first programming could overdraw."""
        for serial, worn in self._chips.items():
            cells: dict[str, Mask] = {}
            for each in worn:
                each.put(np.ones(len(each.sites), np.bool_), cells)
            allowance = max(_ALLOWED_WRITES * each.pulses_per_write for each in worn)
            self._sessions[serial] = self._ledger.begin(serial, self._run, cells, allowance)
            wear = self._ledger.read(serial)
            for each in worn:
                each.note(each.written, wear)
        self._check("the first programming")

    def show(self, event: Event) -> None:
        """After a step, a scan or a checkpoint: write down what is due.

        Called on the run's own thread, so that nothing is programmed meanwhile. Raises LimitError when the next step
        could overdraw the budget.
        """
        if not isinstance(event, StepDone | FaultsScanned | CheckpointTaken):
            return
        if self._clock() - self._flushed_s >= FLUSH_S or any(map(_is_due, self._all())):
            self._flush(last=False)
        if not isinstance(event, CheckpointTaken):
            self._check("the next step")

    def end(self) -> None:
        """Write down the rest and close the sessions. Idempotent."""
        self._flush(last=True)
        self._sessions.clear()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _all(self) -> list[_Worn]:
        return [each for worn in self._chips.values() for each in worn]

    def _flush(self, last: bool) -> None:
        for serial, session in self._sessions.items():
            fresh: dict[str, npt.NDArray[Any]] = {}
            counted = [(each, each.pulses()) for each in self._chips[serial]]
            for each, pulses in counted:
                each.put(pulses - each.written, fresh)
            wear = self._ledger.add(serial, session, fresh, last=last)
            for each, pulses in counted:
                each.note(pulses, wear)
        self._flushed_s = self._clock()

    def _check(self, what: str) -> None:
        if self._limit is None:
            return
        for serial, worn in self._chips.items():
            for each in worn:
                total = each.lifetime()
                cell = int(total.argmax())
                worst, place = int(total[cell]), tuple(int(index) for index in each.sites[cell])
                foreseen = each.writes_ahead * each.pulses_per_write
                if worst + foreseen > self._limit:
                    raise LimitError(
                        f"limits.lifetime_pulses: cell {place} (array, row, column) of chip {serial} has had {worst:,} "
                        f"of {self._limit:,} pulses and {what} could cost it {foreseen:,}; take another chip "
                        f"(`pib-lab wear {serial}`) or raise the budget"
                    )


def _is_due(each: _Worn) -> bool:
    """Whether the next step could take a cell beyond what a killed run is charged with."""
    unwritten = int((each.pulses() - each.written).max(initial=0))
    return unwritten > (_ALLOWED_WRITES - each.writes_ahead) * each.pulses_per_write


def _writes_ahead(experiment: Experiment, unit: PhysicalUnit) -> int:
    """Writes of one cell between two looks: a step with what its rule measures, and a scan with what mends after it."""
    wanted = next(wanted for wanted in experiment.units if wanted.name == unit.spec.name)
    scan = experiment.scan
    scans = scan.at_start or scan.every or (scan.after_faults and experiment.faults)
    step = 1 + settings_of(learner_config(experiment, wanted), unit)
    return step + (2 + scan.compensate + scan.refit if scans else 0)
