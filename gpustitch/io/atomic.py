"""Outputs that appear whole or not at all: written under a temporary name beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gpustitch.errors import GpustitchError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.found import is_text, root_of
from gpustitch.io.partial import (
    final_place,
    flush,
    is_there,
    locked_file,
    locked_folder,
    put,
    restore,
    set_aside,
)  # fmt: skip
from gpustitch.io.replaceable import check_replaceable
from gpustitch.model import channel_of


def check_output(path: Path, *, overwrite: bool, is_whole: bool = True) -> None:
    """Refuse an output before any work is done.

    ``is_whole`` False says that files are put into a folder, which is not replaced itself.

    Raises
    ------
    OutputExistsError
        If ``path`` exists (and is not an empty directory) and ``overwrite`` is false.
    OutputError
        If no file can be created at ``path``, or a folder there must not be replaced.
    """
    _check_text(path)
    if not overwrite and is_there(path):
        raise OutputExistsError(f"{path} exists already; choose another output, or `overwrite` replaces it")
    if is_whole:
        check_replaceable(path)
    parent = root_of(path.absolute().parent)
    if not parent.is_dir():
        raise OutputError(f"{path} cannot be created: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be created: no permission to write in {parent}")


def _check_text(path: Path) -> None:
    """OutputError if the place is named by bytes that are no UTF-8: neither writers of chunks nor records take it."""
    if not is_text(path):
        raise OutputError(
            f"{os.fspath(path.absolute())!a} cannot be created: its name has bytes that are no text (UTF-8); choose "
            "another name, or rename the folder"
        )


def check_file_output(path: Path, *, overwrite: bool) -> None:
    """Like :func:`check_output`, for an output that is a file: a folder in its place is refused too."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of the file to write")
    if path.is_symlink() and not path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is a link to nothing; remove it, choose another output, or `overwrite` it")
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


def check_free_space(path: Path, needed_bytes: int, n_files: int = 0) -> None:
    """Raise OutputError if the disk of ``path`` has fewer than ``needed_bytes`` free, or takes no ``n_files`` more.

    What an unfinished run has left at ``path`` counts as free.
    """
    parent = root_of(path.absolute())
    if final_place(path) != path:
        needed_bytes -= bytes_on_disk(path)
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise OutputError(
            f"{path} needs about {_size(needed_bytes)} but the disk at {parent} has {_size(free)} free; "
            "free some space or choose another disk for the output"
        )
    disk = os.statvfs(parent) if hasattr(os, "statvfs") else None
    if disk is not None and disk.f_files > 0 and disk.f_favail < n_files:
        raise OutputError(
            f"{path} needs about {n_files:,} files but the disk at {parent} takes {disk.f_favail:,} more; write fewer "
            "and larger ones by `shard_bytes`, or choose another disk for the output"
        )


def bytes_on_disk(path: Path) -> int:
    """Bytes that the files below a folder take; 0 if it is not there."""
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                status = Path(root, name).lstat()
                total += getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
    return total


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.2f} MB"


@contextlib.contextmanager
def atomic_file(path: Path, *, overwrite: bool = False, durable: bool = True) -> Iterator[Path]:
    """Give a temporary file to write; on success the file becomes ``path``, on any error the file is removed.

    The remains of a killed run are replaced. A file that another run writes is left alone. Unless ``durable`` is false,
    the file is on the disk when it gets its name.

    Raises
    ------
    OutputExistsError, OutputError
        As :func:`check_file_output` raises them. Also if another run is writing ``path`` or has written it meanwhile.
    """
    check_file_output(path, overwrite=overwrite)
    if path.exists():
        path = path.resolve()  # a link stays; its target is written
    with os_errors(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = stack.enter_context(locked_file(path))
        try:
            with os_errors(path):  # told before what was written is removed: the disk then has room again
                yield partial
                if durable:
                    flush(partial)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        put(partial, path, overwrite=overwrite, durable=durable)


def record_of(path: Path) -> Path:
    """Where the record of a file lies, which says how the file was made: beside it, as ``<name>.json``."""
    return path.with_name(f"{path.name}.json")


@contextlib.contextmanager
def atomic_record(path: Path, *, overwrite: bool = False) -> Iterator[Callable[[str], None]]:
    """Give a function that writes the record of ``path``, which itself is to get its name within the block, after it.

    At no time a record lies beside a file that it is not about: an old one goes when the new one is written, which gets
    its name as soon as ``path`` has. Both are as before if ``path`` is. No other run writes the two meanwhile.

    Raises
    ------
    OutputExistsError, OutputError
        As :func:`atomic_file` raises them.
    """
    record = record_of(path)
    check_file_output(record, overwrite=overwrite)
    with os_errors(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = stack.enter_context(locked_file(record))
        known = _identity(path)

        def write(text: str) -> None:
            partial.write_text(text, encoding="utf-8")
            flush(partial)
            if overwrite:
                set_aside(record)

        def settle() -> None:
            if not os.path.lexists(partial):
                return
            if partial.stat().st_size and _identity(path) != known:
                put(partial, record, overwrite=overwrite)
            else:
                partial.unlink()
                restore(record)

        try:
            yield write
        finally:
            try:
                settle()
            except KeyboardInterrupt:
                settle()
                raise


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another of its name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


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
    with os_errors(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = stack.enter_context(locked_folder(path))
        check_output(path, overwrite=overwrite)  # a killed run may have been completed
        try:
            with os_errors(path):
                yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        put(partial, path, overwrite=overwrite)


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while writing ``path`` into an OutputError that names ``path``."""
    try:
        yield
    except GpustitchError:
        raise
    except OSError as error:
        told = _reason(path, error)
        if told is None:
            raise
        raise OutputError(f"{path}: {told}") from error


def _reason(path: Path, error: OSError) -> str | None:
    """What an error while writing ``path`` means and what to do; None if it is about something else."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        if _has_no_inodes(path):
            return "the disk takes no more files (no inodes are left); remove some files and run again"
        return "the disk is full; free some space and run again"
    if error.errno == errno.EDQUOT:
        return f"your share of the disk is used up ({reason}); free some space and run again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write ({reason})"
    if error.errno == errno.EIO:
        return f"the disk reports an error ({reason}); check it"
    if error.errno == errno.EFBIG:
        return f"the disk or a limit takes no file of this size ({reason})"
    if error.errno == errno.ENAMETOOLONG:
        return "the name is longer than the disk takes"
    written = None if error.filename is None else Path(error.filename)
    if written is not None and final_place(written) != written:
        if error.errno == errno.ENOENT:
            return "another program removed what was written so far"
        return f"{reason}: {final_place(written)}"
    return None


def _has_no_inodes(path: Path) -> bool:
    """Whether the disk of ``path`` has room for bytes but for no file."""
    parent = next((folder for folder in path.absolute().parents if folder.exists()), None)
    if parent is None or not hasattr(os, "statvfs"):
        return False
    disk = os.statvfs(parent)
    return disk.f_files > 0 and disk.f_favail == 0 and disk.f_bavail > 0
