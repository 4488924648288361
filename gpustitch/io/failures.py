"""What the machine lacks (memory, open files, threads), told from damage, and told as one error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gpustitch.errors import (
    DamagedInputError,
    GpustitchError,
    InputMissingError,
    OutputError,
    ParameterError,
    ResourceError,
)
from gpustitch.io.partial import final_place

try:
    import resource
except ImportError:  # not a POSIX system: its limits are not told
    resource = None  # type: ignore[assignment]


def is_lack(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, comes of what the machine lacks: then no input is damaged."""
    return lack(error) is not None


def lack(error: BaseException | None) -> ResourceError | None:
    """What the machine lacks by an error or one that caused it; None if the error is about something else."""
    if error is None or isinstance(error, ResourceError):
        return error
    text, code = str(error), getattr(error, "errno", None)
    if isinstance(error, MemoryError) or code == errno.ENOMEM or "Cannot allocate memory" in text:
        told = f" ({text})" if isinstance(error, MemoryError) and text else ""
        return ResourceError(f"memory does not suffice{told}; free some, or lower `memory_bytes` or `n_workers`")
    if code in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        limit = f" ({resource.getrlimit(resource.RLIMIT_NOFILE)[0]})" if resource else ""
        return ResourceError(f"more files are open than the system allows{limit}; raise the limit, as `ulimit -n` does")
    if isinstance(error, RuntimeError) and "start new thread" in text:
        return ResourceError("the system allows no more threads; lower `n_workers`")
    return lack(error.__cause__)


def failure(error: BaseException) -> GpustitchError | None:
    """An error as one of gpustitch, with a line for people; None for one that only a fault of the program explains."""
    found = lack(error)
    if found is not None:
        return found
    if isinstance(error, GpustitchError):
        return error
    if isinstance(error, OSError) and error.errno:
        place = f"{final_place(Path(error.filename))}: " if isinstance(error.filename, str) else ""
        if error.errno == errno.ENAMETOOLONG:
            return ParameterError(f"{place}the name is longer than the disk takes")
        hidden = _hidden_by(Path(error.filename)) if place and error.errno == errno.EACCES else None
        if hidden is not None:
            return InputMissingError(f"{place}no permission to look into {hidden}")
        return OutputError(f"{place}{error.strerror}")
    if isinstance(error, OverflowError | RecursionError):
        return DamagedInputError(f"an input or an option holds a number, or a depth, beyond all bounds: {error}")
    return None


def _hidden_by(place: Path) -> Path | None:
    """The folder that does not let this user see what it holds, and so keeps a place from being found; None if none."""
    return next((folder for folder in reversed(place.absolute().parents) if not os.access(folder, os.X_OK)), None)
