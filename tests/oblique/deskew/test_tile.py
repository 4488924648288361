"""Volumes that can be asked for boxes."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Coverage, ObliqueScan, Spacing
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.deskew.tile import FrameCache, ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.mosaic.placing import place_found
from gpustitch.oblique.mosaic.tiles import SpimstitchTile
from tests.io.volumes.test_blockfs import write_blockfs


class Recorded:
    """Frames in memory that remember what was read."""

    absent = frozenset()

    def __init__(self, frames):
        self.frames = frames
        self.shape = frames.shape
        self.dtype = frames.dtype
        self.reads = []

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        self.reads.append((start, stop, rows, columns))
        return self.frames[start:stop, rows, columns].copy()


@pytest.fixture
def frames():
    return Recorded(np.random.default_rng(0).integers(0, 65536, (30, 21, 26), np.uint16))


def boxes(shape, count=25):
    rng = np.random.default_rng(1)
    for _ in range(count):
        start = [int(rng.integers(-4, n)) for n in shape]
        yield Box(tuple(start), tuple(a + int(rng.integers(1, 30)) for a in start))


FLAT = np.linspace(0.3, 1, 21 * 26, dtype=np.float32).reshape(21, 26)
CORRECTIONS = {
    "none": None,
    "identity": Correction(),
    "flat": Correction(flat=FLAT, dark=90.0),
    "dark": Correction(dark=100.0),
    "lightsheet": Correction("lightsheet", lightsheet=LightsheetOptions(7, 9), flat=FLAT),
}


@pytest.mark.parametrize("name", CORRECTIONS)
@pytest.mark.parametrize("step", [1.0, 1.8 / 2**0.5, 1.28, 3.0])
def test_any_box_equals_the_corrected_stack_deobliqued_whole(frames, name, step):
    correction, scan = CORRECTIONS[name], ObliqueScan(30, 21, 26, 1.8, step)
    corrected = frames.frames if correction is None else np.stack([correction.apply(f) for f in frames.frames])
    whole = ArrayVolume(deoblique(corrected, Box.of_shape(scan.shape), scan.shear), scan.spacing)
    tile = ObliqueTile(frames, scan, correction, cache=FrameCache(5 * 21 * 26 * 2))
    assert tile.dtype == np.uint16 and tile.shape == scan.shape and tile.coverage == scan.coverage
    for box in boxes(scan.shape):
        np.testing.assert_array_equal(tile.read(box), whole.read(box))


@pytest.mark.parametrize("name", ["none", "flat"])
def test_reads_only_what_the_box_needs(frames, name):
    scan = ObliqueScan(30, 21, 26, 1.8, 1.8 / 2**0.5)
    tile = ObliqueTile(frames, scan, CORRECTIONS[name])
    tile.read(Box((4, 3, 20), (8, 9, 25)))
    assert frames.reads == [(13, 21, slice(3, 9), slice(4, 8))]


def test_reads_nothing_where_nothing_is_covered(frames):
    scan = ObliqueScan(30, 21, 26, 1.8, 1.0)
    tile = ObliqueTile(frames, scan)
    for box in (Box((20, 0, 0), (26, 21, 5)), Box((-9, 0, 0), (0, 21, 20)), Box((0, 0, 32), (3, 5, 40))):
        assert not tile.read(box).any()
    assert not frames.reads


def test_whole_frames_are_kept_up_to_the_bound(frames):
    scan = ObliqueScan(30, 21, 26, 1.8, 1.28)
    tile = ObliqueTile(frames, scan, CORRECTIONS["lightsheet"], cache=FrameCache(10 * 21 * 26 * 2))
    box = Box((0, 0, 5), (2, 21, 10))
    first = tile.read(box)
    count = len(frames.reads)
    np.testing.assert_array_equal(tile.read(box), first)
    assert len(frames.reads) == count
    tile.read(Box.of_shape(scan.shape))
    assert len(tile._cache) == 10


def test_tiles_may_share_what_is_kept(frames):
    scan, cache = ObliqueScan(30, 21, 26, 1.8, 1.28), FrameCache(40 * 21 * 26 * 2)
    tiles = [ObliqueTile(frames, scan, CORRECTIONS["lightsheet"], cache=cache) for _ in range(3)]
    whole = [tile.read(Box.of_shape(scan.shape)) for tile in tiles]
    np.testing.assert_array_equal(whole[0], whole[2])
    assert len(cache) == 40 and cache.n_bytes == 40 * 21 * 26 * 2
    assert [tile.n_bytes_read for tile in tiles] == [30 * 21 * 26 * 2] * 3


def striped(shape, seed=2):
    """Tissue of slowly varying brightness under stripes along the rows."""
    rng = np.random.default_rng(seed)
    tissue = ndimage.gaussian_filter(rng.normal(size=shape), (1, 6, 6)) * 4000 + 2000
    stripes = 1 + 0.2 * ndimage.gaussian_filter1d(rng.normal(size=(shape[0], shape[1], 1)), 1, axis=1)
    return Recorded(rng.poisson(np.maximum(tissue, 100) * stripes).astype(np.uint16))


NEARLY = {
    "lightsheet": Correction("lightsheet", lightsheet=LightsheetOptions(9, 12)),
    "notch": Correction("wavelet", WaveletOptions(notch_length_px=96, level=2, wavelet="db2"), dark=20.0),
    "pystripe": Correction("wavelet", WaveletOptions(sigma1=3, sigma2=4, level=2, wavelet="db2")),
}


@pytest.mark.parametrize("name", NEARLY)
@pytest.mark.parametrize("has_flat", [False, True])
def test_parts_of_frames_show_nearly_what_whole_ones_do(name, has_flat):
    frames = striped((3, 160, 260))
    flat = np.linspace(0.6, 1, 160 * 260, dtype=np.float32).reshape(160, 260) if has_flat else None
    correction = dataclasses.replace(NEARLY[name], flat=flat)
    scan = ObliqueScan(3, 160, 260, 1.8, 1.28)
    whole, part = (ObliqueTile(frames, scan, correction, near_enough=near) for near in (False, True))
    raw = ObliqueTile(frames, scan, Correction(flat=flat, dark=correction.dark))
    for row, column in ((0, 0), (60, 120), (130, 230)):
        box = Box((column, row, 0), (column + 30, row + 30, 3))
        exact, near, before = (tile.read_along_sheet(box).astype(float) for tile in (whole, part, raw))
        apart, removed = np.abs(near - exact).mean(), np.abs(before - exact).mean()
        assert apart < 0.15 * removed
        assert (apart == 0) == (name == "pystripe"), "that filter needs the whole frame"
    assert part.n_bytes_read < 3 * 3 * 160 * 260 * 2 * (0.4 if name != "pystripe" else 1)


@pytest.mark.parametrize("has_flat", [False, True])
def test_bands_of_rows_that_are_corrected_alone_are_kept_and_equal_the_frames(has_flat):
    frames = striped((21, 100, 260))
    flat = np.linspace(0.6, 1, 100 * 260, dtype=np.float32).reshape(100, 260) if has_flat else None
    correction = Correction("lightsheet", lightsheet=LightsheetOptions(9, 12), flat=flat, dark=20.0).to_compare
    scan, cache = ObliqueScan(21, 100, 260, 1.8, 1.28), FrameCache()
    whole = ObliqueTile(frames, scan, correction)
    bands = ObliqueTile(frames, scan, correction, cache=cache, near_enough=True, keeps_bands=True)
    for box in (Box((3, 5, 2), (40, 31, 9)), Box((200, 30, 0), (260, 70, 21)), Box((0, 99, 20), (1, 100, 21))):
        np.testing.assert_array_equal(bands.read_along_sheet(box), whole.read_along_sheet(box))
    for box in boxes(scan.shape):
        np.testing.assert_array_equal(bands.read(box), whole.read(box))
    assert bands.n_bytes_read == cache.n_bytes <= 21 * 100 * 260 * 2, "no pixel is read twice"
    before = len(frames.reads)
    bands.read_along_sheet(Box((0, 0, 0), (260, 32, 8)))
    assert len(frames.reads) == before


def test_bands_are_not_kept_where_a_filter_needs_other_rows_or_none_runs(frames):
    scan = ObliqueScan(30, 21, 26, 1.8, 1.28)
    for name in ("none", "flat", "lightsheet"):
        tile = ObliqueTile(frames, scan, CORRECTIONS[name], near_enough=True, keeps_bands=True)
        before = len(frames.reads)
        tile.read_along_sheet(Box((0, 3, 4), (26, 5, 6)))
        rows = {(read[2].start, read[2].stop) for read in frames.reads[before:]}
        assert rows == {(0, 21) if name == "lightsheet" else (3, 5)}


def test_may_be_read_from_several_threads(frames):
    scan = ObliqueScan(30, 21, 26, 1.8, 1.28)
    tile = ObliqueTile(frames, scan, CORRECTIONS["lightsheet"], cache=FrameCache(3 * 21 * 26 * 2))
    wanted = list(boxes(scan.shape))
    expected = [tile.read(box) for box in wanted]
    with ThreadPoolExecutor(4) as pool:
        for result, block in zip(pool.map(tile.read, wanted), expected, strict=True):
            np.testing.assert_array_equal(result, block)


@pytest.mark.parametrize("near_enough", [False, True])
def test_a_frame_that_cannot_be_corrected_is_named(near_enough):
    frames = Recorded(np.ones((30, 21, 26), np.float32))
    frames.frames[17, 5, 6] = np.nan
    scan, correction = ObliqueScan(30, 21, 26, 1.8, 1.28), CORRECTIONS["flat"]
    tile = ObliqueTile(frames, scan, correction, near_enough=near_enough, name="a.tif")
    with pytest.raises(DamagedInputError, match=r"^a\.tif: frames 16 to 23: 1 of the "):
        tile.read(Box.of_shape(scan.shape))


def test_refuses_a_scan_of_another_shape(frames):
    with pytest.raises(ParameterError, match="29 frames of 21 x 26"):
        ObliqueTile(frames, ObliqueScan(29, 21, 26, 1.8, 1.28))


def test_array_volume_is_zero_outside():
    array = np.arange(1, 25, dtype=np.uint16).reshape(2, 3, 4)
    volume = ArrayVolume(array, Spacing(1, 1, 1))
    box = Box((-1, 1, 2), (2, 5, 9))
    expected = np.zeros(box.shape, np.uint16)
    expected[1:, :2, :2] = array[:, 1:, 2:]
    np.testing.assert_array_equal(volume.read(box), expected)
    assert volume.coverage.shape == array.shape
    with pytest.raises(ParameterError, match="coverage"):
        ArrayVolume(array, Spacing(1, 1, 1), ObliqueScan(4, 3, 2, 1.8, 1.0).coverage)


def test_a_written_volume_is_opened_as_a_tile(tmp_path):
    voxels = np.random.default_rng(2).integers(0, 65536, (9, 8, 7), np.uint16)
    with PrecomputedWriter(
        tmp_path / "v", voxels.shape, voxels.dtype, Spacing(1, 2, 3), Writing(levels=1, flush=False)
    ) as writer:
        writer.write(Box.of_shape(voxels.shape), voxels)
    volume = open_volume(tmp_path / "v")
    np.testing.assert_array_equal(volume.read(Box.of_shape(voxels.shape)), voxels)
    assert volume.spacing == Spacing(1, 2, 3)
    with pytest.raises(InputMissingError, match="holds no volume"):
        open_volume(tmp_path)


def test_a_tile_of_spimstitch_is_slanted():
    """88 frames of 70 columns make 158 voxels along x there, the last of which is never filled."""
    own = Spacing(1.28, 1.8, 1.28)
    slanted = SpimstitchTile(ArrayVolume(np.arange(70 * 2 * 158, dtype=np.uint16).reshape(70, 2, 158), own))
    assert slanted.coverage == Coverage(88, 2, 70, 1.0)
    assert slanted.read(Box((0, 0, 0), (70, 2, 158))).max() == 70 * 2 * 158 - 1
    wide = SpimstitchTile(ArrayVolume(np.zeros((70, 2, 158), np.uint16), Spacing(1.28, 1.8, 2.0)))
    assert wide.coverage.shear == pytest.approx(0.6364, abs=1e-4)


def test_alignment_and_stitching_see_the_same_coverage_of_spimstitchs_tiles(tmp_path):
    for y in (0, 100):
        tile = tmp_path / "0" / f"0_{y}" / "0"
        write_blockfs(tile / "1_1_1", np.ones((20, 12, 60), np.uint16), 8)
        info = {"num_channels": 1, "scales": [{"key": "1_1_1", "resolution": [2000, 1800, 1272.8]}]}
        (tile / "info").write_text(json.dumps(info))
    for is_oblique in (False, True):
        aligned = align.plan(AlignOptions(input=tmp_path, is_oblique=is_oblique)).volumes
        for volume in aligned.values():
            assert volume.coverage.n_frames == 40
            assert volume.coverage.shear == pytest.approx(1.8 / 2**0.5 / 2)
        for tile in place_found(tmp_path).tiles:
            assert tile.volume.coverage == aligned[tile.name].coverage
