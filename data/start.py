"""How a run file says what run it holds: attributes that any viewer shows, and the same read back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from data.layout import FORMAT
from pib_lab.events import RunStarted
from pib_lab.records import UnitInfo


def write_start(file: Any, started: RunStarted) -> None:
    """Root attributes, the protocol's text, and a group of attributes for each unit."""
    attributes = {
        "format": FORMAT,
        "schema": started.schema,
        "run_id": started.run_id,
        "protocol_name": started.protocol_name,
        "seed": started.seed,
        "versions": json.dumps(started.versions),
        "git_commit": started.git_commit,
        "first_step": started.first_step,
        "total_steps": started.total_steps,
        "steps_per_epoch": started.steps_per_epoch,
        "batch": started.batch,
        "mock": started.mock,
        "dataset": started.dataset,
        "split_sizes": started.split_sizes,
        "started_unix_s": started.started_unix_s,
    }
    for name, value in attributes.items():
        file.attrs[name] = value
    file.create_dataset("protocol", data=started.protocol_text)
    for index, unit in enumerate(started.units):
        _write_unit(file, index, unit)


def _write_unit(file: Any, index: int, unit: UnitInfo) -> None:
    group = file.create_group(f"units/{unit.name}")
    attributes = {
        "index": index,
        "device": unit.device,
        "driver": unit.driver,
        "objective": unit.objective,
        "inputs": unit.inputs,
        "outputs": unit.outputs,
        "drive_unit": unit.drive_unit,
        "drive_limits": unit.drive_limits,
        "response_unit": unit.response_unit,
        "parameter_unit": unit.parameter_unit,
        "parameter_limits": unit.parameter_limits,
        "parameter_shape": np.array(unit.parameter_shape, np.int64),
        "settle_s": unit.settle_s,
        "how": unit.how,
    }
    for name, value in attributes.items():
        group.attrs[name] = value


def read_start(file: Any) -> RunStarted:
    """What `write_start` wrote."""
    at = file.attrs
    groups = sorted(file["units"].items(), key=lambda item: int(item[1].attrs["index"])) if "units" in file else []
    return RunStarted(
        run_id=str(at["run_id"]),
        protocol_name=str(at["protocol_name"]),
        protocol_text=file["protocol"][()].decode(),
        seed=int(at["seed"]),
        versions=json.loads(at["versions"]),
        git_commit=str(at["git_commit"]),
        units=tuple(_read_unit(name, group.attrs) for name, group in groups),
        first_step=int(at["first_step"]),
        total_steps=int(at["total_steps"]),
        steps_per_epoch=int(at["steps_per_epoch"]),
        batch=int(at["batch"]),
        mock=bool(at["mock"]),
        dataset=str(at["dataset"]),
        split_sizes=_ints(at["split_sizes"]),  # type: ignore[arg-type]  # written from a triple
        started_unix_s=float(at["started_unix_s"]),
        schema=int(at["schema"]),
    )


def _read_unit(name: str, at: Any) -> UnitInfo:
    return UnitInfo(
        name=name,
        device=str(at["device"]),
        driver=str(at["driver"]),
        objective=str(at["objective"]),
        inputs=int(at["inputs"]),
        outputs=int(at["outputs"]),
        drive_unit=str(at["drive_unit"]),
        drive_limits=_pair(at["drive_limits"]),
        response_unit=str(at["response_unit"]),
        parameter_unit=str(at["parameter_unit"]),
        parameter_limits=_pair(at["parameter_limits"]),
        parameter_shape=_ints(at["parameter_shape"]),
        settle_s=float(at["settle_s"]),
        how=str(at.get("how", "")),  # not in files of before units told
    )


def _pair(values: Any) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
