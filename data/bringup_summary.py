"""One page for people: what a bring-up procedure found, with its plots beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import jinja2

from data.procedure_record import ProcedureRecord, write_whole
from pib_lab.errors import RunFileError

SUMMARY = "summary.html"
_UNITS = {"_v": "V", "_a": "A", "_s": "s", "_siemens": "S", "_ohm": "ohm", "_k": "K", "_rad": "rad"}
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ r.procedure }}: {{ r.subject }} {{ r.serial }}</title>
<style>body{font:15px system-ui;margin:2em;max-width:70em}td,th{padding:.2em .9em .2em 0;text-align:left;
vertical-align:top}.pass{color:#00694b}.fail{color:#b02a00;font-weight:bold}.not-tested{color:#555}.incomplete{color:#7a5a00;font-weight:bold}img{max-width:100%}
</style>
<h1>{{ r.procedure }}: {{ r.subject }} {{ r.serial }}{% if r.mock %} (mock){% endif %}</h1>
<p class="{{ r.verdict.value.replace(' ', '-') }}">{{ r.verdict.value }} ({{ r.status
}}{% if r.status != "finished" %}: a part only{% endif %})</p>
{% if r.not_tested %}<p class="incomplete">Not tested: {{ r.not_tested | join(", ") }}</p>{% endif %}
{% if r.error %}<p class="fail">{{ r.error }}</p>{% endif %}
{% if r.not_confirmed %}<p class="fail">NOT confirmed off: {{ r.not_confirmed | join(", ") }}</p>{% endif %}
<table><tr><th>check</th><th>verdict</th><th>found</th><th>limits</th><th></th></tr>
{% for check in r.checks %}<tr><td>{{ check.name }}</td>
<td class="{{ check.verdict.value.replace(' ', '-') }}">{{ check.verdict.value }}</td>
<td>{{ shown(check.numbers) }}</td><td>{{ shown(check.limits) }}</td><td>{{ check.detail }}</td></tr>
{% endfor %}</table>
{% for plot in r.plots %}<p><img src="{{ plot }}" alt="{{ plot }}"></p>{% endfor %}
<p>{{ r.rows }} x {{ r.columns }} {% if r.subject == "chip" %}cells, {{ r.pulses }} pulses{% else %}pixels{% endif
%}; {{ r.started }} to {{ r.ended }}, {{ r.who }},
pib-lab {{ r.versions["pib-lab"] }}.</p></html>
"""


def write_summary(folder: Path, record: ProcedureRecord) -> Path:
    """Write summary.html into the procedure's folder. Raises RunFileError when it cannot be written."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_PAGE).render(r=record, shown=shown)
    try:
        write_whole(folder / SUMMARY, page.encode())
    except OSError as error:
        raise RunFileError(f"{folder}: the summary cannot be written ({error.strerror})") from error
    return folder / SUMMARY


def shown(numbers: Mapping[str, float]) -> str:
    """Numbers by names with unit suffixes, as people read them: "worst_a" of 2e-9 is "worst 2 nA"."""
    return ", ".join(_one(name, value) for name, value in numbers.items())


def _one(name: str, value: float) -> str:
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} {_scaled(value, unit)}"
    return f"{name.replace('_', ' ')} {value:.4g}"


def _scaled(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "beyond the range"
    scale, prefix = next((pair for pair in _PREFIXES if abs(value) >= pair[0]), (1.0, ""))
    return f"{value / scale:.4g} {prefix}{unit}"
