"""The demo as a whole, on the smallest phantom: every part runs and its figures come from the files it wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpustitch.demo import brain as demo
from gpustitch.demo.brain import DemoOptions, DemoResult, spec_of
from gpustitch.demo.phantom.stage import SIZES
from gpustitch.demo.phantom.truth import Truth
from gpustitch.demo.score.destriping import KEPT
from gpustitch.errors import OutputExistsError, ParameterError
from gpustitch.io.images.files import read_image
from gpustitch.io.provenance import plain
from gpustitch.oblique.pipeline.options import PipelineOptions

# One worker makes the phantom and stitches it, for all tests.
pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    spec = replace(SIZES["tiny"], stage_error_um=4.0, pixel_error=0.01, chunglab=True, negative_y=True, seed=3)
    return demo.run(demo.plan(DemoOptions(tmp_path_factory.mktemp("demo") / "d", spec)))


def test_tiles_are_found_and_cells_with_them(result: DemoResult) -> None:
    figures = {figure.name: figure for figure in result.evaluation.figures}
    assert figures["stage error, median"].value > 1
    for name in ("tile position error, median", "tile position error, worst", "y voxel size error", "cell recall"):
        assert figures[name].passed, figures[name]
    assert figures["stripe energy, down by"].value > 5
    assert figures["cell centroid error, median"].value < 0.5


def test_the_default_alignment_is_judged_beside_the_tuned_one(result: DemoResult) -> None:
    judged = result.evaluation.alignment
    assert list(judged) == ["default", "tuned"]
    own = {figure.name: figure for figure in result.evaluation.figures}
    assert all(own[figure.name] == figure for figure in judged["default"])
    default, tuned = ({figure.name: figure for figure in judged[name]} for name in judged)
    assert default.keys() == tuned.keys() > {"positions within their stated 95 %"}
    # Other windows lead to the same places, not to the last digit.
    errors = [figures["tile position error, worst"] for figures in (default, tuned)]
    assert errors[0] != errors[1] and all(f.passed is not False for part in judged.values() for f in part)
    assert json.loads(result.report.read_text())["alignment"].keys() == judged.keys()


def test_the_run_aligns_as_the_pipeline_does_by_default(result: DemoResult, tmp_path: Path) -> None:
    truth = Truth.load(result.report.parent / "phantom")
    asked = demo.pipeline_options(truth, DemoOptions(tmp_path, truth.spec))
    by_default = PipelineOptions(Path("channel"), Path("out"))
    for name in ("matching", "align_xz", "y_size", "stage_repeatability_um", "allow_unaligned"):
        assert getattr(asked, name) == getattr(by_default, name), name
    assert result.stitched.alignment is not None
    assert (
        plain(by_default.matching)
        == json.loads(result.stitched.alignment.read_text())["provenance"]["parameters"]["matching"]
    )


def test_the_report_holds_the_figures(result: DemoResult) -> None:
    report = json.loads(result.report.read_text())
    assert report["passed"] == result.evaluation.passed
    names = [figure["name"] for figure in report["figures"]]
    assert names == [figure.name for figure in result.evaluation.figures]
    assert list(report["destriping"]) == ["none", "tuned", "wavelet", "lightsheet"]
    assert {figure["name"] for part in report["destriping"].values() for figure in part} > {"stripes left", KEPT}
    assert len(report["tiles"]) == 4
    assert set(report["seconds"]) == {"phantom", "pipeline", "evaluation", "pictures"}
    assert report["spec"]["seed"] == 3


def test_the_run_and_what_is_judged_beside_it_are_defaults(result: DemoResult) -> None:
    truth = Truth.load(result.report.parent / "phantom")
    by_default = PipelineOptions(Path("channel"), Path("out")).correction
    asked = demo.destriping(truth)
    assert asked.wavelet.is_open
    assert (asked.method, asked.wavelet, asked.dark) == ("wavelet", by_default.wavelet, truth.spec.sensor.dark)
    used = result.stitched.correction
    assert used.wavelet.notch is not None
    corrections = demo.judged_corrections(used)
    assert corrections["wavelet"] is used
    assert corrections["lightsheet"].lightsheet == by_default.lightsheet
    assert [c.method for c in corrections.values()] == ["none", "wavelet", "wavelet", "lightsheet"]
    assert all(c.flat is used.flat and c.dark == truth.spec.sensor.dark for c in corrections.values())


def test_each_method_removes_stripes(result: DemoResult) -> None:
    left = {name: part[0] for name, part in result.evaluation.destriping.items()}
    assert {figure.name for figure in left.values()} == {"stripes left"}
    assert all(left[name].value < left["none"].value / 2 for name in ("tuned", "wavelet", "lightsheet"))


@pytest.mark.parametrize("name", ["overview", "frames", "alignment", "planes"])
def test_pictures_show_something(result: DemoResult, name: str) -> None:
    picture = result.overview.with_name(f"{name}.png")
    assert picture.stat().st_size > 10_000
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape[2] == 3
    assert pixels.std() > 20


def test_the_flat_is_of_upright_frames(result: DemoResult) -> None:
    flat = read_image(result.stitched.output / "flat.tiff")
    assert flat.shape == (SIZES["tiny"].n_rows, SIZES["tiny"].n_columns)


def test_a_second_run_needs_overwrite(result: DemoResult) -> None:
    folder = result.report.parent
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        demo.plan(DemoOptions(folder, SIZES["tiny"]))
    demo.plan(DemoOptions(folder, SIZES["tiny"], overwrite=True))


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="`size`"):
        spec_of("huge")
    with pytest.raises(ParameterError, match="`seed`"):
        spec_of("small", seed=-1)
    with pytest.raises(ParameterError):
        demo.plan(DemoOptions(tmp_path / "d", n_workers=0))
    assert not (tmp_path / "d").exists()
