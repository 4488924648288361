"""The command ``pipeline``: what its options and environment variables ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.errors import MosaicError, ParameterError
from gpustitch.io.images.files import write_tiff
from gpustitch.oblique.fuse.options import Intensity
from gpustitch.oblique.pipeline.options import PipelineOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PipelineOptions]:
    """The options of each call; nothing is run."""
    seen: list[PipelineOptions] = []

    def plan(options: PipelineOptions) -> None:
        seen.append(options)
        raise ParameterError("enough")

    monkeypatch.setattr("gpustitch.cli.oblique.pipeline.plan", plan)
    return seen


def call(*arguments: object, **environment: str) -> None:
    result = CliRunner().invoke(app, ["pipeline", *map(str, arguments)], env=environment)
    assert result.exit_code == ParameterError.exit_code and "enough" in result.output


def test_a_channel_and_an_output_are_enough(asked: list[PipelineOptions]) -> None:
    call("raw", "--output", "out")
    (options,) = asked
    assert (options.channel, options.output) == (Path("raw"), Path("out"))
    assert (options.x_step_um, options.y_voxel_um, options.angle_deg) == (1.28, 1.8, 45)
    assert options.preset == "auto" and options.orientation is None, "the frames tell"
    assert (options.align_xz, options.allow_unaligned, options.negative_y) == (True, False, False)
    assert options.correction.method == "lightsheet" and options.correction.dark == 0
    assert options.correct_flat and options.flat is None and options.illumination.background is None
    assert options.matching.sample_count == 100 and (options.matching.window_px, options.matching.largest_px) == (
        None,
        (51, 51, 51),
    )
    assert options.stitch.levels == 7 and options.stitch.intensity == Intensity()
    assert (options.y_size, options.stage_repeatability_um) == ("auto", None)
    assert options.align_file is None and options.z_offset is None and not options.keep_tiles
    assert not options.staged and not options.writes_tiles


def test_every_option_goes_where_it_belongs(asked: list[PipelineOptions]) -> None:
    call(
        "raw", "--output", "out", "--x-step-size", 2, "--y-voxel-size", 1.5, "--angle", 40, "--rotate-90", 1,
        "--flip-ud", "--illum-corr", "flat.tiff", "--n-frames", 7, "--flat-background", 99, "--destripe-method",
        "wavelet", "--background", 12, "--sigma1", 3, "--sigma2", 4, "--wavelet", "haar", "--crossover", 5,
        "--align-file", "a.json", "--no-align-xz", "--sample-count", 11, "--window-size", "9,11,13", "--z-offset", 77,
        "--allow-unaligned", "--negative-y", "--compute-y-illum-corr", "--levels", 2, "--chunk-size", "8,16,32",
        "--keep-tiles", "--staged", "--n-workers", 3, "--overwrite", "--y-size", "measured",
        "--stage-repeatability", 2.5,
    )  # fmt: skip
    (options,) = asked
    assert (options.x_step_um, options.y_voxel_um, options.angle_deg) == (2, 1.5, 40)
    assert (*options.orientation, options.align_xz, options.negative_y) == (1, True, False, True)
    assert options.allow_unaligned
    assert (options.y_size, options.stage_repeatability_um) == ("measured", 2.5)
    assert options.flat == Path("flat.tiff") and options.align_file == Path("a.json")
    assert (options.illumination.n_frames, options.illumination.background) == (7, 99)
    assert (options.correction.method, options.correction.dark) == ("wavelet", 12)
    wavelet = options.correction.wavelet
    assert (wavelet.sigma1, wavelet.sigma2, wavelet.wavelet, wavelet.crossover) == (3, 4, "haar", 5)
    assert (options.matching.sample_count, options.matching.window_px) == (11, (13, 11, 9))
    assert (options.stitch.levels, options.stitch.chunk_shape) == (2, (32, 16, 8))
    assert options.stitch.intensity == Intensity(is_estimated=True)
    assert (options.z_offset, options.keep_tiles, options.n_workers, options.overwrite) == (77, True, 3, True)
    assert options.staged


def test_environment_variables_of_the_script_are_honoured_and_options_win(asked: list[PipelineOptions]) -> None:
    environment = {
        "X_STEP_SIZE": "2", "Y_VOXEL_SIZE": "1.5", "ILLUM_CORR": "flat.tiff", "USE_WAVELETS": "1", "BACKGROUND": "12",
        "ALIGN_FILE": "a.json", "Z_OFFSET": "77", "NEGATIVE_Y": "1", "ALIGN_XZ": "0",
    }  # fmt: skip
    call("raw", "--output", "out", **environment)
    call("raw", "--output", "out", "--x-step-size", 3, "--align-xz", **environment)
    first, second = asked
    assert (first.x_step_um, first.y_voxel_um, first.z_offset) == (2, 1.5, 77)
    assert (first.flat, first.align_file) == (Path("flat.tiff"), Path("a.json"))
    assert (first.correction.method, first.correction.dark) == ("wavelet", 12)
    assert (first.negative_y, first.align_xz) == (True, False)
    assert (second.x_step_um, second.align_xz) == (3, True)


def test_preset_of_the_chung_lab(asked: list[PipelineOptions]) -> None:
    call("raw", "--output", "out", "--preset", "chunglab")
    call("raw", "--output", "out", "--preset", "chunglab", "--rotate-90", 0, "--no-flip-ud")
    call("raw", "--output", "out", "--preset", "auto", "--rotate-90", 5)
    assert [options.orientation for options in asked] == [(3, True), (0, False), (1, False)]


@pytest.mark.parametrize("value", ["1", "yes", "--negative-y", "anything"])
def test_any_value_of_a_switch_in_the_environment_is_on(asked: list[PipelineOptions], value: str) -> None:
    call("raw", "--output", "out", NEGATIVE_Y=value, ALIGN_XZ=value, USE_WAVELETS=value)
    assert (asked[0].negative_y, asked[0].align_xz, asked[0].correction.method) == (True, True, "wavelet")


@pytest.mark.parametrize("value", ["0", "no", "Off", "false"])
def test_a_no_in_the_environment_is_off(asked: list[PipelineOptions], value: str) -> None:
    call("raw", "--output", "out", NEGATIVE_Y=value, ALIGN_XZ=value, USE_WAVELETS=value)
    assert (asked[0].negative_y, asked[0].align_xz, asked[0].correction.method) == (False, False, "lightsheet")


def test_options_win_over_the_environment(asked: list[PipelineOptions]) -> None:
    call("raw", "--output", "out", "--no-negative-y", "--destripe-method", "none", NEGATIVE_Y="1", USE_WAVELETS="1")
    assert (asked[0].negative_y, asked[0].correction.method) == (False, "none")


def test_no_flat_is_made_of_float_frames(tmp_path: Path) -> None:
    for number in range(4):
        write_tiff(tmp_path / "raw" / "0" / "0_0" / "0" / f"{number}.tif", np.ones((20, 24), np.float32))
    arguments = ["pipeline", str(tmp_path / "raw"), "--output", str(tmp_path / "out"), "--preset", "plain"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == ParameterError.exit_code
    assert "no flat can be made from float frames: give --illum-corr" in result.output


def test_tiles_of_several_types_are_refused_before_any_is_made(tmp_path: Path) -> None:
    for x, dtype in (("0", np.uint8), ("200", np.uint16)):
        for number in range(4):
            write_tiff(tmp_path / "raw" / x / f"{x}_0" / "0" / f"{number}.tif", np.full((20, 24), 7, dtype))
    arguments = ["pipeline", str(tmp_path / "raw"), "--output", str(tmp_path / "out"), "--no-flat", "--preset", "plain"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == MosaicError.exit_code
    assert "uint16 voxels but" in result.output and "state one --dtype" in result.output
    assert not (tmp_path / "out").exists()


def test_the_default_says_what_it_is_for(tmp_path: Path) -> None:
    for number in range(4):
        write_tiff(tmp_path / "raw" / "0" / "0_0" / "0" / f"{number}.tif", np.full((20, 24), 7, np.uint8))
    arguments = ["pipeline", str(tmp_path / "raw"), "--output", str(tmp_path / "out"), "--no-flat", "--preset", "plain"]
    result = CliRunner().invoke(app, [*arguments, "--levels", "1", "--x-step-size", "5", "--no-report"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert said.count("--destripe-method lightsheet removes the background, and the dark offset with it") == 1


@pytest.mark.parametrize("counts", [(12, 12), (12, 11), (9, 12)])
def test_a_tile_with_fewer_frames_than_others_is_named(tmp_path: Path, counts: tuple[int, int]) -> None:
    for x, count in zip(("0", "200"), counts, strict=True):
        for number in range(count):
            write_tiff(tmp_path / "raw" / x / f"{x}_0" / "0" / f"{number}.tif", np.full((20, 24), 7, np.uint8))
    arguments = ["pipeline", str(tmp_path / "raw"), "--output", str(tmp_path / "out"), "--no-flat", "--quiet"]
    plain = ["--preset", "plain", "--destripe-method", "none", "--allow-unaligned", "--no-report"]
    result = CliRunner().invoke(app, [*arguments, *plain, "--levels", "1", "--x-step-size", "5"])
    assert result.exit_code == 0, result.output
    said = "".join(result.output.split())
    assert ("1of2tileshavefewerthan12frames" in said) == (counts != (12, 12))
    assert (f"_0_0:{min(counts)}" in said) == (counts != (12, 12))
