"""Volumes from one format to another."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gpustitch.convert import stage
from gpustitch.convert.options import ConvertOptions
from gpustitch.convert.source import open_source
from gpustitch.convert.stage import ConvertPlan, plan, run
from gpustitch.errors import DamagedInputError, OutputExistsError, ParameterError
from gpustitch.io.write.formats import format_for
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, ObliqueScan, Spacing
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.show.verify import VerifyOptions, verified
from tests.io.volumes.test_blockfs import write_blockfs

SPACING = Spacing(2.0, 0.5, 0.25)
# By name every format, and what else is chosen of it.
WAYS: dict[str, dict[str, Any]] = {
    "v": {},
    "v_plain": {"shard_bytes": 0},
    "v.zarr": {},
    "v4.zarr": {"version": "0.4"},
    "v5.zarr": {"shard_bytes": 0, "codec": "gzip"},
    "v.tif": {},
    "v.ome.tif": {"compression": 2},
    "v.nii.gz": {},
    "v.nii": {},
    "v.planes": {"codec": "none"},
}
SHAPES = [(1, 1, 1), (1, 17, 23), (13, 11, 7), (29, 3, 31)]


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    of = np.dtype(dtype)
    if of.kind == "f":
        return rng.normal(0, 1e3, shape).astype(of)
    return rng.integers(np.iinfo(of).min, np.iinfo(of).max, shape, of, endpoint=True)


def store(path: Path, voxels: Any, **options: Any) -> Path:
    """Write a volume as the writers do."""
    chunks = {} if path.suffix in (".tif", ".nii", ".gz", ".planes") else {"chunk_shape": (8, 8, 8), "levels": 2}
    given = {"downsample": signed_too(downsample), "flush": "chunk_shape" not in chunks, **chunks, **options}
    with open_output(path, voxels.shape, voxels.dtype, SPACING, **given) as output:
        for box in output.blocks():
            output.write(box, voxels[box.slices()])
    return path


def made(source: Path, target: Path, **options: Any) -> ConvertPlan:
    """The plan of a conversion into small chunks."""
    kept = {"levels": 2, "chunk_shape": (8, 8, 8)} if "chunk_shape" in format_for(target).takes else {}
    return plan(ConvertOptions(source, target, **{"n_workers": 2, "device": "cpu", **kept, **options}))


def voxels_of(path: Path) -> Any:
    source = open_source(path, SPACING)
    return source.volume.read(Box.of_shape(source.shape))


class Counted:
    """A volume that counts how often each chunk is read, and may fail."""

    def __init__(self, volume: Any, chunk: tuple[int, int, int], fails_after: int | None = None) -> None:
        self.volume, self.chunk, self.left = volume, chunk, fails_after
        self.dtype = volume.dtype
        self.counts = np.zeros([-(-n // c) for n, c in zip(volume.coverage.shape, chunk, strict=True)], int)

    def read(self, box: Box) -> Any:
        if self.left is not None:
            if self.left == 0:
                raise DamagedInputError("the source fails")
            self.left -= 1
        parts = zip(box.start, box.stop, self.chunk, strict=True)
        self.counts[tuple(slice(a // n, -(-b // n)) for a, b, n in parts)] += 1
        return self.volume.read(box)

    def holds(self, box: Box) -> bool:
        holds = getattr(self.volume, "holds", None)
        return holds is None or holds(box)


def counting(job: ConvertPlan, **how: Any) -> tuple[ConvertPlan, Counted]:
    counted = Counted(job.source.volume, job.source.chunk, **how)
    return replace(job, source=replace(job.source, volume=counted)), counted


@pytest.fixture
def nothing_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the memory that is stated, voxels on their way may take all: otherwise the program takes most of it."""
    monkeypatch.setattr(stage, "beside_bytes", lambda _: 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_voxels_and_sizes_stay_as_they_are(tmp_path: Path, dtype: str, shape: tuple[int, int, int], way: str) -> None:
    voxels = noise(shape, dtype, sum(shape))
    source = store(tmp_path / "in.zarr", voxels, flush=False)
    target = tmp_path / way
    run(made(source, target, **WAYS[way]))
    np.testing.assert_array_equal(voxels_of(target), voxels)
    states = way != "v.planes" or dtype in ("uint8", "uint16", "float32")
    found = open_source(target, None if states else SPACING)
    assert found.dtype == dtype
    assert found.spacing.zyx_um == pytest.approx(SPACING.zyx_um, rel=1e-6)


@pytest.mark.parametrize(("one", "other"), itertools.permutations(WAYS, 2))
def test_every_format_becomes_every_other(tmp_path: Path, one: str, other: str) -> None:
    voxels = noise((11, 19, 13), "uint16", len(one + other))
    source = store(tmp_path / "in" / one, voxels, **WAYS[one])
    run(made(source, tmp_path / other, **WAYS[other]))
    np.testing.assert_array_equal(voxels_of(tmp_path / other), voxels)


@pytest.mark.parametrize("way", ["v", "v.zarr", "v.tif", "v.planes"])
@pytest.mark.parametrize("source", ["in", "in_plain", "in.zarr"])
def test_each_chunk_is_read_once_where_memory_allows(tmp_path: Path, source: str, way: str) -> None:
    voxels = noise((37, 50, 43), "uint16")
    place = store(tmp_path / source, voxels, **({"shard_bytes": 0} if "plain" in source else {}))
    job, counted = counting(made(place, tmp_path / way))
    assert job.cut.reads_per_chunk == 1
    assert run(job).n_read == job.cut.n_items
    assert (counted.counts == 1).all()


def test_memory_bounds_what_is_read_at_once(nothing_beside: None, tmp_path: Path) -> None:
    """With less memory boxes are smaller, and chunks are read again, as often as the plan says."""
    voxels = noise((64, 96, 80), "uint16")
    place = store(tmp_path / "in.zarr", voxels, chunk_shape=(64, 64, 64), levels=1)
    reads = []
    for memory in (1 << 26, 6 << 18, 1 << 18):
        job, counted = counting(made(place, tmp_path / f"{memory}.tif", memory_bytes=memory))
        run(job)
        assert job.memory_bytes <= memory
        assert counted.counts.mean() == pytest.approx(job.cut.reads_per_chunk)
        np.testing.assert_array_equal(voxels_of(tmp_path / f"{memory}.tif"), voxels)
        reads.append(job.cut.reads_per_chunk)
    assert reads[0] == 1 < reads[1] < reads[2]
    assert "are read" in job.summary and "`memory_bytes`" in job.summary
    with pytest.raises(ParameterError, match="at least about"):
        made(place, tmp_path / "none.tif", memory_bytes=1 << 12)


@pytest.mark.parametrize("source", ["in_plain", "in.zarr"])
@pytest.mark.parametrize("way", ["v", "v.zarr", "v.tif"])
def test_boxes_without_files_are_not_read(nothing_beside: None, tmp_path: Path, source: str, way: str) -> None:
    voxels = noise((64, 32, 32), "uint16")
    voxels[16:48] = 0
    place = store(tmp_path / source, voxels, shard_bytes=0)
    job, counted = counting(made(place, tmp_path / way, memory_bytes=300_000, shard_bytes=None))
    result = run(job)
    assert result.n_read < result.n_boxes
    assert not counted.counts[3:5].any()
    np.testing.assert_array_equal(voxels_of(tmp_path / way), voxels)


@pytest.mark.parametrize("way", ["v", "v_plain", "v.zarr", "v4.zarr", "v.planes"])
def test_a_run_that_failed_is_gone_on_with(nothing_beside: None, tmp_path: Path, way: str) -> None:
    voxels = noise((64, 48, 40), "uint16")
    place, target = store(tmp_path / "in.zarr", voxels), tmp_path / way
    shards = {} if way in ("v.planes", "v4.zarr") else {"shard_bytes": 1 << 13}
    small = {"memory_bytes": 600_000, "n_workers": 1, **shards, **WAYS[way]}
    planned = made(place, target, **small)
    assert planned.cut.n_items > 4
    job, _ = counting(planned, fails_after=planned.cut.n_items // 2)
    with pytest.raises(DamagedInputError, match="the source fails"):
        run(job)
    assert not target.exists() and target.with_name(f"{way}.work").is_dir()
    with pytest.raises(OutputExistsError, match="differs"):
        run(made(place, target, **{**small, "dtype": "float32"}))
    again, rest = counting(made(place, target, **small))
    run(again)
    assert 0 < rest.counts.sum() < rest.counts.size
    np.testing.assert_array_equal(voxels_of(target), voxels)
    assert list(verified(VerifyOptions((target,))))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.zarr", way])


@pytest.mark.parametrize("way", ["v.tif", "v.nii"])
def test_a_run_into_one_file_leaves_nothing(nothing_beside: None, tmp_path: Path, way: str) -> None:
    place = store(tmp_path / "in.zarr", noise((64, 48, 40), "uint16"))
    job, _ = counting(made(place, tmp_path / way, memory_bytes=600_000), fails_after=2)
    with pytest.raises(DamagedInputError):
        run(job)
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def test_another_type_is_rounded_and_counted(tmp_path: Path) -> None:
    values = noise((9, 10, 11), "float32")
    place = store(tmp_path / "in.zarr", values)
    with pytest.raises(ParameterError, match="planes volumes hold") as refused:
        made(place, tmp_path / "v.planes", codec="jpeg2000")
    assert refused.value.parameter == "dtype" and "float32" in str(refused.value)
    result = run(made(place, tmp_path / "v.planes", codec="jpeg2000", dtype="uint8"))
    due = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(voxels_of(tmp_path / "v.planes"), due)
    assert result.n_changed == int(((np.rint(values) < 0) | (np.rint(values) > 255)).sum())
    record = json.loads((tmp_path / "v.planes" / "gpustitch.json").read_text())
    assert record["cut_off_voxels"] == result.n_changed


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_one_channel_of_several(tmp_path: Path, version: str) -> None:
    zarr = pytest.importorskip("zarr")
    voxels = noise((2, 3, 4, 9, 10), "uint16")
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}] + [
        {"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"
    ]
    scale = {"type": "scale", "scale": [1, 1, *SPACING.zyx_um]}
    ome: dict[str, Any] = {
        "multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}],
        "omero": {"channels": [{"label": f"Ex_1_Em_{nm}", "color": "FFFFFF"} for nm in (450, 525, 600)]},
    }
    zarr_format = 3 if version == "0.5" else 2
    if version == "0.5":
        attributes = {"ome": {**ome, "version": version}}
    else:
        ome["multiscales"][0]["version"] = version
        attributes = ome
    group = zarr.open_group(tmp_path / "in.zarr", mode="w", zarr_format=zarr_format, attributes=attributes)
    group.create_array("0", data=voxels, chunks=(1, 1, 4, 5, 5))
    with pytest.raises(ParameterError, match="choose one"):
        made(tmp_path / "in.zarr", tmp_path / "v.zarr")
    choice = replace(ConvertOptions(tmp_path, tmp_path).choice, stack_channel="2", stack_time="1")
    run(made(tmp_path / "in.zarr", tmp_path / "v.zarr", choice=choice))
    np.testing.assert_array_equal(voxels_of(tmp_path / "v.zarr"), voxels[0, 1])
    found = json.loads((tmp_path / "v.zarr" / "zarr.json").read_text())["attributes"]["ome"]["omero"]
    assert found["channels"][0]["label"] == "Ex_1_Em_525"


@pytest.mark.parametrize("way", ["v", "v.zarr", "v4.zarr", "v.ome.tif", "v.nii"])
@pytest.mark.parametrize("seed", range(2))
def test_the_place_is_kept(tmp_path: Path, way: str, seed: int) -> None:
    origin = tuple(np.random.default_rng(seed).uniform(-1e3, 1e3, 3).tolist())
    place = store(tmp_path / "in.zarr", noise((5, 6, 7), "uint16"), origin_um=origin)
    run(made(place, tmp_path / way, **WAYS[way]))
    assert open_source(tmp_path / way).origin_um == pytest.approx(origin, abs=1e-3)


def test_the_record_of_a_tile_goes_with_it(tmp_path: Path) -> None:
    scan = {"n_frames": 12, "n_rows": 5, "n_columns": 9, "pixel_um": 1.8, "step_um": 1.5, "angle_deg": 45.0}
    tile = ObliqueScan(**scan)
    place = store(tmp_path / "in.zarr", noise(tile.shape, "uint16"), sidecar={"scan": scan})
    run(made(place, tmp_path / "v"))
    assert open_source(tmp_path / "v").volume.coverage == tile.coverage


def test_images_and_arrays_are_sources_too(tmp_path: Path) -> None:
    voxels = noise((7, 12, 9), "uint16")
    np.save(tmp_path / "in.npy", voxels)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, plane in enumerate(voxels):
        tifffile.imwrite(folder / f"a_{number:03d}.tif", plane)
    for source in (tmp_path / "in.npy", folder):
        with pytest.raises(ParameterError, match="`spacing`"):
            made(source, tmp_path / "v.zarr", overwrite=True)
        run(made(source, tmp_path / "v.zarr", spacing=SPACING, overwrite=True))
        np.testing.assert_array_equal(voxels_of(tmp_path / "v.zarr"), voxels)
        assert open_source(tmp_path / "v.zarr").spacing == SPACING


def test_a_hole_in_a_stack_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (0, 1, 3):
        tifffile.imwrite(folder / f"a_{number:03d}.tif", np.full((4, 5), number + 1, np.uint16))
    with pytest.raises(DamagedInputError):
        made(folder, tmp_path / "v.zarr", spacing=SPACING)
    job = made(folder, tmp_path / "v.zarr", spacing=SPACING, allow_missing=True)
    assert any("2" in text for text in job.source.cautions)
    run(job)
    assert voxels_of(tmp_path / "v.zarr")[:, 0, 0].tolist() == [1, 2, 0, 4]


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    place = store(tmp_path / "in.zarr", noise((9, 10, 11), "uint16"))
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("v.tif", {"levels": 3}),
        ("v.zarr", {"format": "jpeg"}),
        ("v", {"version": "0.4"}),
        ("v.nii", {"codec": "zstd"}),
        ("v.zarr", {"dtype": "complex64"}),
        ("in.zarr/v", {}),
        ("in.zarr", {"overwrite": True}),
    ]
    for name, options in wrong:
        with pytest.raises(ParameterError):
            plan(ConvertOptions(place, tmp_path / name, **options))
    with pytest.raises(OutputExistsError):
        plan(ConvertOptions(place, store(tmp_path / "there.zarr", noise((2, 2, 2), "uint8"))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zarr", "there.zarr"]


@pytest.mark.parametrize("way", ["v", "v.zarr", "v.tif", "v.planes"])
@pytest.mark.parametrize("seed", range(2))
def test_blockfs_is_converted_and_blocks_that_were_not_written_are_skipped(
    nothing_beside: None, tmp_path: Path, way: str, seed: int
) -> None:
    voxels = noise((27, 22, 30), "uint16", seed)
    voxels[8:16] = 0
    source = tmp_path / "in" / "1_1_1"
    write_blockfs(source, voxels)
    with pytest.raises(ParameterError, match="voxel size"):
        made(source.parent, tmp_path / way)
    job, counted = counting(made(source.parent, tmp_path / way, spacing=SPACING, memory_bytes=70_000, n_workers=1))
    assert job.cut.item[0] <= 8 and job.cut.reads_per_chunk == 1
    run(job)
    assert not counted.counts[2:4].any() and (np.delete(counted.counts, (2, 3), 0) == 1).all()
    np.testing.assert_array_equal(voxels_of(tmp_path / way), voxels)
