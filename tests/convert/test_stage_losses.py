"""What a volume states besides its voxels comes out of a conversion, or is told by name and kept in the record."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.convert.options import ConvertOptions
from gpustitch.convert.source import Source, open_source
from gpustitch.convert.stage import plan, run
from gpustitch.errors import DamagedInputError, GpustitchWarning, ParameterError
from gpustitch.io.write.formats import OUTPUT_FORMATS, format_for
from gpustitch.io.write.opening import open_output
from gpustitch.model import Spacing
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.running.progress import Silent

SPACING = Spacing(2.0, 0.5, 0.25)
# By name every format, and what else is chosen of it.
WAYS: dict[str, dict[str, Any]] = {
    "v": {},
    "v.zarr": {},
    "v4.zarr": {"version": "0.4"},
    "v.tif": {},
    "v.ome.tif": {},
    "v.nii": {},
    "v.planes": {},
    "j.planes": {"codec": "jpeg2000"},
}
WORDS = {
    "spacing": "voxel size",
    "origin_um": "place of the first voxel",
    "affine_lps_mm": "directions of the axes",
    "channel": "name of the channel",
}


def turned(seed: int) -> Any:
    """A matrix of axes that lie askew, for voxels of this spacing."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.array(SPACING.zyx_um[::-1]) / 1000
    matrix[:3, 3] = rng.uniform(-90, 90, 3)
    return matrix


# What may be stated of a volume: its place, directions too, the channel, or nothing.
STATED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "place": {"origin_um": (-5.0, 3.5, 1e3)},
    "directions": {"affine_lps_mm": turned(0)},
    "channel": {"channel": "Ex_561_Em_600"},
    "all": {"affine_lps_mm": turned(1), "channel": "tracer"},
}


class Heard(Silent):
    """Progress that keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def store(path: Path, dtype: str = "uint16", seed: int = 0, **options: Any) -> Path:
    voxels = np.random.default_rng(seed).integers(0, 99, (5, 6, 7)).astype(dtype)
    levels = {"levels": 1} if "levels" in format_for(path).takes else {}
    given: dict[str, Any] = {"downsample": signed_too(downsample), "sidecar": {}, **levels, **options}
    with open_output(path, voxels.shape, dtype, SPACING, **given) as output:
        for box in output.blocks():
            output.write(box, voxels[box.slices()])
    return path


def facts(source: Source) -> dict[str, Any]:
    """What a source states."""
    channel = source.channel if source.states_channel else None
    found = {"spacing": source.spacing.zyx_um, "origin_um": source.origin_um, "channel": channel}
    return {**found, "affine_lps_mm": source.affine_lps_mm}


def is_same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if isinstance(one, str):
        return bool(one == other)
    return bool(np.allclose(one, other, rtol=2e-6, atol=1e-6))


def reopened(path: Path) -> dict[str, Any]:
    try:
        return facts(open_source(path))
    except ParameterError as error:
        assert "does not state its voxel size" in str(error)
        return {**facts(open_source(path, Spacing(9, 9, 9))), "spacing": None}


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize(("one", "other"), itertools.product([way for way in WAYS if way != "j.planes"], WAYS))
def test_what_is_stated_is_kept_or_told(tmp_path: Path, one: str, other: str, stated: str) -> None:
    source = store(tmp_path / f"in_{one}", **WAYS[one], **STATED[stated])
    target, heard = tmp_path / other, Heard()
    levels = {"levels": 1} if "levels" in format_for(target).takes else {}
    before = open_source(source)
    run(plan(ConvertOptions(source, target, device="cpu", n_workers=1, **levels, **WAYS[other])), heard)
    expected, found = facts(before), reopened(target)
    record = target / "gpustitch.json" if target.is_dir() else target.with_name(f"{other}.json")
    content = json.loads(record.read_text())
    for name, value in expected.items():
        is_told = any("does not state the" in text and WORDS[name] in text for text in heard.warnings)
        assert (name in content["not_held"]) == is_told
        # What is told may come back all the same, of the record.
        assert is_told or value is None or is_same(value, found[name]), f"{name}: {value} became {found[name]}"
        assert not is_told or (
            value is not None and name not in format_for(target).holds(before.dtype, WAYS[other].get("codec"))
        )
    if expected["affine_lps_mm"] is not None:
        np.testing.assert_allclose(content["affine_lps"], expected["affine_lps_mm"], atol=1e-12)
    if "spacing" in content["not_held"]:
        np.testing.assert_allclose(content["voxel_size_mm"], np.array(expected["spacing"]) / 1000)
    assert len(heard.warnings) == bool(content["not_held"])


@pytest.mark.parametrize("between", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_directions_and_size_come_back_through_any_format(tmp_path: Path, between: str, seed: int) -> None:
    first = store(tmp_path / "first.nii", seed=seed, affine_lps_mm=turned(seed))
    levels = {"levels": 1} if "levels" in format_for(tmp_path / between).takes else {}
    run(plan(ConvertOptions(first, tmp_path / between, device="cpu", **levels, **WAYS[between])), Heard())
    heard = Heard()
    run(plan(ConvertOptions(tmp_path / between, tmp_path / "last.nii", device="cpu")), heard)
    found = open_source(tmp_path / "last.nii").affine_lps_mm
    np.testing.assert_allclose(found, turned(seed), rtol=1e-5, atol=1e-5)
    assert not heard.warnings


@pytest.mark.parametrize("between", WAYS)
def test_tiles_come_back_through_any_format(tmp_path: Path, between: str) -> None:
    tiles = [{"name": "0_0_0", "origin_px": [0, 0, 0], "shear_px": 0.0}]
    first = store(tmp_path / "first", sidecar={"tiles": tiles})
    levels = {"levels": 1} if "levels" in format_for(tmp_path / between).takes else {}
    run(plan(ConvertOptions(first, tmp_path / between, device="cpu", **levels, **WAYS[between])))
    run(plan(ConvertOptions(tmp_path / between, tmp_path / "last", device="cpu", levels=1)))
    assert json.loads((tmp_path / "last" / "gpustitch.json").read_text())["tiles"] == tiles


@pytest.mark.parametrize("content", ["{}", '{"affine_lps": [[1]], "program": "other"}'])
def test_a_record_of_another_program_beside_a_file_says_nothing(tmp_path: Path, content: str) -> None:
    source = store(tmp_path / "v.tif", sidecar=None)
    source.with_name("v.tif.json").write_text(content)
    assert open_source(source).affine_lps_mm is None


def test_another_spacing_keeps_directions_and_the_first_voxel(tmp_path: Path) -> None:
    source = store(tmp_path / "a.nii", affine_lps_mm=turned(5))
    run(plan(ConvertOptions(source, tmp_path / "b.nii", spacing=Spacing(4, 1, 3), device="cpu")))
    found = open_source(tmp_path / "b.nii")
    assert found.spacing.zyx_um == pytest.approx((4, 1, 3), rel=1e-5)
    assert found.affine_lps_mm is not None
    np.testing.assert_allclose(found.affine_lps_mm[:3, 3], turned(5)[:3, 3], rtol=1e-6)
    axes = [m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (found.affine_lps_mm, turned(5))]
    np.testing.assert_allclose(*axes, atol=1e-5)


@pytest.mark.parametrize("matrix", [[[1, 0, 0, 0]] * 3, [[0] * 4] * 4, "none", [[1, 2], [3]] * 2])
def test_a_matrix_that_is_none_is_refused(tmp_path: Path, matrix: Any) -> None:
    source = store(tmp_path / "v.zarr", sidecar={"affine_lps": matrix})
    with pytest.raises(DamagedInputError, match="directions"):
        open_source(source)


@pytest.mark.parametrize("way", WAYS)
def test_calls_warn_of_what_a_format_does_not_hold(tmp_path: Path, way: str, recwarn: Any) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (9, 8, 10)).astype(np.uint16)
    gs.write(tmp_path / "first.nii", voxels, SPACING.zyx_um, affine_lps_mm=turned(3))
    assert not recwarn.list
    volume = gs.open_volume(tmp_path / "first.nii")
    levels = {"levels": 2} if "levels" in format_for(tmp_path / way).takes else {}
    written = gs.write(tmp_path / way, volume, **WAYS[way], **levels)
    told = [str(w.message) for w in recwarn.list if issubclass(w.category, GpustitchWarning)]
    assert [("directions of the axes" in text) for text in told] == ([] if way == "v.nii" else [True])
    if levels:  # the record of a folder has them
        for level in range(2):
            again = gs.open_volume(written, level=level)
            spacing = Spacing(*again.spacing_um)
            middle = (np.array(spacing.zyx_um) - SPACING.zyx_um)[::-1] / 2000
            axes = turned(3)[:3, :3] / np.linalg.norm(turned(3)[:3, :3], axis=0)
            assert again.affine_lps_mm is not None
            np.testing.assert_allclose(again.affine_lps_mm[:3, 3], turned(3)[:3, 3] + axes @ middle, atol=1e-5)
            np.testing.assert_allclose(again.affine_lps_mm[:3, :3], axes * spacing.zyx_um[::-1] / 1000, atol=1e-7)


def test_every_format_says_what_it_holds() -> None:
    for format in OUTPUT_FORMATS:
        for dtype in format.types:
            assert format.holds(np.dtype(dtype), None) <= set(WORDS)
