"""Warnings of the steps, for callers without a terminal."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from gpustitch.errors import GpustitchWarning
from gpustitch.running.progress import Silent

_PACKAGE = str(Path(__file__).parents[1])


class Told(Silent):
    """Progress of which only warnings are told, as :class:`gpustitch.errors.GpustitchWarning`."""

    def warn(self, message: str) -> None:
        """Warn by :func:`warnings.warn`."""
        tell(message)


def tell(message: str) -> None:
    """Warn of something missing from a result, or maybe wrong in it, at the caller's line."""
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, GpustitchWarning, stacklevel=depth)


TOLD = Told()
