"""Whatever is wrong in a table of positions: one line and an exit code, or nothing changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box
from gpustitch.sections.positions.file import ZPositions, write_z_positions

POSITIONS = np.array([0, 1.1, 2.3, 2.9, 4])
CELLS = ("", "x", "nan", "inf", "-1", "1e400", "1e308", "9" * 20, '"', "\0", "1_0", "1;2", "\u0663", "0x10", "1e-320")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "in.npy", np.random.default_rng(0).integers(1, 999, (5, 3, 4)).astype(np.uint16))
    error = np.full(5, 0.1)
    write_z_positions(tmp_path / "z.csv", ZPositions(POSITIONS, np.argsort(POSITIONS), error, error))
    return tmp_path


def render(folder: Path) -> int:
    """The exit code of the command, which is no traceback and one line."""
    arguments = ("z-render", folder / "in.npy", folder / "z.csv", folder / "v", "--voxel-size", "1,1,1", "--levels", 1)
    options = ("--overwrite", "--device", "cpu", "--n-workers", 1)
    result = CliRunner().invoke(app, [str(argument) for argument in (*arguments, *options)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 0 or "error: " in result.output
    return result.exit_code


def test_a_damaged_cell(folder: Path) -> None:
    assert render(folder) == 0
    box = Box.of_shape((5, 3, 4))
    wanted = PrecomputedVolume(folder / "v").read(box)
    rows = [line.split(",") for line in (folder / "z.csv").read_text().splitlines()]
    n_rendered = 0
    for number, (row, column, cell) in enumerate(np.ndindex(len(rows), len(rows[0]), len(CELLS))):
        if number % 16:
            continue
        lines = [list(line) for line in rows]
        lines[row][column] = CELLS[cell]
        (folder / "z.csv").write_text("\n".join(map(",".join, lines)))
        if render(folder) == 0 and (row, column) != (0, 1) and column != 1:
            np.testing.assert_array_equal(PrecomputedVolume(folder / "v").read(box), wanted)
            n_rendered += 1
    assert n_rendered > 3


@pytest.mark.parametrize("cell", ["1_0", "\u0663", "0x10", "1e400", "1" * 200_000, "1e308"])
def test_what_is_no_finite_number_is_no_position(folder: Path, cell: str) -> None:
    lines = (folder / "z.csv").read_text().splitlines()
    lines[5] = f"4,{cell},4,4,4,0.1,0.1"
    (folder / "z.csv").write_text("\n".join(lines))
    assert render(folder) > 1


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"a," * 200_000, b"\x89PNG", b'"z-index', b"z-index,mapping\n"])
def test_no_table_at_all(folder: Path, content: bytes) -> None:
    (folder / "z.csv").write_bytes(content)
    assert render(folder) == 5
