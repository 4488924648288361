"""The pipeline's volume in several formats: equal voxels on all levels, in whatever way it is made."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gpustitch.errors import ParameterError
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import Box, level_factors
from gpustitch.oblique.pipeline.formats import settled
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run
from gpustitch.show.describe import described
from gpustitch.show.held import InfoOptions
from gpustitch.show.verify import VerifyOptions, verified
from tests.levels import levels_of
from tests.oblique.pipeline.test_one_pass import ROW, written
from tests.oblique.pipeline.test_stage import options_of
from tests.oblique.pipeline.test_stage_killed import contents, run_apart
from tests.running.kills import forkserver

ALL = ("ome-zarr", "planes", "tiff", "nifti")
# Frames so far apart that voxels are much longer along x.
UNEVEN: dict[str, Any] = {"x_step_um": 4.0}


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("row") / "Ex_488_Em_525", ROW)


@pytest.fixture(scope="module")
def processes() -> Any:
    return forkserver()


def asked(channel: Path, output: Path, formats: tuple[str, ...], **changed: Any) -> PipelineOptions:
    options = options_of(channel, output, formats=formats, **changed)
    files = {"levels": 3, "chunk_shape": (16, 16, 16), "shard_bytes": 1 << 15}
    return replace(options, stitch=replace(options.stitch, **files))


def level_of(path: Path, level: int = 0) -> Any:
    volume = open_volume(path, level=level)
    return volume.read(Box.of_shape(volume.coverage.shape))


@pytest.mark.parametrize("uneven", [{}, UNEVEN])
@pytest.mark.parametrize("how", [{}, {"staged": True}, {"n_processes": 2}])
def test_all_formats_hold_the_same(row: Path, tmp_path: Path, how: dict[str, Any], uneven: dict[str, Any]) -> None:
    place = tmp_path / "out"
    job = plan(asked(row, place, ALL, **how, **uneven))
    said = "\n".join(job.foreseen.lines(job.options, job.tiles))
    assert "volume.zarr: OME-Zarr" in said and "then    planes: planes" in said
    run(job)
    voxels, spacing = level_of(place / "volume"), open_volume(place / "volume").spacing
    assert (len(set(level_factors(spacing, 2)[1])) > 1) == bool(uneven)
    for level, expected in enumerate(levels_of(voxels, spacing, 3)):
        np.testing.assert_array_equal(level_of(place / "volume", level), expected)
        np.testing.assert_array_equal(level_of(place / "volume.zarr", level), expected)
    np.testing.assert_array_equal(open_planes(place / "planes").read(0, len(voxels)), voxels)
    np.testing.assert_array_equal(tifffile.imread(place / "volume.tif"), voxels)
    np.testing.assert_array_equal(open_planes(place / "volume.nii").read(0, len(voxels)), voxels)
    for other in (open_volume(place / "volume.zarr").spacing, open_planes(place / "planes").spacing):
        assert other is not None and other.zyx_um == pytest.approx(spacing.zyx_um, rel=1e-6)
    assert len(list(verified(VerifyOptions((place,))))) == 3  # volumes and planes
    assert {f"{name}: " for name in ("volume.zarr", "planes")} <= {
        f"{Path(line.split(':')[0]).name}: " for line in described(InfoOptions((place,)))
    }
    found = json.loads((place / "volume.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    assert found["omero"]["channels"][0]["label"] == "Ex_488_Em_525"
    assert (place / "volume.zarr" / "gpustitch.json").read_bytes() == (place / "volume" / "gpustitch.json").read_bytes()


def test_the_default_is_precomputed_alone(row: Path, tmp_path: Path) -> None:
    for name, formats in (("a", ()), ("b", ("precomputed",))):
        run(plan(asked(row, tmp_path / name, formats)))
        assert not {path.name for path in (tmp_path / name).iterdir()} & {"volume.zarr", "planes", "volume.tif"}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        path.name for path in (tmp_path / "b").iterdir()
    )


@pytest.mark.parametrize("uneven", [{}, UNEVEN])
def test_what_is_foretold_bounds_what_is_written(row: Path, tmp_path: Path, uneven: dict[str, Any]) -> None:
    few, many = (plan(asked(row, tmp_path / "out", formats, **uneven)) for formats in ((), ALL))
    assert many.foreseen.disk_bytes > 3 * few.foreseen.disk_bytes
    assert many.foreseen.memory_bytes > few.foreseen.memory_bytes
    run(many)
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in made if path.suffix != ".json") <= many.foreseen.disk_bytes
    chunks = [path for name in ("volume", "volume.zarr") for path in (tmp_path / "out" / name).glob("*/**/*")]
    assert sum(path.is_file() for path in chunks) <= many.foreseen.n_files(many.options)


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [{}, UNEVEN])
def test_a_killed_run_goes_on_with_all_of_them(
    row: Path, tmp_path: Path, processes: Any, uneven: dict[str, Any]
) -> None:
    place = tmp_path / "out"
    options = asked(row, place, ("ome-zarr", "planes"), **uneven)

    def all_files() -> dict[str, bytes]:
        # Threads note planes in the order in which they end, and some again.
        found = contents(place)
        return {
            name: b"".join(sorted(set(data.splitlines()))) if name.endswith("manifest.jsonl") else data
            for name, data in found.items()
        }

    whole = run_apart(processes, options)
    assert whole is not None
    expected = all_files()
    shutil.rmtree(place)
    n_steps = sum(whole[0].values())
    for part in (0.6, 0.95) if uneven else (0.5, 0.8, 0.95):
        assert run_apart(processes, options, int(part * n_steps)) is None
        assert run_apart(processes, options) is not None
        assert all_files() == expected
        shutil.rmtree(place)


def test_other_formats_are_another_run(row: Path, tmp_path: Path) -> None:
    one = plan(asked(row, tmp_path / "out", ("ome-zarr",))).making
    other = plan(asked(row, tmp_path / "out", ())).making
    assert one.differences(other)


@pytest.mark.parametrize(
    ("formats", "codec", "expected"),
    [
        ((), "gzip", ("gzip", None, None)),
        (("ome-zarr",), "gzip", ("gzip", "gzip", None)),
        (("ome-zarr",), "zstd", (None, "zstd", None)),
        (("ome-zarr", "planes"), None, (None, None, None)),
        (("ome-zarr", "planes"), "jpeg2000", (None, None, "jpeg2000")),
        (("planes", "tiff"), "none", ("none", None, "none")),
    ],
)
def test_a_codec_goes_to_the_formats_that_know_it(
    row: Path, tmp_path: Path, formats: tuple[str, ...], codec: str | None, expected: tuple[str | None, ...]
) -> None:
    options = asked(row, tmp_path / "out", formats)
    found = settled(replace(options, stitch=replace(options.stitch, codec=codec))).stitch
    assert (found.codec, found.beside_codec, found.later_codec) == expected


def test_planes_may_be_jpeg_2000(row: Path, tmp_path: Path) -> None:
    options = asked(row, tmp_path / "out", ("planes", "tiff"))
    run(plan(replace(options, stitch=replace(options.stitch, codec="jpeg2000"))))
    voxels = level_of(tmp_path / "out" / "volume")
    planes = tmp_path / "out" / "planes"
    assert len(list(planes.glob("*.jp2"))) == len(voxels) and not list(planes.glob("*.tif"))
    np.testing.assert_array_equal(open_planes(planes).read(0, len(voxels)), voxels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "volume.tif"), voxels)


def test_what_cannot_be_written_is_refused(row: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="`formats`"):
        plan(asked(row, tmp_path / "out", ("jpeg",)))
    options = asked(row, tmp_path / "out", ())
    with pytest.raises(ParameterError, match="`codec`"):
        plan(replace(options, stitch=replace(options.stitch, codec="zstd")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["-inf", "", "zarr3", "OME-Zarr"])
def test_a_format_that_is_none_is_named_by_the_option(name):
    with pytest.raises(ParameterError, match=f"`formats` must be one of .*, not {name}"):
        settled(PipelineOptions(Path("channel"), formats=("ome-zarr", name)))
