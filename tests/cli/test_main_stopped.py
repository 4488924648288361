"""Commands that write a file over an old one, stopped at every step: old or new, and the record beside is about it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Spacing
from gpustitch.sections.positions.file import ZPositions, write_z_positions
from tests.io.test_partial import Steps

STEPS = ("rename", "replace", "link", "unlink", "rmdir", "mkdir", "open", "fsync")
Files = dict[str, bytes]


class Run:
    """A command that writes into the folder ``out``, of one input or another."""

    def __init__(self, folder: Path, arguments: Callable[[str, Path], tuple[Any, ...]]) -> None:
        self.folder, self.arguments, self.out = folder, arguments, folder / "out"
        self.old, self.new = self.made("a"), self.made("b")

    def __call__(self, which: str) -> tuple[int, str]:
        """Exit code and output."""
        arguments = (*self.arguments(which, self.folder), "--overwrite")
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    def files(self) -> Files:
        """What is in the folder, by name."""
        return {path.name: path.read_bytes() for path in self.out.iterdir() if path.is_file()}

    def restore(self) -> None:
        """Put the old files back."""
        shutil.rmtree(self.out)
        self.out.mkdir()
        for name, content in self.old.items():
            (self.out / name).write_bytes(content)

    def made(self, which: str) -> Files:
        """What is in the folder when it was empty before."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        code, said = self(which)
        assert code == 0, said
        return self.files()


def _render(which: str, at: Path) -> tuple[Any, ...]:
    table, options = at / "z.csv", ("--voxel-size", "1,1,1", "--device", "cpu", "--n-workers", 1)
    return "z-render", at / f"{which}.npy", table, at / "out" / "v.tif", *options


def _positions(which: str, at: Path) -> tuple[Any, ...]:
    return (
        "z-spacing",
        at / f"{which}.npz",
        "--output",
        at / "out" / "z.csv",
        "--range",
        3,
        "--compat",
        "--outer-iterations",
        1,
    )


def _alignment(which: str, at: Path) -> tuple[Any, ...]:
    windows = ("--sample-count", 2, "--window-size", "5,5,5", "--search-size", "3,3,3", "--allow-unaligned")
    return "oblique-align", "--input", at / which, "--output", at / "out" / "align.json", *windows


def _similarity(which: str, at: Path) -> tuple[Any, ...]:
    return "similarity", at / f"{which}.npy", at / "out" / "s.tif", "--range", 2


@pytest.fixture(
    name="run",
    params=[_render, _positions, _alignment, _similarity],
    ids=lambda arguments: arguments.__name__[1:],
)
def _run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    rng = np.random.default_rng(0)
    error = np.full(5, 0.1)
    write_z_positions(tmp_path / "z.csv", ZPositions(np.arange(5.0), np.arange(5), error, error))
    for which in "ab":
        np.save(tmp_path / f"{which}.npy", rng.integers(1, 999, (5, 6, 7)).astype(np.uint16))
        z = np.cumsum(rng.uniform(0.6, 1.4, 6))
        np.savez(tmp_path / f"{which}.npz", matrix=np.exp(-np.abs(np.subtract.outer(z, z)) / 8))
        for y in (0, 60) if request.param is _alignment else ():
            shape = (8, 10, 8)
            with PrecomputedWriter(
                tmp_path / which / "0" / f"0_{y}" / "0",
                shape,
                np.uint16,
                Spacing(1, 1, 1),
                Writing(levels=1, flush=False),
            ) as writer:
                for box in writer.blocks():
                    writer.write(box, rng.integers(1, 999, box.shape).astype(np.uint16))
    return Run(tmp_path, request.param)


def _each_step(
    run: Run, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], check: Callable[[int, str, Files], None]
) -> None:
    """Run over an old output, with ``act`` at the n-th step, for every n; the next run must then do all."""
    for number in range(1, 60):
        run.restore()
        with monkeypatch.context() as patched:
            steps = Steps(patched, number, act, STEPS)
            code, said = run("b")
        check(code, said, run.files())
        if steps.left > 0:
            break
        if number % 4 == 0:
            assert run("b")[0] == 0
            assert run.new.items() <= run.files().items()
    assert 5 < number < 59 and code == 0


@pytest.mark.posix
def test_sigterm_at_any_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    states = set()

    def check(code: int, _said: str, files: Files) -> None:
        assert code in (0, 128 + signal.SIGTERM)
        assert files in (run.old, run.new), sorted(files)
        assert code or files == run.new
        states.add((code, files == run.new))

    _each_step(run, monkeypatch, lambda: signal.raise_signal(signal.SIGTERM), check)
    assert states == {(0, True), (143, True), (143, False)}


@pytest.mark.posix
@pytest.mark.parametrize("run", [_render, _alignment, _similarity], ids=lambda asked: asked.__name__[1:], indirect=True)
def test_a_full_disk_at_any_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def check(code: int, said: str, files: Files) -> None:
        kept = {name: content for name, content in files.items() if ".finished" not in name}
        if code == 0 or "is whole and has its name" in said:
            assert files == run.new
        else:
            assert code == 8
            assert "disk is full" in said or "cannot get its name (No space left" in said
            assert files == run.old or set(files) - set(kept)
        # What lies together is of one run; the record of a file may be absent.
        assert kept.items() <= run.old.items() or kept.items() <= run.new.items()

    _each_step(run, monkeypatch, fail, check)
