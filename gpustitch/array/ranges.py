"""Names of stages in the timeline of a profiler, such as NVIDIA's Nsight Systems (NVTX ranges)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def named_range(name: str) -> Iterator[None]:
    """Show the block under a name; ranges of a thread may be nested. Nothing where CuPy is not in use, or has no NVTX.

    CuPy is not imported for it: a run on the host does without.
    """
    nvtx = _nvtx()
    if nvtx is None:
        yield
        return
    nvtx.RangePush(name)
    try:
        yield
    finally:
        nvtx.RangePop()


def caller(depth: int) -> str:
    """Module, less the package, and name of a function further up: 0 is the one that asks."""
    frame = sys._getframe(depth + 1)
    module = str(frame.f_globals.get("__name__", "")).removeprefix("gpustitch.")
    return f"{module}.{frame.f_code.co_qualname}"


def _nvtx() -> Any:
    cuda = getattr(sys.modules.get("cupy"), "cuda", None)
    nvtx = getattr(cuda, "nvtx", None)
    return nvtx if getattr(nvtx, "available", False) else None
