"""Runs every bench, one after another, each in a process of its own: ``python -m bench [NAME ...]``.

``python -m bench gpu-check`` takes options of its own and is none of them: it checks a machine with a GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.gpu_check import start

GPU_CHECK = "gpu-check"
# With one BLAS thread, CPU seconds count the operation, not threads that wait for work.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> int:
    """Run the named benches, or all; return the number of failed benches."""
    if sys.argv[1:2] == [GPU_CHECK]:
        return start.main(sys.argv[2:])
    names = sys.argv[1:] or sorted(
        path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
    )
    failed = 0
    for name in names:
        print(f"\n{name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"bench.bench_{name}"], env=ENVIRONMENT).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
