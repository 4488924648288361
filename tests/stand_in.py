"""Runs a module with the stand-in for CuPy: ``python -m tests.stand_in MODULE ARGUMENTS``."""

from __future__ import annotations

import runpy
import sys

from tests.cuda_cpu import shim


def main() -> int | str | None:
    """Run the module as ``python -m`` does; faults of streams are raised at its end."""
    del sys.argv[0]
    code: int | str | None = 0
    with shim.installed():
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        except SystemExit as stopped:
            code = stopped.code
    return code


if __name__ == "__main__":
    sys.exit(main())
