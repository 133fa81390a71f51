"""Settings for all tests: set before numpy and torch are imported.

One thread a process, for the arrays here are small and cores are shared. With more, threads wait for each other at
every operation, and a test of 0.2 s takes 9 s on a busy machine.
"""

from __future__ import annotations

import os

from hypothesis import settings

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

settings.register_profile("shared", deadline=None)  # how long one example takes says little on a busy computer
settings.load_profile("shared")
