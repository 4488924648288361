"""Names of stages in the timeline of a profiler, such as NVIDIA's Nsight Systems (NVTX ranges)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator
from types import FrameType
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


def caller(between: Collection[str]) -> str:
    """Module, less the package, and name of the first function further up in none of the modules ``between``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in between:
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}".removeprefix("gpustitch.")


def _nvtx() -> Any:
    cuda = getattr(sys.modules.get("cupy"), "cuda", None)
    nvtx = getattr(cuda, "nvtx", None)
    return nvtx if getattr(nvtx, "available", False) else None
