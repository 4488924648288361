"""Every command that reads for long says which inputs changed meanwhile, and so does its record."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import COMMANDS, app
from gpustitch.demo.series.dicom import write_series
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.write.opening import open_output
from gpustitch.model import Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.running.inputs import Inputs
from gpustitch.sections.positions.file import ZPositions, write_z_positions

# They read little, make what they read, or write nothing of what they read.
BRIEF = {"demo", "info", "view", "spacing", "verify", "clean", "report", "link-names"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    frames = rng.integers(200, 2000, (24, 16, 16), np.uint16)
    write_dcimg(folder / "raw.dcimg", frames, *(24, (16, 16)))
    (folder / "channel/0/0_0").mkdir(parents=True)
    shutil.copy(folder / "raw.dcimg", folder / "channel/0/0_0/0.dcimg")
    for name, planes in (("images", 24), ("stack", 8)):
        (folder / name).mkdir()
        for number, plane in enumerate(frames[:planes]):
            tifffile.imwrite(folder / name / f"img_{number:03}.tif", plane)
    for y in (0, 40):
        tile = rng.integers(1, 2000, (16, 16, 16), np.uint16)
        options = {"downsample": downsample, "levels": 1, "chunk_shape": (16, 16, 16), "flush": False}
        with open_output(folder / f"tiles/0/0_{y}/0", tile.shape, tile.dtype, Spacing(1, 1, 1), **options) as output:
            output.write(next(iter(output.blocks())), tile)
    unknown = np.full(8, np.nan)
    write_z_positions(folder / "z.csv", ZPositions(np.arange(8.0), np.arange(8), unknown, unknown))
    write_series(folder / "series", np.arange(4) * 1.5)
    return folder


def commands(folder, out):
    """For each command its arguments, the input that changes, and the record, if it writes one."""
    stack, tiles = folder / "stack", folder / "tiles"
    last = stack / "img_007.tif"
    tile = next(path for path in tiles.rglob("*") if path.is_file() and path.name != "info")
    oblique = ("--output", out / "v", "--levels", 1, "--device", "cpu")
    flat = ("--n-frames", 20, "--min-samples", 4, "--background", 10)
    alike = ("--range", 3, "--device", "cpu")
    plain = ("--preset", "plain", "--no-flat", "--destripe-method", "none", "--levels", 1, "--device", "cpu")
    raw = folder / "channel/0/0_0/0.dcimg"
    return {
        "pipeline": ((folder / "channel", "--output", out / "p", "--no-report", *plain), raw, "p/provenance.json"),
        "oblique-illum-corr": (("--output", out / "flat.tif", *flat, folder / "raw.dcimg"), folder / "raw.dcimg", None),
        "dcimg2tif": (
            ("--input", folder / "raw.dcimg", "--output-pattern", out / "%d.tif"), folder / "raw.dcimg", None,
        ),
        "dcimg2jp2": (
            ("--input", folder / "raw.dcimg", "--output-pattern", out / "%d.jp2", "--n-workers", 1, "--stop", 2),
            folder / "raw.dcimg", None,
        ),
        "destripe": (
            ("--input", stack, "--output", out / "d", "--dark", 5, "--device", "cpu", "--destripe-method", "none"),
            last, "d/destripe.json",
        ),
        "stack2oblique": (("--input", f"{stack}/*.tif", *oblique), last, "v/gpustitch.json"),
        "dcimg2oblique": (("--input", folder / "raw.dcimg", *oblique), folder / "raw.dcimg", "v/gpustitch.json"),
        "oblique-align": (("--input", tiles, "--output", out / "a.json", "--allow-unaligned"), tile, "a.json"),
        "oblique2stitched": (("--input", tiles, *oblique), tile, "v/gpustitch.json"),
        "similarity": ((stack, out / "s.npz", *alike), last, None),
        "z-spacing": ((stack, "--output", out / "z.csv", *alike), last, "z.csv.json"),
        "z-spacing-grid": ((stack, out / "g.npz", "--grid", "1,1", "--window", 16, *alike), last, None),
        "z-render": (
            (stack, folder / "z.csv", out / "r.tif", "--voxel-size", "1,1,1", "--device", "cpu"), last, "r.tif.json",
        ),
        "convert": (
            (folder / "images", out / "v", "--voxel-size", "1,1,1", "--levels", 1, "--device", "cpu"),
            folder / "images" / "img_023.tif", "v/gpustitch.json",
        ),
        "resample": (
            (folder / "series", out / "v.nii", "--device", "cpu"), sorted((folder / "series").iterdir())[0],
            "v.nii.json",
        ),
    }  # fmt: skip


def test_every_command_is_tried_or_reads_little(tmp_path, inputs):
    assert set(commands(inputs, tmp_path)) | BRIEF == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - BRIEF))
def test_an_input_that_changes_meanwhile_is_told_and_recorded(inputs, tmp_path, monkeypatch, name):
    arguments, changing, record = commands(inputs, tmp_path)[name]
    tell = Inputs.tell

    def tell_later(given: Inputs, progress: Any) -> dict[str, list[str]]:
        os.utime(changing)
        return tell(given, progress)

    monkeypatch.setattr(Inputs, "tell", tell_later)
    result = CliRunner().invoke(app, [name, *map(str, arguments)])
    said = " ".join(result.output.split())
    assert result.exit_code == 0, said
    assert said.count("was rewritten since the run began") == 1, said
    assert "inputs changed while they were read" in said
    if record is not None:
        assert "was rewritten since the run began" in str(json.loads((tmp_path / record).read_text()))


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("stack2oblique", ("--output", "{}/volume", "--levels", 1)),
        ("dcimg2tif", ("--output-pattern", "{}/out_%d.tif")),
        ("z-render", ("{}/volume.zarr", "--voxel-size", "1,1,1", "--levels", 1)),
    ],
)
def test_outputs_among_the_inputs_are_no_change(inputs, tmp_path, name, output):
    stack = shutil.copytree(inputs / "stack", tmp_path / "stack")
    given = (stack, inputs / "z.csv") if name == "z-render" else ("--input", stack)
    result = CliRunner().invoke(app, [name, *map(str, given), *(str(text).format(stack) for text in output)])
    assert result.exit_code == 0, result.output
    assert len(list(stack.iterdir())) > 8
    assert "since the run began" not in result.output
