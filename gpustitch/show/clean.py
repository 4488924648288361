"""Lists what ended runs left, and removes what nobody needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.io.leftovers import Leftover, leftovers, remove
from gpustitch.model.options import documented, option
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress, counted, size_text


@documented
@dataclass(frozen=True)
class CleanOptions:
    """Where to look, and whether to remove."""

    paths: tuple[Path, ...] = option(
        (),
        help="Outputs, there or not, and folders to look in; quoted patterns too.",
        is_argument=True,
        metavar="PATHS...",
        shown="the current folder",
    )
    remove: bool = option(False, help="Remove what is listed, except what is marked as kept.")
    device: str | Device = shared.idle_device()


def cleaned(options: CleanOptions, progress: Progress = SILENT) -> Iterator[str]:
    """A line for each leftover, which is removed if that is asked for.

    Raises
    ------
    InputMissingError
        If nothing is at a path, and nothing was left for it.
    OutputError
        If something cannot be removed.
    """
    paths = options.paths or (Path(),)
    found = {leftover.place: leftover for path in paths for leftover in leftovers(path)}
    n_free, n_bytes = 0, 0
    for leftover in found.values():
        known = remove(leftover) if options.remove else leftover
        if not known.kept:
            n_free, n_bytes = n_free + 1, n_bytes + known.n_bytes
        yield _line(known, options.remove)
    if not found:
        progress.note("no run has left anything")
    elif options.remove:
        progress.note(f"removed {n_free} of {len(found)}: {size_text(n_bytes)}")
    elif n_free:
        progress.note(f"`remove` removes {n_free} of {len(found)}: {size_text(n_bytes)}")


def _line(leftover: Leftover, is_removing: bool) -> str:
    parts = "" if leftover.n_parts is None else f"{counted(leftover.n_parts, 'parts')}, "
    end = f"; kept: {leftover.kept}" if leftover.kept else "; removed" if is_removing else ""
    size = size_text(leftover.n_bytes)
    return f"{leftover.place}: {leftover.what} of {leftover.since} for {leftover.output.name}: {parts}{size}{end}"
