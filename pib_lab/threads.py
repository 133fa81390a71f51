"""How many threads compute."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for linear algebra while a run lasts, in numpy and in torch.

    The products of one step are too small to share: with two threads on a busy machine each waits for the other, and a
    step takes ten times as long. And sums whose order does not change make a resumed run bit-identical.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)
