"""What ended runs left: unfinished outputs, and what outputs have replaced. What may be removed of it, and what not."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.atomic import os_errors
from gpustitch.io.found import found_places
from gpustitch.io.partial import discard, held, is_replaced, left_for, only_copies, work_place
from gpustitch.io.resumable import n_finished, noted

_WHAT = {"partial": "unfinished output", "replaced": "what an output replaced", "work": "unfinished run"}


@dataclass(frozen=True)
class Leftover:
    """A file or folder that a run left.

    Attributes
    ----------
    place
        Where it lies.
    output
        The output that it was left for.
    what
        What it is, for people.
    since
        When the run began, or else when it was changed last, for people.
    n_bytes
        Bytes of its files.
    n_parts
        Finished parts of a run that can be gone on with, else None.
    kept
        Why it is not removed; empty if it may be.
    """

    place: Path
    output: Path
    what: str
    since: str
    n_bytes: int
    n_parts: int | None = None
    kept: str = ""


def leftovers(path: Path) -> list[Leftover]:
    """What runs left for the output ``path``, and what lies in it if it is a folder, but not in folders below.

    ``path`` may be a pattern, or a leftover itself. Links are followed.

    Raises
    ------
    InputMissingError
        If nothing is at the path, and nothing was left for it.
    """
    try:
        places = found_places(path)
    except InputMissingError:
        if not path.absolute().parent.is_dir():
            raise
        places = [path]
    found = {leftover.place: leftover for place in places for leftover in _at(place.resolve())}
    if not found and not any(map(os.path.lexists, places)):
        raise InputMissingError(f"there is no file or folder {path}, and no run has left anything for it")
    return list(found.values())


def remove(leftover: Leftover) -> Leftover:
    """Remove it, unless it must be kept by now; ``kept`` of what is returned says so.

    Raises
    ------
    OutputError
        If it cannot be removed.
    """
    with os_errors(leftover.place), _seen(leftover.place) as now:
        if now is None:
            return replace(leftover, kept="it is gone")
        if not now.kept:
            discard(now.place, now.output)
        return replace(leftover, kept=now.kept)


def _at(path: Path) -> Iterator[Leftover]:
    beside = [] if path.parent == path else _entries(path.parent)
    within = _entries(path) if path.is_dir() and left_for(path) is None else []
    for place in (*beside, *within):
        left = left_for(place)
        if left is not None and (place.parent == path or path in (place, left[1])):
            with _seen(place) as found:
                pass  # no run need wait while bytes are counted
            if found is not None:
                yield replace(found, n_bytes=_size(place))


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(PermissionError):
        return sorted(folder.iterdir())
    return []


@contextlib.contextmanager
def _seen(place: Path) -> Iterator[Leftover | None]:
    """What a place is, without its bytes; None if it is no leftover. No run uses it within the block unless kept."""
    left = left_for(place)
    if left is None or place.is_symlink() or not place.exists():
        yield None
        return
    kind, output = left
    # What is replaced is no longer used by the run that did it.
    with held(place) if kind != "replaced" else contextlib.nullcontext(True) as is_free:
        found = _described(kind, place, output)
        if found is not None and is_free is False:
            found = replace(found, kept="a run is writing it")
        elif found is not None and is_free is None:
            found = replace(found, kept=found.kept or "nothing tells whether a run is writing it")
        yield found


def _described(kind: str, place: Path, output: Path) -> Leftover | None:
    """What a killed run left at ``place``; None if it has just gone, or is nothing of the kind."""
    try:
        changed = datetime.datetime.fromtimestamp(place.lstat().st_mtime).astimezone()
        when = changed.isoformat(sep=" ", timespec="minutes")
        found = Leftover(place, output, _WHAT[kind], when, 0, kept=_last(output))
    except FileNotFoundError:  # another run has just removed it
        return None
    try:
        if kind == "replaced":
            return found if is_replaced(place, output) else None
        return _run(found) if kind == "work" else found
    except FileNotFoundError:
        return None
    except PermissionError as error:
        return replace(found, kept=f"it cannot be looked into ({error.strerror})")


def _run(found: Leftover) -> Leftover | None:
    """A run that the pipeline goes on with; None if it is none."""
    output = found.output
    if work_place(output) != found.place or (n_parts := n_finished(output)) is None:
        return None
    what = found.what if (found.place / output.name).is_dir() else "what a finished run left"
    try:
        run = noted(output)
    except DamagedInputError:
        why = "what it was told cannot be understood, so remove it by hand"
        return replace(found, what=what, n_parts=n_parts, kept=why)
    return None if run is None else replace(found, what=what, since=str(run["began"]), n_parts=n_parts)


def _last(output: Path) -> str:
    """Why nothing that was left for an output is removed: a run was killed while it replaced it; empty if none was."""
    copies = only_copies(output)
    if not copies:
        return ""
    return (
        f"a run was killed while it replaced {output.name}, which is whole in {copies[0].parent.name}; run again in "
        "the same way, or give it its name back"
    )


def _size(place: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    n_bytes = 0
    below = (Path(root, name) for root, _, names in os.walk(place) for name in names)
    for path in [place] if place.is_file() else below:
        with contextlib.suppress(OSError):  # a run may be removing it
            n_bytes += path.lstat().st_size
    return n_bytes
