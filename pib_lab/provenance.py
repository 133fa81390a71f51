"""What a run file says about its origin: the software that made it, the units that it trained."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pib_lab._version import __version__
from pib_lab.capabilities import TellsHow
from pib_lab.experiment import Experiment
from pib_lab.records import UnitInfo
from pib_lab.unit import PhysicalUnit


def versions() -> dict[str, str]:
    """Of the project, the interpreter and the libraries that compute."""
    names = ("numpy", "torch", "h5py", "scikit-learn", "pydantic")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"pib-lab": __version__, "python": platform.python_version(), **found}


def git_commit() -> str:
    """Commit of the checkout that runs, with "+" when it has changes; empty outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here, capture_output=True, text=True, timeout=5, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def describe_units(
    experiment: Experiment, units: Sequence[PhysicalUnit], drivers: Mapping[str, str]
) -> tuple[UnitInfo, ...]:
    """What the protocol asked of each unit and what the unit says of itself; `drivers`: by name of the device."""
    infos = []
    for unit, wanted in zip(units, experiment.units, strict=True):
        spec, device = unit.spec, experiment.device_of(wanted)
        infos.append(
            UnitInfo(
                name=wanted.name,
                device=device,
                driver=drivers[device],
                objective=wanted.objective.name,
                inputs=wanted.inputs,
                outputs=wanted.outputs,
                drive_unit=spec.drive.unit,
                drive_limits=(spec.drive.low, spec.drive.high),
                response_unit=spec.response.unit,
                parameter_unit=spec.parameters.unit,
                parameter_limits=(spec.parameters.low, spec.parameters.high),
                parameter_shape=spec.parameters.shape,
                settle_s=spec.settle_s,
                how=unit.how() if isinstance(unit, TellsHow) else "",
            )
        )
    return tuple(infos)
