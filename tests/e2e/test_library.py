"""A command and the library, given the same options, write the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gpustitch.cli.main import COMMANDS
from gpustitch.convert import stage as convert
from gpustitch.convert.options import ConvertOptions
from gpustitch.demo.phantom.truth import Truth
from gpustitch.model import Spacing
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.deskew import stage as deskew
from gpustitch.oblique.deskew.stage import DeobliqueOptions
from gpustitch.oblique.destripe import stage as destripe
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.export import jp2, tiff
from gpustitch.oblique.flat import stage as flat
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.fuse import stage as fuse
from gpustitch.oblique.fuse.options import StitchOptions, TreeOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import TILES, PipelineOptions
from gpustitch.sections.grid import stage as grid
from gpustitch.sections.grid.stage import ZGridOptions
from gpustitch.sections.positions import stage as positions
from gpustitch.sections.positions.stage import ZSpacingOptions
from gpustitch.sections.render import stage as render
from gpustitch.sections.render.stage import RenderOptions
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.options import SimilarityOptions
from gpustitch.slices.volume import stage as volume
from gpustitch.slices.volume.stage import ResampleOptions
from tests.e2e.commands import succeed
from tests.slices.dicom.scenarios import scenario

pytestmark = pytest.mark.xdist_group("e2e")


def contents(place: Path) -> dict[str, Any]:
    """What lies in a folder, or of a file and those beside it that bear its name: bytes, or text of JSON."""
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else list(beside(place))
    root = place if place.is_dir() else place.parent
    return {str(path.relative_to(root)): content(path) for path in files}


def beside(file: Path) -> list[Path]:
    """A file and the records about it."""
    return [path for path in file.parent.iterdir() if path.name.startswith(file.name)]


def content(path: Path) -> Any:
    """The bytes of a file; of JSON the object, which names what was used, as if the library had been called."""
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().replace("typed", "called").splitlines()]
        return sorted(lines, key=lambda line: str(line.get("name", "")))  # they are in the order of the threads
    if path.suffix != ".json":
        return path.read_bytes()
    record = json.loads(path.read_text().replace("typed", "called"))
    if isinstance(record, dict):
        record.pop("sums", None)  # of files that name what was used
    assert not list(unsettled(record)), path
    return record


def unsettled(record: Any) -> Iterator[tuple[str, Any]]:
    """Devices and numbers of threads in a record that are not what was used, but what was asked for."""
    pairs = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for name, value in pairs:
        if (name == "device" and value != "cpu") or (name == "n_workers" and not isinstance(value, int)):
            yield name, value
        yield from unsettled(value)


def tile_of(truth: Truth) -> Path:
    """The frames of one tile."""
    return min(truth.channel().rglob("*.dcimg"))


# Files that say when and how fast a run was.
OF_THE_RUN = ("run.json", "run.log", "report.html", "pipeline.toml")


def go(stage: Any, options: Any) -> None:
    """Run a stage as the library does."""
    stage.run(stage.plan(options))


def same(typed: Path, called: Path) -> int:
    """Number of files that both wrote alike; when and how fast they ran may differ, and flags are typed alone."""
    expected, found = (
        {name: data for name, data in contents(path).items() if Path(name).name not in OF_THE_RUN}
        for path in (typed, called)
    )
    assert found.keys() == expected.keys()
    assert not [name for name in found if found[name] != expected[name]]
    return len(found)


@pytest.fixture(scope="module")
def sections_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short series of sections whose texture changes along z."""
    rng = np.random.default_rng(3)
    depths = np.sort(rng.uniform(0, 30, 30))
    waves = rng.normal(size=(6, 48, 64))
    stack = sum(np.cos(depths[:, None, None] / (2 + k) + 6 * wave) for k, wave in enumerate(waves))
    path = tmp_path_factory.mktemp("sections") / "sections.tif"
    tifffile.imwrite(path, np.asarray(1000 + 100 * stack, np.uint16))
    return path


def test_no_command_that_writes_is_left_out() -> None:
    """But demo and report, which run or end others, and stack2oblique, which is dcimg2oblique."""
    code = Path(__file__).read_text()
    left = " ".join(sorted(name for name in COMMANDS if f'"{name}"' not in code))
    assert left == "clean demo link-names report spacing stack2oblique verify view"


def test_a_volume_in_another_format(plain_run: Path, tmp_path: Path) -> None:
    volume = plain_run / "volume"
    succeed("convert", volume, tmp_path / "typed.zarr", "--levels", 2, "--dtype", "uint8")
    go(convert, ConvertOptions(volume, tmp_path / "called.zarr", levels=2, dtype="uint8"))
    assert same(tmp_path / "typed.zarr", tmp_path / "called.zarr") >= 5


def test_frames_to_images(truth: Truth, tmp_path: Path) -> None:
    raw = tile_of(truth)
    for name, options, suffix in (("dcimg2tif", tiff.TifOptions, "tif"), ("dcimg2jp2", jp2.Jp2Options, "jp2")):
        module = tiff if suffix == "tif" else jp2
        pattern = {side: tmp_path / name / side / f"a%04d.{suffix}" for side in ("typed", "called")}
        succeed(name, "--input", raw, "--output-pattern", pattern["typed"], "--stop", 4, "--rotate-90", 1)
        go(module, options(input=raw, output_pattern=str(pattern["called"]), stop=4, rotate_90=1))
        assert same(pattern["typed"].parent, pattern["called"].parent) == 5


def test_flat_and_destriping(truth: Truth, tmp_path: Path) -> None:
    raw = tile_of(truth)
    typed, called = tmp_path / "typed.tiff", tmp_path / "called.tiff"
    succeed("oblique-illum-corr", raw, "--output", typed, "--n-frames", 60)
    go(flat, IlluminationOptions((raw,), called, n_frames=60))
    assert typed.read_bytes() == called.read_bytes()
    words = ("--sigma1", 8, "--sigma2", 16, "--dark", 100, "--flat", typed)
    succeed("destripe", "-i", raw, "-o", tmp_path / "typed", *words)
    correction = Correction("wavelet", WaveletOptions(8, 16), dark=100)
    go(destripe, DestripeOptions(input=raw, output=tmp_path / "called", correction=correction, flat=typed))
    assert same(tmp_path / "typed", tmp_path / "called") >= 80


@pytest.mark.parametrize("name", ["v", "v.zarr"])
def test_a_tile_is_the_same_typed_and_called(truth: Truth, tmp_path: Path, name: str) -> None:
    raw, typed, called = tile_of(truth), tmp_path / "typed" / name, tmp_path / "called" / name
    succeed("dcimg2oblique", "--input", raw, "--output", typed, "--destripe-method", "lightsheet", "-d", 90)
    go(deskew, DeobliqueOptions(raw, called, correction=Correction("lightsheet", dark=90)))
    assert same(typed, called) >= 8


def test_align_and_stitch(plain_run: Path, tmp_path: Path) -> None:
    tiles = plain_run / TILES
    typed, called = tmp_path / "typed.json", tmp_path / "called.json"
    succeed("oblique-align", "--input", tiles, "--output", typed, "--sample-count", 10)
    go(align, AlignOptions(tiles, called, matching=MatchOptions(sample_count=10)))
    assert content(typed) == content(called)
    succeed("oblique2stitched", "--input", tiles, "--output", tmp_path / "typed", "--alignment", typed)
    job = fuse.plan_tree(TreeOptions(tiles, typed), StitchOptions(tmp_path / "called"))
    fuse.run(job)
    assert same(tmp_path / "typed", tmp_path / "called") >= 8


def test_pipeline_with_its_defaults(truth: Truth, tmp_path: Path) -> None:
    """Nothing is given but where: the library and the command do the same, lightsheet and 7 levels."""
    raw = tile_of(truth)
    succeed("pipeline", raw, "--output", tmp_path / "typed")
    go(pipeline, PipelineOptions(raw, tmp_path / "called"))
    assert same(tmp_path / "typed", tmp_path / "called") >= 8
    info = json.loads((tmp_path / "called" / "volume" / "info").read_text())
    assert len(info["scales"]) == 7


@pytest.mark.parametrize("stage", ["similarity", "z-spacing", "z-spacing-grid"])
def test_positions_are_the_same_typed_and_called(sections_file: Path, tmp_path: Path, stage: str) -> None:
    suffix = "csv" if stage == "z-spacing" else "npz"
    typed, called = tmp_path / "typed" / f"o.{suffix}", tmp_path / "called" / f"o.{suffix}"
    for path in (typed, called):
        path.parent.mkdir()
    jobs: dict[str, Callable[[], None]] = {
        "similarity": lambda: go(similarity, SimilarityOptions(sections_file, called, max_lag=6)),
        "z-spacing": lambda: go(positions, ZSpacingOptions(sections_file, called, max_lag=6)),
        "z-spacing-grid": lambda: go(grid, ZGridOptions(sections_file, called, max_lag=6, grid=(2, 2))),
    }
    words = {
        "similarity": (sections_file, typed),
        "z-spacing": (sections_file, "--output", typed),
        "z-spacing-grid": (sections_file, typed, "--grid", "2,2"),
    }
    succeed(stage, *words[stage], "--range", 6)
    jobs[stage]()
    if suffix == "csv":
        assert same(typed, called) == 2
    else:
        with np.load(typed) as expected, np.load(called) as found:
            assert set(found) == set(expected)
            assert all(
                found[name].tobytes() == expected[name].tobytes() for name in found if found[name].dtype.kind != "U"
            )


def test_planes_are_the_same_typed_and_called(sections_file: Path, tmp_path: Path) -> None:
    csv = tmp_path / "z.csv"
    succeed("z-spacing", sections_file, "--output", csv, "--range", 6)
    words = ("--z-spacing", 0.05, "--voxel-size", "0.01,0.01,0.05")
    succeed("z-render", sections_file, csv, tmp_path / "typed", *words)
    spacing = Spacing(0.05, 0.01, 0.01)
    go(render, RenderOptions(sections_file, csv, tmp_path / "called", z_spacing_um=0.05, spacing=spacing))
    assert same(tmp_path / "typed", tmp_path / "called") > 5


@pytest.mark.parametrize("name", ["v.zarr", "v"])
def test_slices_are_the_same_typed_and_called(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "CT"
    scenario(1, folder)
    typed, called = tmp_path / "typed" / name, tmp_path / "called" / name
    for path in (typed, called):
        path.parent.mkdir()
    succeed("resample", folder, typed)
    go(volume, ResampleOptions((folder,), called))
    assert same(typed.parent, called.parent) > 2
