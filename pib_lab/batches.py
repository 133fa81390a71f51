"""Which samples form which batch: a function of (seed, epoch) alone, so that a resumed run needs no saved state."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from pib_lab.errors import ConfigurationError

_STREAM = 0xBA7C  # keeps this stream of random numbers apart from others that are drawn from the same run seed


@functools.lru_cache(maxsize=4)  # asked for at every step, drawn once an epoch
def batches(n: int, batch: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Shuffle `n` samples and cut them into batches; return indices (n // batch, batch), read-only.

    The last `n % batch` samples of the permutation are left out of this epoch: a small batch would make Gram matrices
    of another size, and entropies that cannot be compared. Every epoch leaves out other samples.

    Raises ConfigurationError when not even one batch can be filled.
    """
    if batch < 1:
        raise ConfigurationError(f"schedule.batch: {batch} is not a batch size; write 2 or more")
    if n < batch:
        raise ConfigurationError(
            f"schedule.batch: {n} training samples do not fill one batch of {batch}; "
            "lower schedule.batch, or raise dataset.limit"
        )
    order = np.random.default_rng((seed, epoch, _STREAM)).permutation(n)
    found = order[: n - n % batch].reshape(-1, batch).astype(np.int64, copy=False)
    found.setflags(write=False)  # callers share it
    return found
