"""Outputs that are made over several runs: what an ended run has finished is kept beside the place, and gone on with.

The folder ``<name>.work`` holds the unfinished output under its own name, and a journal of what is finished.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpustitch.errors import AlignmentError, MosaicError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.atomic import bytes_on_disk, check_output, os_errors
from gpustitch.io.checked import check_schema, read_json, table, text, told
from gpustitch.io.journal import Journal, journals_of
from gpustitch.io.manifest import MAKING_SCHEMA, Making, making_of
from gpustitch.io.partial import MARK, RUN, discard, flush, is_work, kept_folder, put, work_place

_JOURNAL, _SCRATCH = "journal.jsonl", "scratch"
# The same run would end so again.
_ASK_FOR_OTHER_OPTIONS = (ParameterError, MosaicError, AlignmentError)
_MOST_NAMED = 8  # differences that a message names


@dataclass(frozen=True)
class Run:
    """An unfinished output.

    Parameters
    ----------
    folder
        The output so far.
    scratch
        A folder for what the run needs and the output does not.
    journal
        What is finished.
    began
        When the first run began, for people; empty if this is the first.
    """

    folder: Path
    scratch: Path
    journal: Journal
    began: str

    def has(self, unit: str) -> bool:
        """Whether an earlier run has finished a unit of work, or this one."""
        return self.journal.found(unit) is not None

    def once(self, unit: str, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """The facts of a unit of work: those of an earlier run, else those that ``make`` returns (JSON's types)."""
        facts = self.journal.found(unit)
        if facts is None:
            facts = make()
            self.journal.add(unit, facts)
        return facts


def unfinished(path: Path) -> Mapping[str, Any] | None:
    """What an unfinished run into ``path`` was told: its ``settings`` and more; None if there is none.

    Raises
    ------
    DamagedInputError
        If that cannot be read.
    """
    return noted(path) if (work_place(path) / path.resolve().name).is_dir() else None


def noted(path: Path) -> Mapping[str, Any] | None:
    """Like :func:`unfinished`, also of a run that was killed when it had given its output the name."""
    file = work_place(path) / RUN
    if not file.is_file():
        return None
    with told(file, "an unfinished run", "begin anew with `restart`"):
        run = table(read_json(file), "the run")
        check_schema(run, MAKING_SCHEMA)
        table(run["settings"], "settings")
        text(run["began"], "began")
    return run


def n_finished(path: Path) -> int | None:
    """Number of units that an unfinished run into ``path`` has finished; None if it has no journal.

    Raises
    ------
    OSError
        If the journal cannot be read.
    """
    journal = work_place(path) / _JOURNAL
    if not journal.is_file():
        return None
    n = 0
    for file in journals_of(journal):
        with file.open("rb") as lines:
            n += sum(line.endswith(b"\n") for line in lines)
    return n


def finished_bytes(path: Path) -> int:
    """Bytes on the disk of an unfinished run into ``path``."""
    return bytes_on_disk(work_place(path))


def check_same(path: Path, making: Making) -> None:
    """Raise OutputExistsError if an unfinished run into ``path`` was told otherwise, or had other inputs."""
    run = unfinished(path)
    if run is None:
        return
    differences = making_of(run, work_place(path) / RUN).differences(making)
    if not differences:
        return
    more = f"; and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
    raise OutputExistsError(
        f"{work_place(path)} holds an unfinished run of {run['began']} that differs from this one: "
        f"{'; '.join(differences[:_MOST_NAMED])}{more}. Repeat its options to continue, or give `restart` to drop it",
        parameter="restart",
    )


@contextlib.contextmanager
def resumable_directory(
    path: Path,
    making: Making,
    *,
    overwrite: bool = False,
    restart: bool = False,
    ended: Callable[[str], None] = lambda _: None,
) -> Iterator[Run]:
    """Give a directory to fill, with what an earlier run has finished; on success the directory becomes ``path``.

    On an error it stays if anything is finished, and ``ended`` is told so in a line for people. It goes after errors
    that ask for other options.

    Parameters
    ----------
    path
        The output.
    making
        What the result depends on: a run that was told otherwise, or had other inputs, is not gone on with.
    overwrite
        Replace ``path`` if it exists (when the new one is complete).
    restart
        Drop what an earlier run has finished.

    Raises
    ------
    OutputExistsError, OutputError
        As :func:`gpustitch.io.atomic.atomic_directory` raises them. Also if an earlier run differs.
    """
    check_output(path, overwrite=overwrite)
    path = path.resolve()  # a link stays; its target is written
    work = work_place(path)
    with os_errors(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(kept_folder(work, path))
        check_output(path, overwrite=overwrite)
        _check_ours(work)
        if restart or unfinished(path) is None:
            _clear(work)
        check_same(path, making)
        began = _begin(work, path, making)
        journal = stack.enter_context(Journal(work / _JOURNAL))
        try:
            with os_errors(path):
                yield Run(work / path.name, work / _SCRATCH, journal, began)
                flush(work / path.name)
        except BaseException as error:
            if len(journal) and not isinstance(error, _ASK_FOR_OTHER_OPTIONS):
                ended(f"what is finished is kept in {work}: run again in the same way to go on")
            else:
                _remove(work, path)
            raise
        put(work / path.name, path, overwrite=overwrite)
        _remove(work, path)


def _begin(work: Path, path: Path, making: Making) -> str:
    """Note the run if it is the first; returns when that one began, empty if it is this."""
    file = work / RUN
    if file.exists():
        return str(unfinished(path)["began"])  # type: ignore[index]
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    run = {"began": now, **making.record}
    marked = work / MARK
    marked.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    flush(marked)
    (work / path.name).mkdir()
    (work / _SCRATCH).mkdir()
    marked.rename(file)
    flush(work)
    return ""


def _clear(work: Path) -> None:
    """Empty the folder; wherever that is stopped, the mark says that what is left is of no use."""
    with contextlib.suppress(FileNotFoundError):
        (work / RUN).replace(work / MARK)
    for entry in sorted(work.iterdir(), key=lambda entry: entry.name == MARK):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _check_ours(work: Path) -> None:
    """Raise OutputError if the folder holds anything, but no run of ours has begun there."""
    if any(work.iterdir()) and not is_work(work):
        raise OutputError(
            f"{work} is where the output is to be made, but holds something else; move it, or choose another output"
        )


def _remove(work: Path, path: Path) -> None:
    """Remove the folder; what a disk does not let go is no error, as no run takes it for one."""
    with contextlib.suppress(OSError):
        discard(work, path)
