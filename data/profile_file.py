"""A fitted device profile as a TOML file: every number with where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import tomlkit

from data.procedure_record import ProcedureRecord, write_whole
from data.profile_fit import ProfileFit
from pib_lab.errors import RunFileError

Entries = Mapping[str, tuple[float | int | str, str]]
"""Value and source by key, in the order of the file."""


def fitted_entries(fit: ProfileFit, record: ProcedureRecord, run: str, base: Entries, base_name: str) -> Entries:
    """The profile `base` with the fitted numbers in the place of its own; `run` names where they were measured.

    What the fit tells of read noise is its white part; the share of telegraph noise is taken from `base`.
    """
    fresh = dict(fit.numbers)
    origin = f"fitted from {run}, chip {record.serial}, {record.ended[:10]}, {fit.cells} cells"
    entries: dict[str, tuple[float | int | str, str]] = {}
    for key, (value, source) in base.items():
        if key == "read_noise" and fresh["read_noise_white"].value > 0.0:
            share = float(base["telegraph_fraction"][0])
            white = fresh["read_noise_white"]
            scale = 1.0 / math.sqrt(1.0 - share) if share < 1.0 else 1.0
            text = f"{origin}: white part +- {white.error:.2g}, with the telegraph share of {base_name}"
            entries[key] = _digits(white.value * scale), text
        elif key in fresh:
            entries[key] = _digits(fresh[key].value), f"{origin}, +- {fresh[key].error:.2g}"
        else:
            kept = source if source.startswith("kept from ") else f"kept from {base_name}: {source}"
            entries[key] = value, kept
    return entries


def write_profile(path: Path, title: str, entries: Entries, fit: ProfileFit) -> None:
    """Write the profile. Raises RunFileError when it cannot be written."""
    document = tomlkit.document()
    residual = f"{fit.residual_siemens:.3g} S rms between measured and fitted mean paths, {fit.left_out} cells left out"
    for text in (f"Fitted to a measured pulse response: {residual}.", *fit.notes):
        document.add(tomlkit.comment(text))
    document.add("title", tomlkit.item(title))
    for key, (value, source) in entries.items():
        row = tomlkit.inline_table()
        row.update({"value": value, "source": source})
        document.add(key, row)
    try:
        write_whole(path, tomlkit.dumps(document).encode())
    except OSError as error:
        raise RunFileError(f"profile {path}: cannot be written ({error.strerror}); choose another --out") from error


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
