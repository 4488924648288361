"""Step: accesses out of bounds, looked for by compute-sanitizer."""

from __future__ import annotations

import functools

from bench.gpu_check.sanitizers import checked
from bench.gpu_check.step import run

if __name__ == "__main__":
    run(functools.partial(checked, tool="memcheck"))
