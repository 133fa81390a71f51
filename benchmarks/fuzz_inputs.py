"""What parsers are fed with, as hypothesis strategies: random bytes, words of the language, damaged valid inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies as st

from benchmarks.fuzz_targets import Target

_NUMBERS = (0, -1, 1e308, 2**31, 2**63, 10**30, "nan", "inf", 1e-320)
_MOST_DAMAGE = 8


def each_input(target: Target, n: int, seed: int, visit: Callable[[bytes], None]) -> None:
    """Call `visit` with `n` inputs of a parser (fewer when there are no more): the same ones for the same seed.

    What `visit` raises is raised as it is, without a search for a smaller input.
    """

    @hypothesis.seed(f"{seed} {target.name}")
    @hypothesis.settings(
        max_examples=n,
        database=None,
        deadline=None,  # whoever feeds a parser ends what hangs, which a deadline does not
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(inputs(target))
    def one(data: bytes) -> None:
        visit(data)

    one()


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs of a parser, half of them valid ones that are damaged in up to eight places or in none."""
    words = st.tuples(st.sampled_from((b"", b" ")), st.lists(st.sampled_from(target.words), min_size=1, max_size=25))
    near = near_valid(target)
    anything = st.one_of(
        st.binary(max_size=300), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
    )
    return st.one_of(anything, words.map(lambda drawn: drawn[0].join(drawn[1])), near, near)


@st.composite
def near_valid(draw: st.DrawFn, target: Target) -> bytes:
    """A valid input with pieces cut, doubled, turned, spliced or replaced."""
    data = draw(st.sampled_from(target.samples))
    for _ in range(draw(st.integers(0, _MOST_DAMAGE))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 1, 1, 4, 20, 1000))))
        data = data[:start] + draw(_piece(target, data[start:end])) + data[end:]
    return data


def _piece(target: Target, there: bytes) -> st.SearchStrategy[bytes]:
    """What may stand instead of the piece that is `there`."""
    spliced: Any = st.sampled_from(target.samples).flatmap(
        lambda other: st.integers(0, len(other)).map(lambda length: other[:length])
    )
    word = st.sampled_from(target.words)
    return st.one_of(
        st.sampled_from((b"", there * 2, there[::-1])),
        st.sampled_from((3, 50, 300)).map(lambda times: there * times),
        st.binary(min_size=1, max_size=4),
        st.integers(32, 126).map(lambda code: bytes([code])),
        word,
        st.tuples(word, st.sampled_from((2, 100))).map(lambda drawn: drawn[0] * drawn[1]),
        spliced,
        st.sampled_from(_NUMBERS).map(lambda number: str(number).encode()),
    )
