"""Nobody has to watch a run, and whatever ends it leaves one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import tifffile
import typer

from gpustitch.cli.main import app
from gpustitch.cli.signals import STOPPING
from gpustitch.cli.terminal import TerminalProgress, reported_errors
from gpustitch.errors import DamagedInputError, OutputError
from gpustitch.io.frames.dcimg_writer import write_dcimg

pytestmark = pytest.mark.posix


@pytest.fixture(name="broken", params=["closed pipe", "full disk", "closed", "none"])
def _broken(request: pytest.FixtureRequest) -> Iterator[IO[str] | None]:
    """A stream that takes nothing."""
    if request.param == "none":
        yield None
        return
    if request.param == "full disk":
        target = os.open("/dev/full", os.O_WRONLY)
    else:
        source, target = os.pipe()
        os.close(source)
    stream = os.fdopen(target, "w")
    if request.param == "closed":
        stream.close()
    yield stream
    try:
        stream.close()
    except OSError:
        pass


def test_a_run_goes_on_where_nobody_reads_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: IO[str] | None, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(4, 6, 8)
    write_dcimg(tmp_path / "a.dcimg", frames, 4, (6, 8))
    monkeypatch.setattr(sys, "stderr", broken)
    arguments = ["--input", str(tmp_path / "a.dcimg"), "--output-pattern", str(tmp_path / "out" / "%05d.tif")]
    assert app(["dcimg2tif", *arguments, "--n-workers", "1"], standalone_mode=False) in (None, 0)
    monkeypatch.undo()
    written = [tifffile.imread(path) for path in sorted((tmp_path / "out").glob("*.tif"))]
    np.testing.assert_array_equal(written, frames)
    assert not capfd.readouterr().err


def test_a_bar_is_drawn_where_nobody_reads_it(monkeypatch: pytest.MonkeyPatch, broken: IO[str] | None) -> None:
    monkeypatch.setattr("gpustitch.cli.signals.ErrorStream.isatty", lambda _: True)
    monkeypatch.setattr(sys, "stderr", broken)
    progress = TerminalProgress()
    progress.start("Averaging", 3, "frames")
    progress.note("a note")
    progress.advance(3)
    progress.finish()
    progress.warn("a warning")


def test_a_result_that_is_lost_is_an_error_but_not_that_its_reader_left(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = os.pipe()
    os.close(source)
    with os.fdopen(target, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        TerminalProgress().result("done")
    with Path("/dev/full").open("w", encoding="ascii") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match=r"standard output takes no result \(No space.*: done"):
            TerminalProgress().result("done")


@pytest.mark.parametrize("number", [signal.SIGINT, *STOPPING], ids=lambda number: number.name)
def test_what_stops_a_run_clears_up_and_says_so(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before, cleared = signal.getsignal(number), []
    signal.signal(number, signal.SIG_DFL)  # tests in the background inherit that Ctrl-C is ignored
    try:
        with pytest.raises(typer.Exit) as left, reported_errors():
            try:
                os.kill(os.getpid(), number)
            finally:
                if number != signal.SIGINT:
                    os.kill(os.getpid(), number)  # again, while it clears up
                cleared.append(number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert left.value.exit_code == 128 + number and cleared == [number]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"gpustitch: {'interrupt' if number == signal.SIGINT else 'termin'}")


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with reported_errors():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def caused(error: Exception, cause: BaseException) -> Exception:
    """An error as ``raise error from cause`` leaves it."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MemoryError(), 12, "memory does not suffice; free some, or lower --memory or n_workers"),
        (MemoryError("Unable to allocate 9 GiB"), 12, "does not suffice (Unable to allocate 9 GiB)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 12, "memory does not suffice"),
        (OSError(errno.EMFILE, "Too many open files", "/x/.a.partial/b"), 12, "more files are open than"),
        (RuntimeError("can't start new thread"), 12, "no more threads"),
        (caused(DamagedInputError("a.tif is damaged"), MemoryError()), 12, "memory does not suffice"),
        (caused(DamagedInputError("a"), ValueError("Error opening file: Too many open files")), 12, "more files are"),
        (caused(DamagedInputError("a.tif is damaged"), ValueError("x")), 5, "a.tif is damaged"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/x/.long.partial"), 3, "/x/long: the name is longer"),
        (OSError(errno.EBUSY, "Device or resource busy", "/x/.out.partial/info"), 8, "/x/out/info: Device or"),
        (OverflowError("int too large to convert to float"), 5, "beyond all bounds: int too large"),
        (RecursionError("maximum recursion depth exceeded"), 5, "beyond all bounds: maximum recursion"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_the_machine_lacks_is_one_line(
    error: Exception, code: int, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as left, reported_errors({"memory_bytes": "--memory"}):
        raise error
    lines = capfd.readouterr().err.splitlines()
    assert left.value.exit_code == code and len(lines) == 1 and text in lines[0]


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported_errors():
        raise ZeroDivisionError
