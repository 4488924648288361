"""One bar over a run on a terminal; elsewhere clean lines, and few of them."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from gpustitch.cli import terminal
from gpustitch.cli.terminal import TerminalProgress, closed
from gpustitch.running.parts import Parts
from tests.running.readings import FakeMeter

pytestmark = pytest.mark.posix
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def drawn(monkeypatch: pytest.MonkeyPatch, width: int) -> io.StringIO:
    """What a terminal of that width is sent."""
    sent = io.StringIO()
    console = Console(file=sent, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    monkeypatch.setattr(terminal, "_console", console)
    return sent


@pytest.mark.parametrize("width", [120, 80, 40, 12])
def test_a_bar_over_the_parts_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int) -> None:
    sent, meter = drawn(monkeypatch, width), FakeMeter()
    progress = TerminalProgress(meter=meter)
    parts = Parts(progress, {"flat field": 1, "volume": 3}, 2, meter=meter)
    with closed(progress), parts.recorded(tmp_path, {}):
        for name, total in (("flat field", 8), ("volume", 1000)):
            with parts.part(name):
                parts.start("piece", total, "frames")
                meter.at_s += 20
                parts.advance(total // 2)
                assert progress._bar is not None
                progress._bar.refresh()
                parts.note("a note")
                parts.finish()
    text = _CODES.sub("", sent.getvalue())
    assert text.count("a note") == 2 and max(map(len, re.split(r"[\r\n]+", text))) <= max(width, 120)
    if width >= 80:
        assert "flat field" in text and "12 %  0:00:20" in text and "62 %  0:00:40  about 20 s left" in text
        assert "500 of 1,000 frames  25.0 frames/s  in 2.00 GB/s  out 1.00 GB/s" in text
        assert text.rstrip().splitlines()[-1].startswith("the run ")


def test_a_short_terminal_is_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", "xterm")
        progress = TerminalProgress(meter=(meter := FakeMeter()))
        progress.start("Averaging", 4, "frames")
        meter.at_s += 8
        progress.advance(2)
        progress.note("a note")
        progress.finish()
        progress.close()
        sent = ""
        while "\x1b[?25h" not in sent:  # the cursor is back
            sent += os.read(leader, 1 << 16).decode(errors="ignore")
    os.close(leader)
    shown = _CODES.sub("", sent)
    assert "Averaging" in shown and "2 of 4 frames" in shown and "a note" in shown


def test_elsewhere_a_short_run_has_a_line_for_each_piece(capfd: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress(meter=FakeMeter())
    with closed(progress):
        for label in ("Reading", "Averaging"):
            progress.start(label, 2, "frames")
            progress.advance(2)
            progress.finish()
    assert capfd.readouterr().err == "Reading: 2 frames\nAveraging: 2 frames\n"


def test_elsewhere_a_long_run_has_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "_LOOKED_EVERY_S", 0.001)
    meter, written = FakeMeter(), threading.Event()
    write = terminal._write

    def seen(text: str) -> None:
        write(text)
        written.set()

    monkeypatch.setattr(terminal, "_write", seen)
    progress = TerminalProgress(meter=meter)
    with closed(progress):
        progress.start("Averaging", 100, "frames")
        progress.advance(50)
        meter.at_s += 10
        assert written.wait(10)
        progress.finish()
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("Averaging: 50 %, 50 of 100 frames, 5.0 frames/s, in 2.00 GB/s, out 1.00 GB/s")
    assert lines[1] == "Averaging: 50 frames"
    assert [line.split()[0] for line in lines[2:]] == ["part", "Averaging", "other", "the"]
    assert lines[3].endswith("5.0 frames/s")
    assert all("\x1b" not in line and "\r" not in line for line in lines)
    assert progress._lines is not None
    progress._lines.join(10)
    assert not progress._lines.is_alive()


def test_a_quiet_or_failed_run_has_no_table(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet in (True, False):
        progress = TerminalProgress(quiet=quiet, meter=(meter := FakeMeter()))
        with pytest.raises(ZeroDivisionError), closed(progress):
            progress.start("Averaging", 2, "frames")
            meter.at_s += 50
            progress.finish()
            raise ZeroDivisionError
        assert "share" not in capfd.readouterr().err


def test_a_run_goes_on_where_there_are_no_more_threads(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    for is_terminal in (False, True):
        with monkeypatch.context() as patch:
            if is_terminal:
                drawn(patch, 80)
            progress = TerminalProgress()
            with closed(progress):
                progress.start("Averaging", 2, "frames")
                progress.advance(2)
                progress.finish()
    assert capfd.readouterr().err == "Averaging: 2 frames\n"
