"""The command ``oblique2stitched``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.fuse import stage as fuse
from gpustitch.oblique.fuse.options import StitchOptions, TreeOptions

SCAN = ObliqueScan(24, 30, 16, 1.8, 1.28)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stitch") / "tiles"
    values = np.random.default_rng(0).integers(200, 2000, SCAN.shape, dtype=np.uint16)
    values *= SCAN.coverage.mask(Box.of_shape(SCAN.shape))
    for y in (0, 420):
        path = root / "0" / f"0_{y}" / "0"
        path.parent.mkdir(parents=True, exist_ok=True)
        sidecar = {"scan": dataclasses.asdict(SCAN)}
        with PrecomputedWriter(path, SCAN.shape, np.uint16, SCAN.spacing, Writing(levels=1, sidecar=sidecar)) as writer:
            for box in writer.blocks():
                writer.write(box, np.ascontiguousarray(values[box.slices()]))
    return root


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["oblique2stitched", *map(str, arguments)])


def test_every_option_reaches_the_volume(tree: Path, tmp_path: Path) -> None:
    alignment, output = tmp_path / "a.json", tmp_path / "o"
    found = {"[0.0, 0.0, 0.0]": [0, 0, 0], "[0.0, 42.0, 0.0]": [1.3, 42.5, 0]}
    alignment.write_text(json.dumps({"voxel_size": 1.82, "x_step_size": 1.28, "alignments": found}))
    result = call(
        "--input", tree, "--output", output, "--levels", 2, "--chunk-size", "32,16,8", "--log-level", "WARNING",
        "--n-writers", 2, "--n-workers", 2, "--silent", "--x-step-size", 1.28, "--y-voxel-size", 1.81,
        "--z-offset", 2048, "--output-size", "30,40,10", "--output-offset", "2,3,4", "--alignment", alignment,
        "--y-illum-corr", 0.9, "--n-y-illum-patches", 10, "--min-y-illum-mean", 50, "--min-y-illum-corr-coef", 0.5,
        "--negative-y", "--overwrite",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert not result.output
    volume = PrecomputedVolume(output)
    assert volume.shape == (10, 40, 30)
    assert volume.spacing.zyx_um == pytest.approx((1.81 / 2**0.5, 1.81, 1.28))
    assert volume.read(Box.of_shape(volume.shape)).any()
    scales = json.loads((output / "info").read_text())["scales"]
    assert [scale["key"] for scale in scales] == ["1_1_1", "2_2_2"]
    assert scales[0]["chunk_sizes"] == [[32, 16, 8]]


def test_tiles_are_stitched_without_any_option(tree: Path, tmp_path: Path) -> None:
    result = call("--input", tree, "--output", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert "2 tiles to" in result.output
    assert "stitch: " in result.output
    assert len(json.loads((tmp_path / "o" / "info").read_text())["scales"]) == 5
    assert PrecomputedVolume(tmp_path / "o").spacing.zyx_um == pytest.approx(SCAN.spacing.zyx_um)


def test_an_estimate_from_nothing_is_refused(tree: Path, tmp_path: Path) -> None:
    """The two tiles show the same noise, but not at the same place: nothing to estimate from."""
    result = call("--input", tree, "--output", tmp_path / "o", "--compute-y-illum-corr")
    assert result.exit_code == 3
    assert "y intensity correction cannot be estimated" in result.output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--chunk-size", "64,64"], 3, "--chunk-size takes 3 whole numbers"),
        (["--output-size", "a,b,c"], 3, "--output-size takes 3 whole numbers"),
        (["--output-offset", "0,0,900"], 3, "--output-offset x,y,z must be within the mosaic"),
        (["--levels", "0"], 3, "--levels must be"),
        (["--y-illum-corr", "0.8", "--compute-y-illum-corr"], 3, "choose one"),
        (["--alignment", "nowhere.json"], 4, "nowhere.json"),
        (["--input", "nowhere"], 4, "nowhere"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    tree: Path, tmp_path: Path, options: list[str], code: int, text: str
) -> None:
    result = call("--input", tree, "--output", tmp_path / "o", *options)
    assert result.exit_code == code, result.output
    assert text in result.output
    assert not (tmp_path / "o").exists()


def test_an_output_that_exists_is_kept(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "precious").touch()
    result = call("--input", tree, "--output", tmp_path / "o")
    assert result.exit_code == 7
    assert (tmp_path / "o" / "precious").exists()


@pytest.mark.parametrize(
    ("name", "mark"), [(name, "zarr.json") for name in ("x.zarr", "x.ome.zarr", "X.ZARR")] + [("x 1.8um", "info")]
)
def test_the_name_decides_the_format(tree: Path, tmp_path: Path, name: str, mark: str) -> None:
    result = call("--input", tree, "--output", tmp_path / name, "--levels", 1, "--silent")
    assert result.exit_code == 0, result.output
    written = {path.name for path in (tmp_path / name).iterdir()}
    assert mark in written and not written & {"info", "zarr.json"} - {mark}
    whole = Box.of_shape(open_volume(tmp_path / name).shape)
    tiles = fuse.plan_tree(TreeOptions(tree), StitchOptions(tmp_path / "plain", levels=1))
    fuse.run(tiles)
    np.testing.assert_array_equal(open_volume(tmp_path / name).read(whole), open_volume(tmp_path / "plain").read(whole))


@pytest.mark.parametrize("name", ["x.ome.tiff", "x.nii.gz", "x.h5", "x.zarr.zip"])
@pytest.mark.parametrize("command", ["oblique2stitched", "dcimg2oblique", "stack2oblique", "pipeline"])
def test_a_format_that_is_not_written_is_refused(tmp_path: Path, command: str, name: str) -> None:
    raw = tmp_path / "c/0/0_0/0.dcimg"
    raw.parent.mkdir(parents=True)
    write_dcimg(raw, np.zeros((4, 6, 5), np.uint16), 4, (6, 5))
    (tmp_path / "c/0/0_0/0/1_1_1").mkdir(parents=True)
    (tmp_path / "c/0/0_0/0/1_1_1/precomputed.blockfs").touch()
    given = {"oblique2stitched": ("--input", tmp_path / "c"), "pipeline": (tmp_path / "c",)}.get(
        command, ("--input", raw)
    )
    words = [command, *given, "--output", tmp_path / name]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 3 and f"--output {tmp_path / name} is named as" in result.output.replace("\n", "")
    assert not (tmp_path / name).exists()
