"""Accuracy against the peers: digits, MNIST, one 128x64 array, and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import tuning
from benchmarks.runs import METHODS, Job, Result, mean_se, percent, run_all


@dataclass(frozen=True)
class Contest:
    """One table: methods on one protocol."""

    title: str
    protocol: str
    methods: tuple[str, ...]
    hidden: tuple[str, ...]
    tuning: tuple[str, ...] = ()  # overrides of the trials only
    trials: int = 8
    batches: tuple[str, ...] = ("128", "256", "512")
    tuning_seeds: tuple[int, ...] = (101, 102)


QUIET = ("schedule.entropies_every=0", "schedule.maps_every=0")
"""No entropies and no maps, which do not change what is learned."""

CONTESTS = {
    "digits": Contest(
        "Digits 8x8, 64-64-64-10 on chip B",
        "memristor-digits",
        ("pib", "exact", "stale", "frozen", "float"),
        ("hidden-1", "hidden-2"),
        tuning=("dataset.validation=0.2", "schedule.epochs=30"),
        batches=("64", "128", "256"),
    ),
    "mnist": Contest(
        "MNIST, 784-128-64-10 on chip B, 10 epochs",
        "memristor-mnist",
        ("pib", "exact", "stale", "frozen", "float"),
        ("hidden-1", "hidden-2"),
        tuning=("schedule.epochs=3",),
        batches=("256", "512"),
        tuning_seeds=(101,),
    ),
    "li-2018": Contest(
        "MNIST at 8x8, 64-54-10 within one 128x64 array of the Li 2018 profile, 11 % stuck, 80,000 samples",
        "memristor-li-2018",
        ("pib", "exact", "stale", "frozen", "float"),
        ("hidden",),
        trials=3,
        tuning_seeds=(101,),
        batches=("100", "200", "400"),  # 40,000 is a multiple of each, so every run sees 80,000 samples
    ),
}


def contest(name: str, seeds: Sequence[int], processes: int, *, tune: bool) -> str:
    """Tune (if asked to) and run one contest; returns its section of docs/benchmarks.md."""
    what = CONTESTS[name]
    if tune:
        for method in what.methods:
            tuning.tune(
                name,
                what.protocol,
                method,
                grid=tuning.grid_of(method, what.batches),
                fixed=QUIET,
                short=what.tuning,
                hidden=what.hidden,
                count=what.trials,
                seeds=what.tuning_seeds,
                processes=processes,
            )
    jobs = [
        Job(method, what.protocol, seed, (*QUIET, *tuning.chosen(name, method)))
        for method in what.methods
        for seed in seeds
    ]
    by_method: dict[str, list[Result]] = {method: [] for method in what.methods}
    for job, result in zip(jobs, run_all(jobs, processes), strict=True):
        by_method[job.method].append(result)
        print(f"  {job.method} seed {job.seed}: {result.metrics} {result.error} {result.wall_s:.0f} s", flush=True)
    return _table(name, what, by_method, seeds)


def _table(name: str, what: Contest, by_method: dict[str, list[Result]], seeds: Sequence[int]) -> str:
    lines = [
        f"### {what.title}",
        "",
        f"`python -m benchmarks {name}`; seeds {', '.join(map(str, seeds))}; tuned on validation data, "
        f"{tuning.trials_of(name, 'pib')} trials a method.",
        "",
        "| method | test accuracy | PIB minus it, paired | passes per sample and update | pulses a cell | tuned to |",
        "|---|---|---|---|---|---|",
    ]
    pib = [result.metrics["test_accuracy"] for result in by_method["pib"]]
    for method, results in by_method.items():
        accuracy = [result.metrics["test_accuracy"] for result in results]
        mean, error = mean_se([100 * (a - b) for a, b in zip(pib, accuracy, strict=True)])
        difference = "" if method == "pib" else f"{mean:+.2f} ± {error:.2f}"
        passes = results[0].metrics.get("training_passes_per_sample_per_update")
        pulses = results[0].metrics.get("pulses_per_parameter")
        chosen = ", ".join(text.split(".", 1)[-1] for text in tuning.chosen(name, method))
        lines.append(
            f"| {METHODS[method]} | {percent(accuracy)} | {difference} | {'' if passes is None else f'{passes:g}'} "
            f"| {'' if pulses is None else f'{pulses:.0f}'} | {chosen} |"
        )
    slowest = max(result.wall_s for result in by_method["pib"])
    lines += ["", f"Slowest PIB run, on one core beside another run: {slowest:.0f} s.", ""]
    return "\n".join(lines)


def depth(seeds: Sequence[int], processes: int) -> str:
    """Ten crossbars of 64 against three, on digits, both at what tuning chose for three."""
    base = tuning.chosen("digits", "pib")
    jobs = [Job("pib", "memristor-digits", seed, (*QUIET, *base)) for seed in seeds]
    first = [text for text in base if text.startswith("units.hidden-1.")]
    shared = [text for text in base if not text.startswith("units.")]
    local = [text.replace("hidden-1", f"hidden-{unit}") for unit in range(1, 10) for text in first]
    deep = [Job("pib", "memristor-digits-deep", seed, (*QUIET, *shared, *local)) for seed in seeds]
    results = list(run_all([*jobs, *deep], processes))
    three = [result.metrics["test_accuracy"] for result in results[: len(seeds)]]
    ten = [result.metrics["test_accuracy"] for result in results[len(seeds) :]]
    mean, error = mean_se([100 * (a - b) for a, b in zip(ten, three, strict=True)])
    return "\n".join(
        [
            "### Depth: ten crossbars of 64 on digits",
            "",
            f"`python -m benchmarks depth`; seeds {', '.join(map(str, seeds))}; settings as tuned for three crossbars.",
            "",
            "| network | test accuracy |",
            "|---|---|",
            f"| 3 crossbars, 64-64-64-10 | {percent(three)} |",
            f"| 10 crossbars, 64-(9 x 64)-10 | {percent(ten)} |",
            f"| difference, paired | {mean:+.2f} ± {error:.2f} points |",
            "",
        ]
    )
