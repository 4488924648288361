"""One sweep over raw frames gives the volume that the stages give one after another."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, MosaicError, OutputError
from gpustitch.io.frames.opening import Oriented, Slice
from gpustitch.io.frames.readable import Readable
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import Box, ObliqueScan, PlacedVolume, part_axis
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.fuse import stage as fuse
from gpustitch.oblique.fuse.options import Intensity, StitchOptions
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream import sweep
from gpustitch.oblique.stream.bands import Cut

PIXEL_UM = 1.8


class Counted:
    """Frames in memory that count how often each was read; ``damaged`` ones turn out to be absent then."""

    def __init__(self, frames, absent=(), damaged=(), fails_at=None, part_axis=None):
        self.frames, self.shape, self.dtype = frames, frames.shape, frames.dtype
        self.absent, self.damaged, self.fails_at = frozenset(absent), frozenset(damaged), fails_at
        self.counts = Counter()
        self.part_axis = part_axis

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        if self.fails_at is not None and start <= self.fails_at < stop:
            raise DamagedInputError(f"frame {self.fails_at} cannot be read")
        self.counts.update(range(start, stop))
        out = self.frames[start:stop, rows, columns].copy()
        for number in self.absent | self.damaged:
            if start <= number < stop:
                out[number - start] = 0
                self.absent |= {number}
        return out


def tile(shape, slope, origin, seed, *, dtype=np.uint16, correction=None, shear_px=0.0, top=65536, **frames):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, top, shape).astype(dtype)
    held = Counted(values, **frames)
    scan = ObliqueScan(*shape, PIXEL_UM, PIXEL_UM * math.cos(math.pi / 4) / slope, absent=tuple(held.absent))
    volume = ObliqueTile(held, scan, correction)
    return PlacedVolume(f"{seed}", volume, tuple(float(v) for v in origin), shear_px)


def mosaic_of(*tiles):
    return PlacedMosaic(tuple(tiles), tiles[0].volume.spacing)


def volume_of(stage, mosaic, folder, *, cut=None, **options):
    options = StitchOptions(folder, **{"levels": 3, "chunk_shape": (8, 8, 8), "n_workers": 2, **options})
    stage.run(stage.plan(mosaic, options, **({} if cut is None else {"cut": cut})))
    levels = []
    for level in range(options.levels):
        opened = open_volume(folder, level=level)
        levels.append(opened.read(Box.of_shape(opened.coverage.shape)))
    return levels


def apart(one, other):
    return [np.abs(a.astype(float) - b.astype(float)).max() for a, b in zip(one, other, strict=True)]


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
def test_the_volume_is_that_of_the_stages_to_a_count(tmp_path_factory, data):
    draw = data.draw
    folder = tmp_path_factory.mktemp("volumes")
    slope = draw(st.sampled_from([0.73, 0.9943, 1.0, 1.37, 2.0]))
    shape = draw(st.tuples(st.integers(1, 90), st.integers(1, 40), st.integers(1, 30)))
    is_whole = draw(st.booleans())
    places = st.integers(0, 30) if is_whole else st.floats(0, 30)
    correction = draw(st.sampled_from([None, Correction(dark=40.0, flat=np.full(shape[1:], 0.6, np.float32))]))
    tiles = []
    for seed in range(draw(st.integers(1, 4))):
        absent = draw(st.sets(st.integers(0, shape[0] - 1), max_size=min(3, shape[0] - 1)))
        origin = draw(st.tuples(places, places, places))
        tiles.append(tile(shape, slope, origin, seed, correction=correction, absent=absent))
    factor = draw(st.sampled_from([None, 1.3]))
    options = {"intensity": Intensity(last_to_first=factor)}
    mosaic = mosaic_of(*tiles)
    staged = volume_of(fuse, mosaic, folder / "staged", **options)
    for each in tiles:
        each.volume.frames.counts.clear()
    streamed = volume_of(stream, mosaic, folder / "streamed", **options)
    most = 0 if is_whole and slope in (1, 2) and len(tiles) == 1 else 2  # frames are rounded once, not twice
    assert max(apart(staged, streamed)) <= most
    assert all(n == 1 for each in tiles for n in each.volume.frames.counts.values())


@pytest.mark.parametrize(("slope", "axis"), [(1.0, 0), (0.9943, 0), (0.9943, 1)])
def test_bands_are_seamless(tmp_path, monkeypatch, slope, axis):
    monkeypatch.setattr(stream, "_band_length", lambda stitch, axis: 8)
    places = [(2.6 * axis * n, 21.3 * n, 2.6 * n) for n in range(2)]
    mosaic = mosaic_of(*(tile((70, 30, 20), slope, at, n, top=1000, part_axis=axis) for n, at in enumerate(places)))
    bands = stream.plan(mosaic, StitchOptions(tmp_path / "x", levels=3, chunk_shape=(8, 8, 8))).bands
    assert len(bands) == -(-mosaic.shape[1 - axis] // 8) > 2 and all(band.shape[1 - axis] <= 8 for band in bands)
    streamed = volume_of(stream, mosaic, tmp_path / "streamed")
    assert max(apart(volume_of(fuse, mosaic, tmp_path / "staged"), streamed)) <= 1


@pytest.mark.parametrize(("turns", "axis"), [(0, 0), (1, 1), (2, 0), (3, 1)])
def test_turned_frames_are_read_in_parts_along_their_rows_in_the_file(turns, axis):
    frames = Counted(np.zeros((9, 6, 5), np.uint16), part_axis=0)
    assert part_axis(Readable(Slice(Oriented(frames, turns, True), 2))) == axis
    assert part_axis(Oriented(Counted(np.zeros((9, 6, 5), np.uint16)), turns)) is None


def test_long_runs_turn_the_ring_many_times(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH_FRAMES", 4)
    mosaic = mosaic_of(tile((611, 5, 9), 0.9943, (0, 0, 0), 1), tile((300, 5, 9), 0.9943, (3, 2.5, 400.25), 2))
    short = volume_of(stream, mosaic, tmp_path / "b", cut=Cut(piece=16))
    assert max(apart(volume_of(fuse, mosaic, tmp_path / "a"), short)) <= 2
    assert apart(short, volume_of(stream, mosaic, tmp_path / "c")) == [0, 0, 0]


def test_part_of_a_mosaic(tmp_path):
    mosaic = mosaic_of(tile((70, 30, 20), 1.0, (0, 0.5, 0), 1), tile((70, 30, 20), 1.0, (4, 20, 9.5), 2))
    part = {"offset": (3, 5, 20), "size": (15, 33, 41)}
    assert (
        max(apart(volume_of(fuse, mosaic, tmp_path / "a", **part), volume_of(stream, mosaic, tmp_path / "b", **part)))
        <= 1
    )


def test_the_same_bytes_with_any_number_of_threads(tmp_path):
    tiles = [tile((90, 40, 33), 0.9943, (0.2 * n, 31.4 * n, 3.3), n) for n in range(2)]
    one, many = (volume_of(stream, mosaic_of(*tiles), tmp_path / f"{n}", n_workers=n) for n in (1, 5))
    assert apart(one, many) == [0, 0, 0]


def test_frames_found_damaged_on_the_way_are_uncovered(tmp_path):
    tiles = [tile((60, 20, 12), 1.0, (0, 0, 0), 1, damaged=(17, 40)), tile((60, 20, 12), 1.0, (0, 14, 0), 2)]
    streamed = volume_of(stream, mosaic_of(*tiles), tmp_path / "a")
    staged = volume_of(fuse, mosaic_of(*tiles), tmp_path / "b")  # by now it is known which frames are damaged
    assert ((staged[0] == 0) == (streamed[0] == 0)).all()
    away = np.ones(staged[0].shape, bool)
    z, x = np.mgrid[: staged[0].shape[0], : staged[0].shape[2]]
    for number in (17, 40):
        away &= (abs(x - z - number) > 32)[:, None, :]
    assert (staged[0] == streamed[0])[away].all()


def test_destriped_frames_are_read_whole_and_once(tmp_path):
    correction = Correction("wavelet")
    tiles = [tile((40, 70, 66), 1.0, (0, 50.5 * n, 0), n, correction=correction, top=900) for n in range(2)]
    streamed = volume_of(stream, mosaic_of(*tiles), tmp_path / "a")
    assert all(n == 1 for each in tiles for n in each.volume.frames.counts.values())
    assert max(apart(volume_of(fuse, mosaic_of(*tiles), tmp_path / "b"), streamed)) <= 1


def test_floats_keep_what_is_not_finite_in_its_place(tmp_path):
    one = tile((30, 9, 8), 0.8, (0.5, 0.25, 0), 1, dtype=np.float32)
    one.volume.frames.frames[11, 4, 3] = np.nan
    mosaic = mosaic_of(one, tile((30, 9, 8), 0.8, (0.5, 6.0, 1), 2, dtype=np.float32))
    a, b = volume_of(fuse, mosaic, tmp_path / "a"), volume_of(stream, mosaic, tmp_path / "b")
    np.testing.assert_allclose(b[0], a[0], rtol=1e-5, atol=0.02)


def test_a_frame_that_cannot_be_read_leaves_nothing(tmp_path):
    mosaic = mosaic_of(tile((300, 20, 12), 1.0, (0, 0, 0), 1, fails_at=211))
    with pytest.raises(DamagedInputError, match="211"):
        volume_of(stream, mosaic, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_disk_leaves_nothing(tmp_path, monkeypatch):
    from gpustitch.io.write.precomputed import PrecomputedWriter

    def fails(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PrecomputedWriter, "_store", fails)
    with pytest.raises(OutputError, match="full"):
        volume_of(stream, mosaic_of(tile((90, 20, 12), 1.0, (0, 0, 0), 1)), tmp_path / "out")
    assert not Path(tmp_path / "out").exists()


def test_tiles_that_lean_otherwise_are_refused(tmp_path):
    mosaic = mosaic_of(tile((9, 8, 7), 1.0, (0, 0, 0), 1), tile((9, 8, 7), 1.0, (0, 4, 0), 2, shear_px=0.01))
    with pytest.raises(MosaicError, match="lean"):
        stream.plan(mosaic, StitchOptions(tmp_path / "out"))
