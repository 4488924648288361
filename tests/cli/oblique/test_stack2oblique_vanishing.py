"""A file of frames that goes, or becomes another, after the plan was made: told, and never a silent hole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.cli.oblique import stack2oblique

FRAMES = np.random.default_rng(0).integers(1, 60000, (6, 8, 10)).astype(np.uint16)

CHANGES: dict[str, Callable[[Path], Any]] = {
    "is removed": Path.unlink,
    "becomes shorter": lambda file: file.write_bytes(file.read_bytes()[:-60]),
    "becomes empty": lambda file: file.write_bytes(b""),
    "gets another size": lambda file: imageio.imwrite(file, FRAMES[0, :, :5]),
    "gets another type": lambda file: imageio.imwrite(file, FRAMES[0].astype(np.uint8)),
    "becomes a folder": lambda file: (file.unlink(), file.mkdir()),
    "goes with its folder": lambda file: shutil.rmtree(file.parent),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_frame_that_changes_after_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, change: Callable[[Path], Any], on_error: str
) -> None:
    files = [tmp_path / "in" / f"img_{number:05d}.{suffix}" for number in range(6)]
    files[0].parent.mkdir()
    for file, frame in zip(files, FRAMES, strict=True):
        imageio.imwrite(file, frame)

    def run(*arguments: Any) -> Any:
        change(files[3])
        return real(*arguments)

    real = stack2oblique.run_resumed
    monkeypatch.setattr(stack2oblique, "run_resumed", run)
    output = tmp_path / "out"
    arguments = ("--input", tmp_path / "in" / f"*.{suffix}", "--output", output, "--levels", 1, "--device", "cpu")
    more = ("--n-workers", 1, "--on-error", on_error)
    result = CliRunner().invoke(app, ["stack2oblique", *map(str, (*arguments, *more))])
    said = " ".join(result.output.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if result.exit_code == 0:
        assert on_error == "skip" and "1 frame cannot be read (3): uncovered" in said, said
    else:
        assert result.exit_code in (4, 5) and "error: " in said and str(files[0].parent / "img_0000") in said, said
        assert not output.exists() and not list(tmp_path.glob(".*"))
