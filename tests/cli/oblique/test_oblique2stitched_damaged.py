"""Whatever is wrong in the alignment or the flat that a command uses: one line and an exit code, or nothing changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, ObliqueScan
from tests.io.edits import edits

SCAN = ObliqueScan(6, 12, 5, 1.8, 1.28)
ALIGNMENT = {
    "voxel_size": 1.8, "x_step_size": 1.28, "angle": 45.0, "negative_y": False, "slant": None, "schema": 1,
    "alignments": {"[0.0, 0.0, 0.0]": [0, 0, 0], "[0.0, 18.0, 0.0]": [1.3, 18.5, 0]},
    "unlinked": [[0.0, 18.0, 0.0]], "unaligned": False, "provenance": {"version": "1"},
}  # fmt: skip
EVERY = 23


def call(*arguments: Any) -> int:
    """The exit code of a command, which is no traceback and one line."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 0 or "error: " in result.output
    return result.exit_code


def voxels(path: Path) -> Any:
    """All voxels of a volume."""
    volume = PrecomputedVolume(path)
    return volume.read(Box.of_shape(volume.shape))


def test_a_damaged_alignment_of_oblique2stitched(tmp_path: Path) -> None:
    rng, file, output = np.random.default_rng(0), tmp_path / "a.json", tmp_path / "o"
    for y in (0, 180):
        path = tmp_path / "tiles" / "0" / f"0_{y}" / "0"
        path.parent.mkdir(parents=True)
        sidecar = {"scan": dataclasses.asdict(SCAN)}
        with PrecomputedWriter(
            path, SCAN.shape, np.uint16, SCAN.spacing, Writing(levels=1, sidecar=sidecar, flush=False)
        ) as writer:
            for box in writer.blocks():
                writer.write(box, rng.integers(200, 2000, box.shape, dtype=np.uint16))

    def stitch(content: Any) -> int:
        file.write_text(json.dumps(content))
        return call(
            "oblique2stitched", "--input", tmp_path / "tiles", "--output", output, "--alignment", file, "--levels", 1,
            "--n-workers", 1, "--device", "cpu", "--overwrite",
        )  # fmt: skip

    assert stitch(ALIGNMENT) == 0
    wanted, n_same = voxels(output), 0
    used = ("'alignments'", "'voxel_size'", "'x_step_size'", "'slant'", "'angle'", "() ")
    for number, (what, bad) in enumerate(edits(ALIGNMENT)):
        if number % EVERY == 0 and stitch(bad) == 0 and not what.startswith(tuple(f"({name}" for name in used)):
            np.testing.assert_array_equal(voxels(output), wanted, what)
            n_same += 1
    assert n_same > 3
    for name in ("alignments", "voxel_size", "x_step_size", "angle", "negative_y"):  # of another type: never taken
        for bad in ("1", [1.8], {"a": 1}, True if name != "negative_y" else 1):
            assert stitch({**ALIGNMENT, name: bad}) == 5, name
    for bad in (True, "0", None, 1e13, [0], float("nan")):
        assert stitch({**ALIGNMENT, "alignments": {**ALIGNMENT["alignments"], "[0.0, 0.0, 0.0]": [0, 0, bad]}}) == 5


def test_a_damaged_flat_of_dcimg2oblique(tmp_path: Path) -> None:
    rng, flat, output = np.random.default_rng(0), tmp_path / "flat.tif", tmp_path / "o"
    write_dcimg(tmp_path / "a.dcimg", iter(rng.integers(1, 900, (6, 12, 8)).astype(np.uint16)), 6, (12, 8))
    tifffile.imwrite(flat, rng.uniform(0.5, 1, (12, 8)).astype(np.float32))
    good = flat.read_bytes()
    options = ("--levels", 1, "--device", "cpu", "--overwrite", "--n-workers", 1)
    codes = set()
    for at in range(4, len(good) - 384, 29):  # of 384 bytes of pixels
        for value in (0, 255):
            flat.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
            codes.add(
                call("dcimg2oblique", "--input", tmp_path / "a.dcimg", "--output", output, "--flat", flat, *options)
            )
    flat.write_bytes(good[:100])
    assert call("dcimg2oblique", "--input", tmp_path / "a.dcimg", "--output", output, "--flat", flat, *options) == 5
    assert codes >= {0, 5}
