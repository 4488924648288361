"""The tree of errors: each is also a builtin, and each carries the exit code of the command line.

Texts name parameters of the library in backquotes (```dark` must be at least 0``); the command line puts the name of
its option there.
"""

from __future__ import annotations

import re

_PARAMETER = re.compile(r"`(\w+)`")


class GpustitchError(Exception):
    """Anything gpustitch refuses or fails at. The text says what was given, what was expected and what to do.

    Parameters
    ----------
    message
        The text; names of parameters are in backquotes.
    parameter
        The parameter at fault; by default the first that the text names.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, parameter: str | None = None) -> None:
        super().__init__(message)
        named = _PARAMETER.search(message)
        self.parameter = parameter or (named[1] if named else None)


class GpustitchWarning(UserWarning):
    """Something is missing from a result, or may be wrong in it."""


class ParameterError(GpustitchError, ValueError):
    """A parameter is out of range or contradicts another."""

    exit_code = 3


class InputMissingError(GpustitchError, FileNotFoundError):
    """A file, directory or tile to be read is not there."""

    exit_code = 4


class DamagedInputError(GpustitchError, OSError):
    """A file is not of the expected format, is truncated, or contradicts itself."""

    exit_code = 5


class MosaicError(GpustitchError, ValueError):
    """Tiles do not make a mosaic: unreadable names, duplicates, frames of different sizes."""

    exit_code = 6


class OutputExistsError(GpustitchError, FileExistsError):
    """The output is there already and may not be replaced."""

    exit_code = 7


class OutputError(GpustitchError, OSError):
    """The output cannot be written: no space, no permission, a failed write."""

    exit_code = 8


class DeviceError(GpustitchError, RuntimeError):
    """The device asked for cannot be used, or an operation has no body for it."""

    exit_code = 9


class AlignmentError(GpustitchError, RuntimeError):
    """Tile positions cannot be solved from what was found."""

    exit_code = 10


class MissingExtraError(GpustitchError, ImportError):
    """An optional dependency is needed; the text names the extra to install."""

    exit_code = 11


class ResourceError(GpustitchError, RuntimeError):
    """The machine lacks what the run needs: memory, open files, threads."""

    exit_code = 12
