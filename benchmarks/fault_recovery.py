"""Cells that fail in mid-run, in every unit, the read-out included; and how well a scan finds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import tuning
from benchmarks.runs import METHODS, Job, Result, percent, run_all

BEFORE, AFTER = 2, 4
"""Epochs before and after the fault."""

NAMES = {
    "pib": METHODS["pib"],
    "partners": "local bottlenecks, nothing but the healthy partners re-set",
    "stale": "backprop through a stale twin, not told of the fault",
    "told": "backprop through a stale twin, cells scanned and re-set as for PIB",
    "exact": "backprop that knows every cell",
}

_TEACHES = {"partners": "pib", "told": "stale"}


def fault_recovery(seeds: Sequence[int], processes: int) -> str:
    """MNIST on chip B: a fifth and a half of all cells stick after two of six epochs."""
    jobs = []
    for seed in seeds:  # seed by seed, so that an interrupted benchmark leaves whole comparisons in its output
        jobs.append(Job("pib", "memristor-mnist", seed, (*_quiet(), *tuning.chosen("mnist", "pib"))))
        for fraction in (0.2, 0.5):
            for method in NAMES:
                teaches = _TEACHES.get(method, method)
                jobs.append(Job(teaches, "memristor-mnist", seed, _overrides(method, fraction)))
    results: dict[tuple[str, float], list[Result]] = {}
    for job, result in zip(jobs, run_all(jobs, processes), strict=True):
        fraction = next((float(text.split("=")[1]) for text in job.overrides if text.startswith("faults.0.frac")), 0.0)
        named = _named(job)
        results.setdefault((named, fraction), []).append(result)
        moments = [accuracy for _, split, accuracy in result.evaluations if split == "validation"]
        print(
            f"  {named} {fraction} seed {job.seed}: {result.metrics} {moments} {result.scans} {result.error} "
            f"{result.wall_s:.0f} s",
            flush=True,
        )
    return _tables(results, seeds)


def _named(job: Job) -> str:
    """The row of a job: a method, or one that differs by what is done after the fault."""
    if "scan.refit=false" in job.overrides:
        return "partners"
    return "told" if job.method == "stale" and "scan.after_faults=true" in job.overrides else job.method


def _quiet() -> tuple[str, ...]:
    return (f"schedule.epochs={BEFORE + AFTER}", "schedule.evaluate_every=1000000", "schedule.entropies_every=0")


def _overrides(method: str, fraction: float) -> tuple[str, ...]:
    chosen = tuning.chosen("mnist", _TEACHES.get(method, method))
    batch = next(int(text.split("=")[1]) for text in chosen if text.startswith("schedule.batch"))
    step = BEFORE * (54_000 // batch) + 1  # a fault strikes before its step
    told = method != "stale"
    fault = f'faults=[{{ step = {step}, fraction = {fraction}, kind = "mixed" }}]'
    scan = (f"scan.after_faults={str(told).lower()}", f"scan.refit={str(method != 'partners').lower()}")
    return (*_quiet(), *chosen, fault, *scan, f"faults.0.fraction={fraction}")


def _tables(results: dict[tuple[str, float], list[Result]], seeds: Sequence[int]) -> str:
    lines = [
        "### Faults of cells in mid-run, MNIST, 784-128-64-10 on chip B",
        "",
        f"`python -m benchmarks faults`; seeds {', '.join(map(str, seeds))}; {BEFORE} epochs before, {AFTER} after; "
        "each struck cell sticks low, high, in between or open; in every unit, the read-out included; settings as "
        "tuned without faults. Before, at the fault and after the re-set: validation accuracy; after training: test "
        "accuracy. The all-knowing peer has exact transfers at every step; which cells not to pulse, it learns from "
        "the same scan. Re-set: signals moved to lines that can hold their weights, and all healthy cells fitted to "
        "what the unit did before; in the row so named, nothing but the partners of stuck cells.",
        "",
        "| cells struck | method | before | at the fault | re-set, no training | after training |",
        "|---|---|---|---|---|---|",
    ]
    for method, fraction in sorted(results, key=lambda key: (key[1], list(NAMES).index(key[0]))):
        found = results[method, fraction]
        trained = percent([r.metrics["test_accuracy"] for r in found])
        if not fraction:
            lines.append(f"| none | {NAMES[method]} | | | | {trained} |")
            continue
        moments = [[accuracy for _, split, accuracy in r.evaluations if split == "validation"] for r in found]
        reset = percent([m[2] for m in moments]) if method != "stale" else "(not told)"
        before, struck = (percent([m[index] for m in moments]) for index in (0, 1))
        lines.append(f"| {fraction:.0%} | {NAMES[method]} | {before} | {struck} | {reset} | {trained} |")
    lines += ["", "What the scan found (cells faulty from birth included), per unit, mean over runs of PIB:", ""]
    lines += ["| cells struck | recall | precision | passes per cell | pulses per cell |", "|---|---|---|---|---|"]
    for (method, fraction), found in sorted(results.items()):
        if method == "pib" and fraction:
            after = [scan for result in found for scan in result.scans if scan["step"] > 1]

            def mean(key: str, scans: list[dict[str, float]] = after) -> float:
                return float(np.average([s[key] for s in scans], weights=[s["cells"] for s in scans]))

            cells = sum(scan["cells"] for scan in after)
            cost = [sum(scan[key] for scan in after) / cells for key in ("passes", "pulses")]
            lines.append(
                f"| {fraction:.0%} | {mean('recall'):.2%} | {mean('precision'):.2%} | {cost[0]:.3f} | {cost[1]:.1f} |"
            )
    return "\n".join([*lines, ""])
