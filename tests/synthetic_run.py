"""Hand-made events of a run, for what consumes events and need not wait for a real run."""

from __future__ import annotations

import math

import numpy as np

from pib_lab.events import (
    Evaluated,
    Event,
    FaultsScanned,
    FaultsStruck,
    MadeSafe,
    MapTaken,
    Message,
    RunFinished,
    RunStarted,
    StateChanged,
    StepDone,
)
from pib_lab.frames import CameraFrame, FrameTaken
from pib_lab.records import Passes, RunState, UnitInfo, UnitStep

SIZES = {"hidden-1": (64, 64), "hidden-2": (64, 64), "read-out": (64, 10)}


def started(mock: bool = True, total_steps: int = 60, sizes: dict[str, tuple[int, int]] = SIZES) -> RunStarted:
    units = tuple(
        UnitInfo(
            name=name,
            device="chip",
            driver="mock-memristor-chip",
            objective="cross-entropy" if name == "read-out" else "conditional-entropy",
            inputs=inputs,
            outputs=outputs,
            drive_unit="V",
            drive_limits=(0.0, 0.2),
            response_unit="A",
            parameter_unit="S",
            parameter_limits=(0.0, 40e-6),
            parameter_shape=(inputs, outputs, 2),
            settle_s=1e-6,
        )
        for name, (inputs, outputs) in sizes.items()
    )
    return RunStarted(
        run_id="memristor-digits-20260101-120000-s1",
        protocol_name="memristor-digits",
        protocol_text='name = "memristor-digits"  # <b>not markup</b>\n',
        seed=1,
        versions={"pib-lab": "0.1.0", "numpy": np.__version__},
        git_commit="0123abc",
        units=units,
        first_step=0,
        total_steps=total_steps,
        steps_per_epoch=10,
        batch=128,
        mock=mock,
        dataset="digits",
        split_sizes=(1221, 216, 360),
        started_unix_s=1.7672688e9,
    )


def step_done(step: int, units: tuple[UnitInfo, ...], total_steps: int) -> StepDone:
    """Step `step`, counted from 1 as a run counts."""
    done = step / total_steps
    computed = step % 5 == 1
    return StepDone(
        step=step,
        epoch=(step - 1) // 10 + 1,
        batch_accuracy=0.1 + 0.85 * (1 - math.exp(-5 * done)) + 0.02 * math.sin(step),
        learning_rate=0.01 * (1 - done),
        units=tuple(
            UnitStep(
                name=unit.name,
                loss=2.3 * math.exp(-4 * done) + 0.02 * index,
                i_xz=6.2 - 0.6 * index - done if computed else math.nan,
                i_zy=1 + (2.0 + 0.1 * index) * done if computed else math.nan,
                h_z=6.4 - 0.6 * index - 0.9 * done if computed else math.nan,
                pulses=1000,
                cells_written=500,
                saturated=0.0,
                full_scale=1e-4,
            )
            for index, unit in enumerate(units)
        ),
        passes=Passes(training=128 * len(units) * step),
        pulses=1000 * len(units) * step,
        ceiling_bits=7.0,
        elapsed_s=0.05 * step,
    )


def map_taken(step: int, unit: UnitInfo, seed: int = 0) -> MapTaken:
    rng = np.random.default_rng(seed)
    shape = unit.parameter_shape
    weights = 12e-6 * rng.standard_normal(shape[:2])
    cells = np.clip(20e-6 + np.stack([weights, -weights], axis=-1) / 2, 0, 40e-6).astype(np.float32)
    faults = np.where(rng.random(shape) < 0.03, rng.integers(1, 5, shape), 0).astype(np.int8)
    return MapTaken(step, unit.name, cells, faults, rng.poisson(40, shape).astype(np.int32))


def frame_taken(step: int, unit: str = "hidden-1", shape: tuple[int, int] = (24, 32), seed: int = 0) -> FrameTaken:
    """A camera frame of speckle in 8 bits: some pixels clipped, one dead, four regions of 4 x 4 pixels."""
    rng = np.random.default_rng(seed + step)
    pixels = np.minimum(rng.exponential(60.0, shape), 255.0).astype(np.uint16)
    corners = [(shape[0] * down // 4, shape[1] * across // 4) for down in (1, 2) for across in (1, 2)]
    regions = np.array([(top, left, 4, 4) for top, left in corners], np.int32)
    return FrameTaken(step, unit, CameraFrame(pixels, 250, regions, np.array([(1, 2)], np.int32)))


def events(
    mock: bool = True, total_steps: int = 60, sizes: dict[str, tuple[int, int]] = SIZES, faults: bool = True
) -> list[Event]:
    """A whole run: every kind of event a report shows, in an order a run would publish them."""
    first = started(mock, total_steps, sizes)
    made: list[Event] = [first, StateChanged(RunState.RUNNING, 0)]
    for step in range(1, total_steps + 1):
        if faults and step == total_steps // 2:
            for index, unit in enumerate(first.units):
                cells = int(np.prod(unit.parameter_shape)) // 5
                made.append(FaultsStruck(step, unit.name, "mixed", 0.2, "none", cells))
                codes = map_taken(step, unit, index).faults
                made.append(FaultsScanned(step, unit.name, codes, cells, 512, 2 * cells, 0.995, 0.97))
        made.append(step_done(step, first.units, total_steps))
        if step % 10 == 0:
            made += [map_taken(step, unit, index) for index, unit in enumerate(first.units)]
            made.append(Evaluated(step, "validation", 0.6 + 0.36 * step / total_steps, 0.2, 216))
    made.append(Evaluated(total_steps, "test", 0.9722, 0.11, 360))
    made.append(Message("warning", "cells <near> the edge of the window", total_steps))
    made += [MadeSafe(unit.name, ("read voltage", "word lines"), (), "") for unit in first.units]
    passes = Passes(training=128 * 3 * total_steps, verify=5000, scan=1536, calibration=384, evaluation=4000)
    made.append(RunFinished("finished", total_steps, {"test_accuracy": 0.9722}, passes, 3000 * total_steps, 12.5))
    return made
