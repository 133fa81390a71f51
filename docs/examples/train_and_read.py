"""Train the shipped digits protocol, then read curves back: `python docs/examples/train_and_read.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pib_lab
from data.reader import Reader


def main(out: Path, *overrides: str) -> float:
    """Train with the given overrides; return the test accuracy."""
    lab = pib_lab.open("memristor-digits", overrides=overrides)
    dry = lab.check()  # touches nothing
    print(f"{dry.steps} steps, {dry.passes.training:,} training passes, limits {dry.limits}")
    run = lab.train(out)
    if run.error is not None:
        raise run.error
    with Reader(run.folder) as reader:
        for unit in reader.started.units:
            columns = reader.unit_steps(unit.name)
            known = columns["i_zy"][columns["i_zy"] == columns["i_zy"]]  # NaN where entropies were not computed
            print(f"{unit.name}: I(Z;Y) {known[0]:.2f} -> {known[-1]:.2f} bits, {columns['pulses'].sum():,} pulses")
    print(f"test accuracy {run.metrics['test_accuracy']:.1%}, recorded in {run.folder}")
    return run.metrics["test_accuracy"]


if __name__ == "__main__":
    main(Path("runs"), *sys.argv[1:])
