"""``gpustitch view``: one line for each refusal, and an end by Ctrl-C that is none."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import webbrowser
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.about import view as command
from gpustitch.cli.main import app
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from gpustitch.oblique.report.text import look
from gpustitch.show.view import ViewOptions

pytestmark = pytest.mark.skipif(find_spec("neuroglancer") is None, reason="the extra [view] is not installed")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    with PrecomputedWriter(tmp_path / "v", (4, 5, 6), np.uint8, Spacing(1, 1, 1), Writing(levels=1)) as writer:
        writer.write(Box.of_shape((4, 5, 6)), np.ones((4, 5, 6), np.uint8))
    return tmp_path / "v"


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Ctrl-C as soon as the command waits; what was opened in a browser."""
    opened: list[str] = []

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", stop)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    yield opened


def view(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["view", *map(str, arguments)])


def test_the_address_is_printed_and_opened(volume: Path, interrupted: list[str]) -> None:
    result = view(volume)
    assert result.exit_code == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[0-9a-f]{16}/\n", result.stdout)
    assert interrupted == [result.stdout.strip()]
    assert view(volume, "--no-browser").exit_code == 0 and len(interrupted) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "http"]


def test_the_command_line_of_the_report_looks_at_its_voxel(volume: Path, interrupted: list[str]) -> None:
    words = shlex.split(look(str(volume), (3, 2, 1)))
    seen: list[ViewOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        plan = command.plan
        patch.setattr(command, "plan", lambda options: seen.append(options) or plan(options))
        assert view(*words[2:], "--no-browser").exit_code == 0
    assert words[:2] == ["gpustitch", "view"] and seen[0].at == (3, 2, 1) and list(seen[0].paths) == [volume]


def test_who_else_can_look(volume: Path, interrupted: list[str]) -> None:
    result = view(volume, "--address", "0.0.0.0", "--no-browser", "--quiet")
    assert result.exit_code == 0
    assert "--address lets other machines look" in result.stderr
    assert "other machines" not in view(volume, "--no-browser").stderr


def test_refusals_are_one_line(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "brain").mkdir()
    (tmp_path / "brain" / "precomputed.blockfs").write_bytes(b"")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for code, text, arguments in (
            (3, f"--port {port} of 127.0.0.1 is in use", (volume, "--port", port)),
            (3, "--address '203.0.113.7' cannot be served on", (volume, "--address", "203.0.113.7")),
            (4, "holds no volume", (tmp_path / "empty",)),
            (4, "holds no volume", (volume / "info",)),
        ):
            result = view(*arguments)
            assert result.exit_code == code, result.output
            assert text in result.stderr and len(result.stderr.splitlines()) == 1
            assert not result.stdout


@pytest.mark.posix
def test_ctrl_c_and_a_free_port_after_it(volume: Path) -> None:
    # Tests that run in the background of a script inherit that Ctrl-C is ignored.
    heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heeded}; from gpustitch.cli.main import main; main()"
    line = [sys.executable, "-c", program, "view", str(volume), "--no-browser"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}data/0/info") as answer:
            assert answer.status == 200
        os.kill(process.pid, signal.SIGINT)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()
