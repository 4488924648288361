"""Which folders an output may replace: such as hold an output. Nobody means others, as one's home, to be removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gpustitch.errors import OutputError

# Files that lie in the folders of volumes (of any program), and in those that commands write. A folder that holds such
# folders is no output: it may hold those of years.
_MARKS = (
    "info", "zarr.json", ".zarray", ".zattrs", ".zgroup", "precomputed.blockfs", "1_1_1/precomputed.blockfs",
    "gpustitch.json", "gpustitch.files.json", "provenance.json", "run.json", "channels.json", "truth.json",
)  # fmt: skip
_MARKED = "*.manifest.jsonl"


def check_replaceable(path: Path) -> None:
    """Refuse to put an output in the place of a device, of a folder that people are in, or that holds no output.

    Raises
    ------
    OutputError
        If a device or pipe is there. If a folder there holds the working directory or one's home, or is a disk. Also if
        it holds files, and none of those that mark an output.
    """
    true = path.resolve()
    if true.is_file() or not true.exists():
        return
    if not true.is_dir():
        raise OutputError(f"{path} is a device or a pipe, which is not replaced; give the name of a file or folder")
    for what, folder in _in_use():
        if folder.is_relative_to(true):
            verb = "is" if folder == true else "holds"
            raise OutputError(f"{_named(path)} {verb} {what}, which is not replaced; give the name of a folder in it")
    if true.is_mount():
        raise OutputError(f"{_named(path)} is a disk, which is not replaced; give the name of a folder on it")
    try:
        names = sorted(entry.name for entry in true.iterdir())
    except OSError as error:
        raise OutputError(f"{path} cannot be replaced ({error.strerror or error}); choose another output") from error
    if names and not any((true / mark).is_file() for mark in _MARKS) and not any(true.glob(_MARKED)):
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise OutputError(
            f"{_named(path)} holds {some}, and no file that marks an output, so it is not replaced; choose another "
            "output, or remove the folder yourself"
        )


def _in_use() -> Iterator[tuple[str, Path]]:
    with contextlib.suppress(OSError):  # it may be gone
        yield "the working directory", Path.cwd().resolve()
    with contextlib.suppress(OSError, RuntimeError):  # users of services have none
        yield "your home", Path.home().resolve()


def _named(path: Path) -> str:
    return f"{path} ({path.resolve()})" if str(path) in (".", "..") else str(path)
