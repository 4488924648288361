"""Unfinished outputs: their names and locks, and giving a finished one its name without losing anything.

What is old goes only when the new one has its name. A run that is killed on the way leaves both whole, and the next run
into the same place completes it. What is finished is never removed: if it cannot get its name, it gets another.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from gpustitch.errors import OutputError, OutputExistsError

_log = logging.getLogger(__name__)

try:
    import fcntl
except ImportError:  # not a POSIX system: a second run into the same output goes unnoticed there
    fcntl = None  # type: ignore[assignment]

_PARTIAL = re.compile(r"^\.(.+)\.partial(?:-\w+)?$")
_REPLACED = re.compile(r"^\.(.+)\.replaced-\w{8}$")
_REMOVED = "removed"  # what was replaced, once it need no longer be whole
_WORK = ".work"
# Files of the folder where an output is made over several runs: of a run, and of one that begins or is dropped.
RUN, MARK = "work.json", ".work.json"


def work_place(path: Path) -> Path:
    """The folder that holds an output which is made over several runs, until it is whole."""
    path = path.resolve()
    return path.with_name(path.name + _WORK)


def final_place(path: Path) -> Path:
    """Where a path lies once all unfinished outputs that hold it are whole."""
    parts: list[str] = []
    for part in path.parts:
        part = _PARTIAL.sub(r"\1", part)
        if parts and parts[-1] == part + _WORK and is_work(Path(*parts)):
            parts.pop()
        parts.append(part)
    return Path(*parts)


def is_work(folder: Path) -> bool:
    """Whether a folder is one where an output is made over several runs."""
    return any((folder / name).is_file() for name in (RUN, MARK))


def left_for(place: Path) -> tuple[Literal["partial", "replaced", "work"], Path] | None:
    """What a name says that runs leave if they are killed: which kind, and for which output; None of other names.

    Files and folders in which an output is made are "partial", or "work" if more runs go on with it; what an output
    replaced is "replaced".
    """
    if (match := _PARTIAL.match(place.name)) is not None:
        return "partial", place.with_name(match[1])
    if (match := _REPLACED.match(place.name)) is not None:
        return "replaced", place.with_name(match[1])
    if place.name.endswith(_WORK) and place.name != _WORK:
        return "work", place.with_name(place.name.removesuffix(_WORK))
    return None


def only_copies(path: Path) -> list[Path]:
    """Whole outputs that a killed run took out of the way at ``path``, if nothing has their name now."""
    if os.path.lexists(path):
        return []
    return [folder / path.name for folder in _replaced(path) if os.path.lexists(folder / path.name)]


def is_replaced(folder: Path, path: Path) -> bool:
    """Whether a folder holds nothing but what an output replaced at ``path``."""
    return folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {path.name, _REMOVED}


@contextlib.contextmanager
def held(place: Path) -> Iterator[bool | None]:
    """Keep other runs from a file or folder that one has left: False if one has it, or it is gone.

    None where nothing tells: without permission, on systems and disks without locks.
    """
    if fcntl is None:
        yield None
        return
    try:
        descriptor = os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    except OSError:
        yield None
        return
    try:
        try:
            is_locked = _lock(descriptor, place)
        except OutputError:  # a run has it
            yield False
        else:
            yield _is_same(descriptor, place) if is_locked else None
    finally:
        os.close(descriptor)


def discard(place: Path, path: Path) -> None:
    """Remove a file or folder that was left for ``path``; what is left of it if this run is killed, is a partial."""
    if not place.is_dir() or place.is_symlink():
        place.unlink()
        return
    partial = _partial(path)
    shutil.rmtree(place.rename(partial.with_name(f"{partial.name}-{secrets.token_hex(4)}")))


def is_there(path: Path) -> bool:
    """Whether anything that must not be lost is at ``path``; an empty folder is nothing."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[Path]:
    """Give a new empty file beside ``path``, which no other run writes at the same time."""
    partial = _partial(path)
    while True:
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _is_left_over(partial, path):  # a disk without locks does not tell
                partial = partial.with_name(f"{partial.name}-{secrets.token_hex(4)}")
            continue
        try:
            if _lock(descriptor, path) is False:
                partial = partial.rename(partial.with_name(f"{partial.name}-{secrets.token_hex(4)}"))
            elif not _is_same(descriptor, partial):  # another run took it for a left-over one
                continue
            if fcntl is None:  # no file can be renamed there while it is open
                os.close(descriptor)
                descriptor = -1
            yield partial
            return
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _is_left_over(partial: Path, path: Path) -> bool:
    """Remove a file that a killed run left; False if nothing tells whether it did."""
    try:
        descriptor = os.open(partial, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        if fcntl is not None and _lock(descriptor, path) is False:
            return False
        # Never written again: the output may be the same file by another name.
        if _is_same(descriptor, partial):
            partial.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path`` that no other run fills at the same time."""
    partial = _partial(path)
    while True:
        partial.mkdir(exist_ok=True)
        descriptor = os.open(partial, os.O_RDONLY) if fcntl is not None else -1
        try:
            if descriptor >= 0 and _lock(descriptor, path) and not _is_same(descriptor, partial):
                raise _taken(path)  # it has just got its name
            if _complete(partial, path):
                continue
            for entry in partial.iterdir():
                _remove(entry)
            yield partial
            return
        finally:
            if descriptor >= 0:
                os.close(descriptor)


@contextlib.contextmanager
def kept_folder(folder: Path, path: Path) -> Iterator[None]:
    """Make or take over the folder in which ``path`` is made; no other run uses it at the same time."""
    while True:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY) if fcntl is not None else -1
        try:
            if descriptor >= 0 and _lock(descriptor, path) and not _is_same(descriptor, folder):
                continue  # another run has just ended
            yield
            return
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file or folder; False on a disk without locks, OutputError if another run has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _taken(path) from None
    except OSError:
        return False
    return True


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still is the open file or folder."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _taken(path: Path) -> OutputError:
    return OutputError(f"{path} is being written by another run; wait for it or choose another output")


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def put(partial: Path, path: Path, *, overwrite: bool, durable: bool = True) -> None:
    """Give a finished file or folder the name ``path``; if that cannot be, it gets a free name beside.

    Ctrl-C on the way does not keep it from its name.

    Raises
    ------
    OutputExistsError, OutputError
        If something else is there and ``overwrite`` is false, or the name cannot be given. The text names the place.
    """
    try:
        _rename(partial, path, overwrite)
    except OSError as error:
        if not os.path.lexists(partial):
            raise OutputError(f"{path}: another program removed what was written so far") from error
        raise _kept(partial, path, error) from error
    except BaseException:
        if os.path.lexists(partial):
            put(partial, path, overwrite=overwrite, durable=durable)
        raise
    _log.debug("%s is finished", path)
    if durable:
        _flush_name(path)
    _remove_replaced(path)


def _flush_name(path: Path) -> None:
    try:
        flush(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path} is whole and has its name, but the disk does not confirm it ({error.strerror or error}); "
            "check the disk"
        ) from error


def _rename(partial: Path, path: Path, overwrite: bool) -> None:
    """Give ``partial`` its name; what had the name is moved aside, and back if that fails."""
    if not partial.is_dir():
        _rename_file(partial, path, overwrite)
        return
    if overwrite and is_there(path):
        aside = _aside(path)
        path.rename(aside)
        try:
            partial.rename(path)
        except OSError:
            aside.rename(path)
            raise
    elif is_there(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    else:
        partial.rename(path)  # an error if it is no longer empty


def _rename_file(partial: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        partial.replace(path)
        return
    try:
        os.link(partial, path)  # unlike a rename it replaces nothing
    except OSError as error:
        if isinstance(error, FileExistsError) or os.path.lexists(path):
            raise
        partial.replace(path)  # a disk without links
    else:
        with contextlib.suppress(OSError):  # it has its name: the next run removes the other one
            partial.unlink()


def _kept(partial: Path, path: Path, error: OSError) -> OutputError | OutputExistsError:
    """The error after a finished output was given another name than its own."""
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    for number in itertools.count(1):
        place = path.with_name(f"{path.name.removesuffix(suffix)}.finished{number if number > 1 else ''}{suffix}")
        if not os.path.lexists(place):
            break
    with contextlib.suppress(OSError):
        partial = partial.rename(place)
    kept = f"what this run made is whole and lies in {partial}"
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
        return OutputExistsError(f"{path} has been written by another program meanwhile; {kept}")
    return OutputError(f"{path} cannot get its name ({error.strerror or error}); {kept}")


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if fcntl is None and path.is_dir():  # no folder can be opened there
        return
    descriptor = os.open(path, os.O_RDONLY if fcntl is not None else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # network disks, for folders
            raise
    finally:
        os.close(descriptor)


def _aside(path: Path) -> Path:
    """A place for what is replaced, whole there under its own name."""
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.replaced-", dir=path.parent), path.name)


def set_aside(path: Path) -> None:
    """Take what is at ``path`` out of the way, whole, until something else gets the name, or :func:`restore`."""
    if os.path.lexists(path):
        path.rename(_aside(path))


def restore(path: Path) -> None:
    """Give back its name to what was set aside."""
    for folder in _replaced(path):
        if os.path.lexists(folder / path.name) and not os.path.lexists(path):
            (folder / path.name).rename(path)
            folder.rmdir()


def _complete(partial: Path, path: Path) -> bool:
    """Whether a run was killed when it replaced ``path``, and ``partial``, which it had finished, now is ``path``."""
    asides = [folder / path.name for folder in _replaced(path)]
    was_finished = False
    if any(map(os.path.lexists, asides)) and not os.path.lexists(path):
        was_finished = any(partial.iterdir())
        source = partial if was_finished else next(filter(os.path.lexists, asides))
        source.rename(path)
    _remove_replaced(path)
    return was_finished


def _replaced(path: Path) -> list[Path]:
    return list(path.parent.glob(f".{glob.escape(path.name)}.replaced-*"))


def _remove_replaced(path: Path) -> None:
    for folder in _replaced(path):
        with contextlib.suppress(OSError):
            # What is no longer whole has no longer its own name.
            (folder / path.name).rename(folder / _REMOVED)
        shutil.rmtree(folder, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
