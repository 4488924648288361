"""The command ``oblique-align``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner, Result

from gpustitch.cli.main import app
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing

SPACING = Spacing(1.8 / 2**0.5, 1.8, 1.28)
WINDOWS = ("--window-size", "13,13,11", "--search-size", "8,8,8", "--sample-count", "12")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["oblique-align", *map(str, arguments)])


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiles 40 voxels apart in y by the stage, in truth 43, with 2 in x and -1 in z."""
    root = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    cells = np.zeros((52, 120, 70), np.float32)
    at = tuple(rng.integers(0, n, cells.size // 800) for n in cells.shape)
    cells[at] = rng.uniform(2e4, 2e5, len(at[0]))
    whole = rng.poisson(300 + ndimage.gaussian_filter(cells, 2.0)).astype(np.uint16)
    shape = (48, 72, 64)
    for y, start in ((0, (2, 1, 1)), (720, (1, 44, 3))):
        path = root / "0" / f"0_{y}" / "0"
        tile = whole[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))]
        with PrecomputedWriter(path, shape, np.uint16, SPACING, Writing(levels=1)) as writer:
            for box in Box.of_shape(shape).blocks(writer.block_shape):
                writer.write(box, tile[box.slices()])
    return root


def test_finds_the_tile(volumes: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "align.json", tmp_path / "align.md"
    result = call("--input", volumes, "--output", output, "--report", report, *WINDOWS, "--voxel-size", 1.8,
                  "--x-step-size", 1.28, "--n-cores", 1, "--sigma", 2.4, "--blob-detection-window-size", "40,39,38",
                  "--border-size", "6,5,4", "--min-correlation", 0.9, "--align-xz", "--seed", 7)  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(output.read_text())
    first, second = (np.array(content["alignments"][f"[0.0, {y}, 0.0]"]) for y in ("0.0", "72.0"))
    moved = (second - first) / [1.28, content["voxel_size"], content["voxel_sizes"][2]]
    np.testing.assert_allclose(moved, [2, 43, -1], atol=0.15)
    asked = content["provenance"]["parameters"]["matching"]
    assert (asked["sigma_um"], asked["sample_count"], asked["min_correlation"], asked["seed"]) == (2.4, 12, 0.9, 7)
    assert (asked["window_px"], asked["search_px"]) == ([11, 13, 13], [8, 8, 8])
    assert (asked["blob_window_px"], asked["border_px"]) == ([38, 39, 40], [4, 5, 6])
    assert "1 link accepted" in report.read_text()
    assert call("--input", volumes, "--output", output, *WINDOWS).exit_code == 7
    assert call("--input", volumes, "--output", output, *WINDOWS, "--overwrite", "--quiet").exit_code == 0


def test_leaves_x_and_z_alone_when_told(volumes: Path, tmp_path: Path) -> None:
    output = tmp_path / "align.json"
    assert call("--input", volumes, "--output", output, *WINDOWS, "--no-align-xz").exit_code == 0
    content = json.loads(output.read_text())
    assert content["align-z"] is False
    assert [content["alignments"]["[0.0, 72.0, 0.0]"][i] for i in (0, 2)] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--window-size", "20,21,21"), 3, "odd"),
        (("--window-size", "21,21"), 3, "--window-size"),
        (("--border-size", "a,b,c"), 3, "--border-size"),
        (("--border-size", "-1,0,0"), 3, "--border-size and --search-size at least 0"),
        (("--sample-count", "0"), 3, "--sample-count must be at least 1"),
        (("--voxel-size", "-1.8"), 3, "voxel size"),
        (("--n-cores", "0"), 3, "--n-cores must be at least 1"),
        (("--y-size", "both"), 2, "--y-size"),
        (("--stage-repeatability", "-1"), 3, "--stage-repeatability"),
        (("--stage-repeatability", "nan"), 3, "--stage-repeatability"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    volumes: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    output = tmp_path / "align.json"
    result = call("--input", volumes, "--output", output, *arguments)
    assert result.exit_code == code, result.output
    assert text in result.output
    assert not list(tmp_path.iterdir())


def test_which_y_voxel_size_is_gone_on_with(volumes: Path, tmp_path: Path) -> None:
    """The stage was 3 voxels from where it was sent, of 40: the truth of 1.8 um looks like 1.674 um."""
    said = {}
    for name, asked in {
        "auto": (),
        "measured": ("--y-size", "measured"),
        "nominal": ("--y-size", "nominal", "--stage-repeatability", 0.1),
        "known": ("--stage-repeatability", 0.1),
    }.items():
        output = tmp_path / f"{name}.json"
        result = call("--input", volumes, "--output", output, *WINDOWS, *asked)
        assert result.exit_code == 0, result.output
        said[name] = (json.loads(output.read_text())["voxel_size"], " ".join(result.stdout.split()))
    measured = 40 / 43 * 1.8
    assert [said[name][0] for name in said] == pytest.approx([1.8, measured, 1.8, measured], rel=5e-3)
    assert "nominal 1.8 um" in said["auto"][1] and "relative to the stage's own scale" in said["auto"][1]
    assert "the measured one" in said["measured"][1] and "the nominal one" in said["nominal"][1]
    assert "does not fit: going on with" in said["known"][1]


def test_a_size_that_nothing_measures_is_refused(volumes: Path, tmp_path: Path) -> None:
    output = tmp_path / "align.json"
    result = call("--input", volumes, "--output", output, *WINDOWS, "--y-size", "measured", "--negative-y",
                  "--allow-unaligned")  # fmt: skip
    assert result.exit_code == 10 and "--y-size is measured, but no link joins two rows" in result.output
    assert not list(tmp_path.iterdir())


def test_a_folder_without_volumes_is_an_input_that_is_missing(tmp_path: Path) -> None:
    assert call("--input", tmp_path / "nothing", "--output", tmp_path / "a.json").exit_code == 4
    assert call("--input", tmp_path, "--output", tmp_path / "a.json").exit_code == 4


def test_a_run_that_links_nothing_is_no_success(volumes: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "align.json", tmp_path / "align.md"
    nothing = ("--input", volumes, "--output", output, "--report", report, *WINDOWS, "--negative-y")
    result = call(*nothing)
    assert result.exit_code == 10 and "none of 1 overlap gave a link" in result.output
    assert "--allow-unaligned" in result.output and not list(tmp_path.iterdir())
    result = call(*nothing, "--allow-unaligned", "--quiet")
    assert result.exit_code == 0
    assert "UNALIGNED" in result.stdout and "y voxel size NOT measured (no links along y), nominal" in result.stdout
    content = json.loads(output.read_text())
    assert content["unaligned"] and content["voxel_sizes_measured"] == [False] * 3
    assert content["voxel_size_estimate"] is None
    assert content["provenance"]["parameters"]["n_workers"] >= 1
    assert content["provenance"]["parameters"]["device"] in ("cpu", "cuda:0")
    assert [link["measured"] for link in content["links"]] == [False]
    assert "UNALIGNED" in report.read_text() and "NOT measured" in report.read_text()
    assert (
        "residual 0.00" not in report.read_text()
        and "| not measured | not known | not measured |" in report.read_text()
    )
