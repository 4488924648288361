"""Outputs that appear whole or not at all: written under a temporary name beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpustitch.errors import OutputError, OutputExistsError, ParameterError
from gpustitch.model import channel_of

try:
    import fcntl
except ImportError:  # not a POSIX system: a second run into the same output goes unnoticed there
    fcntl = None  # type: ignore[assignment]

_PARTIAL = re.compile(r"^\.(.+)\.partial$")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output before any work is done.

    Raises
    ------
    OutputExistsError
        If ``path`` exists (and is not an empty directory) and ``overwrite`` is false.
    OutputError
        If no file can be created at ``path``.
    """
    if not overwrite and path.exists() and not _is_empty_directory(path):
        raise OutputExistsError(f"{path} exists already; choose another output, or `overwrite` replaces it")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{path} cannot be created: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be created: no permission to write in {parent}")


def check_file_output(path: Path, *, overwrite: bool) -> None:
    """Like :func:`check_output`, for an output that is a file: a folder in its place is refused too."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of the file to write")
    check_output(path, overwrite=overwrite)


def check_apart(output: Path, inputs: Iterable[str | Path]) -> None:
    """Raise ParameterError if ``output`` would replace an input, or lie among the tiles of an input's channel.

    An output replaces an input if it is the input or a folder that holds it. Links are followed.
    """
    target = output.resolve()
    for source in map(Path, inputs):
        true = source.resolve()
        if true.is_relative_to(target):
            what = "is" if true == target else "holds"
            raise ParameterError(f"{output} {what} the input {source}, which is never replaced; choose another output")
        for channel in map(channel_of, (source, true)):
            if channel is not None:
                check_outside(output, channel)


def check_outside(output: Path, folder: Path) -> None:
    """Raise ParameterError if ``output`` lies in ``folder``, whose tiles are read. Links are followed."""
    if output.resolve().is_relative_to(folder.resolve()):
        raise ParameterError(
            f"`output` {output} lies in {folder}, among the tiles that are read; choose a place outside it",
            parameter="output",
        )


def check_free_space(path: Path, needed_bytes: int) -> None:
    """Raise OutputError if the disk of ``path`` has fewer than ``needed_bytes`` free."""
    parent = path.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise OutputError(
            f"{path} needs about {needed_bytes / 1e9:.2f} GB but the disk at {parent} has {free / 1e9:.2f} GB free; "
            "free some space or choose another disk for the output"
        )


@contextlib.contextmanager
def atomic_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write; on success the file becomes ``path``, on any error the file is removed."""
    check_file_output(path, overwrite=overwrite)
    partial = _partial(path)
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def atomic_directory(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a new directory to fill; on success the directory becomes ``path``, on any error it is removed.

    The remains of a killed run are replaced. A directory that another run fills is left alone.

    Raises
    ------
    OutputExistsError, OutputError
        As :func:`check_output` raises them. Also if another run is writing ``path`` or has written it meanwhile.
    """
    check_output(path, overwrite=overwrite)
    path = path.resolve()  # a link stays; its target is written
    partial = _partial(path)
    with os_errors(path), _locked(partial, path):
        try:
            yield partial
            check_output(path, overwrite=overwrite)
            if path.exists():
                _remove(path)
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextlib.contextmanager
def _locked(partial: Path, path: Path) -> Iterator[None]:
    """Make ``partial`` an empty directory that no other run fills at the same time."""
    partial.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        _clear(partial)
        yield
        return
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        if _is_taken(descriptor, partial):
            raise OutputError(f"{path} is being written by another run; wait for it or choose another output")
        _clear(partial)
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int, partial: Path) -> bool:
    """Whether another run holds the open directory, or has just given it its final name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return not (partial.exists() and os.path.samestat(os.fstat(descriptor), partial.stat()))


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        _remove(entry)


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while writing ``path`` into an OutputError that names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"{path}: the disk is full; free some space and run again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"{path}: no permission to write ({error.strerror})") from error
        if error.errno == errno.EIO:
            raise OutputError(f"{path}: the disk reports an error ({error.strerror}); check it") from error
        raise


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def final_place(path: Path) -> Path:
    """Where a path lies once all unfinished outputs that hold it are whole."""
    return Path(*(_PARTIAL.sub(r"\1", part) for part in path.parts))


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
