"""What inputs looked like when a run was planned, and what has changed since."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpustitch.errors import InputMissingError
from gpustitch.io.checked import rows, table, text, told, whole
from gpustitch.io.found import files_in, found_files

_MOST = (1 << 63) - 1


@dataclass(frozen=True)
class Stamp:
    """What a file, or the files of a folder or glob together, look like from outside; links are followed.

    Parameters
    ----------
    path
        The file, folder or glob.
    n_files
        Number of files; 0 if nothing is there. Hidden ones do not count.
    size_bytes
        Their bytes together.
    mtime_ns
        When the last of them was changed, in nanoseconds of Unix time.
    """

    path: Path
    n_files: int
    size_bytes: int
    mtime_ns: int

    @property
    def record(self) -> dict[str, str | int]:
        """The stamp in JSON's types; the path is absolute."""
        return {
            "path": str(self.path.absolute()),
            "n_files": self.n_files,
            "size_bytes": self.size_bytes,
            "mtime_ns": self.mtime_ns,
        }

    @classmethod
    def of_record(cls, record: Any, file: Path) -> Stamp:
        """The stamp of a :attr:`record` that stood in ``file``; DamagedInputError if it is none."""
        with told(file, "an input"):
            fields = table(record, "an input")
            return cls(
                Path(text(fields["path"], "path")),
                whole(fields["n_files"], "n_files"),
                whole(fields["size_bytes"], "size_bytes"),
                whole(fields["mtime_ns"], "mtime_ns", -_MOST, _MOST),
            )


def stamps(paths: Iterable[str | Path], *, apart: Iterable[Path] = (), below: bool = True) -> tuple[Stamp, ...]:
    """How inputs look now, each path once; what cannot be looked at is not there.

    Files and folders in ``apart``, such as outputs among the inputs, do not count. Folders in folders do
    only if ``below``.
    """
    left_out = {path.absolute() for path in apart}
    return tuple(_stamp(path, left_out, below) for path in dict.fromkeys(map(Path, paths)))


def stamps_of(records: Any, file: Path) -> tuple[Stamp, ...]:
    """The stamps of a list of records that stood in ``file``; DamagedInputError if it is none."""
    with told(file, "inputs"):
        listed = rows(records, "inputs")
    return tuple(Stamp.of_record(record, file) for record in listed)


def changes(before: Sequence[Stamp], now: Sequence[Stamp], since: str = "the run began") -> list[str]:
    """What has changed, in a line of English for each input; empty if nothing has.

    ``since`` says what happened when ``before`` was stamped.
    """
    earlier, later = _by_place(before), _by_place(now)
    lines = [_change(stamp, later.get(place), since) for place, stamp in earlier.items()]
    lines += [
        f"{stamp.path} is an input that was none when {since}" for place, stamp in later.items() if place not in earlier
    ]
    return [line for line in lines if line]


def _by_place(stamped: Sequence[Stamp]) -> dict[Path, Stamp]:
    return {stamp.path.absolute(): stamp for stamp in stamped}


def _change(before: Stamp, now: Stamp | None, since: str) -> str:
    """One input's change; empty if there is none."""
    path = before.path
    if now is None:
        return f"{path} is no input any more, but was one when {since}"
    if (now.n_files, now.size_bytes, now.mtime_ns) == (before.n_files, before.size_bytes, before.mtime_ns):
        return ""
    if now.n_files == 0:
        return f"{path} is gone since {since}"
    if before.n_files == 0:
        return f"{path} was not there when {since}, and now is"
    if now.n_files < before.n_files:
        return f"{path} has lost files since {since}: {before.n_files:,} were there, {now.n_files:,} are left"
    if now.n_files > before.n_files:
        return (
            f"{path} has grown from {before.n_files:,} to {now.n_files:,} files since {since}: "
            "is the acquisition still running?"
        )
    if now.size_bytes > before.size_bytes:
        return (
            f"{path} has grown from {before.size_bytes:,} to {now.size_bytes:,} bytes since {since}: "
            "is the acquisition still running?"
        )
    if now.size_bytes < before.size_bytes:
        return f"{path} has shrunk from {before.size_bytes:,} to {now.size_bytes:,} bytes since {since}"
    return f"{path} was rewritten since {since}: its size is the same, its time of change is not"


def _stamp(path: Path, left_out: set[Path], below: bool) -> Stamp:
    n_files = size_bytes = 0
    latest = None
    for file in _files(path, below):
        if left_out and not left_out.isdisjoint((file.absolute(), *file.absolute().parents)):
            continue
        with contextlib.suppress(OSError):
            status = file.stat()
            n_files, size_bytes = n_files + 1, size_bytes + status.st_size
            latest = status.st_mtime_ns if latest is None else max(latest, status.st_mtime_ns)
    return Stamp(path, n_files, size_bytes, latest or 0)


def _files(path: Path, below: bool) -> Iterator[Path]:
    """The files at a path, unsorted; none if it cannot be opened."""
    try:
        if path.is_dir():
            yield from files_in(path, below=below, failed=lambda _: None)
        else:
            yield from found_files(path, below=below, failed=lambda _: None)
    except (InputMissingError, OSError, ValueError):  # a name that no system takes
        return
