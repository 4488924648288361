"""One sweep on a device gives what the host gives: bands, corrections, several formats. The emulator runs bodies."""

from __future__ import annotations

import gc
import math
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpustitch.array import Device, choose_device
from gpustitch.errors import DamagedInputError, OutputError, ParameterError
from gpustitch.io.frames import opening
from gpustitch.io.frames.opening import Oriented
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.pyramid_writer import PyramidWriter
from gpustitch.model import Box, ObliqueScan, PlacedVolume, level_factors
from gpustitch.oblique.deskew.sweep import Grain
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.stream import emission, sweep
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream.bands import Cut
from gpustitch.oblique.stream.host_bytes import SMALL_BYTES, pinned_bytes
from tests.cuda_cpu import build, shim
from tests.cuda_cpu.module import settings
from tests.cuda_cpu.shim_cuda import PINNED, POOL
from tests.oblique.stream.raw_tiles import ArrayFrames
from tests.oblique.stream.test_stage import tile

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works"),
]

CORRECTIONS = {
    "none": None,
    "flat": Correction(dark=40.0, flat=np.full((40, 12), 0.6, np.float32)),
    "to uint8": Correction(dark=30.0, dtype="uint8"),
    "guarded": Correction("wavelet", WaveletOptions(notch_length_px=20, level=2)),
}


TURNS = ((1, False), (2, True), (3, True))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and parts of few rows, so that small mosaics have many bands and blocks."""
    monkeypatch.setattr(stream, "_BLOCK_ROWS", 8)
    for module in (stream, sweep):
        monkeypatch.setattr(module, "HOST_GRAIN", Grain(4, 8))


def swept(name, output, device, seed, *, most_bytes=None, beside=(), **frames):
    """The volume's levels, and how many frames and blocks there were, of two tiles of noise."""
    correction = CORRECTIONS[name]
    tiles = [
        tile((50, 40, 12), 1.0, (0, 30.5 * k, 3 * k), seed + k, correction=correction, top=900, **frames)
        for k in range(2)
    ]
    mosaic = PlacedMosaic(tuple(tiles), tiles[0].volume.spacing)
    options = StitchOptions(
        output, levels=3, chunk_shape=(8, 8, 8), shard_bytes=0, n_workers=2, device=device, beside=beside
    )
    plan = stream.plan(mosaic, options, cut=Cut(32, most_bytes))
    result = stream.run(plan)
    found = []
    for place in (output, *(output.with_name(f"{output.name}.zarr") for _ in beside)):
        for level in range(3):
            volume = open_volume(place, level=level)
            found.append(volume.read(Box.of_shape(volume.shape)).astype(int))
    counts = {n for each in tiles for n in each.volume.frames.counts.values()}
    return found, (len(plan.bands), result.n_written, counts)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("none", {}), ("flat", {"absent": (7, 8)}), ("to uint8", {"beside": ("ome-zarr",)}),
        ("guarded", {"most_bytes": 1}), ("flat", {"damaged": (17, 30)}), ("none", {"dtype": np.float32}),
    ],
)  # fmt: skip
def test_a_device_gives_what_the_host_gives(name, more, tmp_path: Path) -> None:
    seed = len(name)
    expected, figures = swept(name, tmp_path / "cpu", choose_device("cpu"), seed, **more)
    with shim.installed():
        found, others = swept(name, tmp_path / "cuda", choose_device("cuda"), seed, **more)
    assert others == figures
    assert (figures[0] > 1) == ("most_bytes" in more) and figures[2] == {1}
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and theirs.std() > 10
        # The taps of tiles that overlap are summed in another order: halves round apart.
        apart = np.abs(ours - theirs)
        assert apart.max() <= 1 and np.count_nonzero(apart) < 0.02 * apart.size


@pytest.mark.parametrize(
    ("correction", "most_bytes", "turn"),
    [
        (None, None, (1, False)),
        *((Correction(dark=30.0, flat=np.full((40, 24), 0.6, np.float32)), None, turn) for turn in TURNS),
        (Correction("lightsheet"), 1, (3, True)),
    ],
)
def test_a_device_turns_frames_that_do_not_lie_upright(correction, most_bytes, turn, tmp_path, monkeypatch) -> None:
    """They go up as they lie: no thread turns them. Frames have margins, which the host's edges tell."""
    values = np.random.default_rng(0).integers(0, 900, (50, 40, 24)).astype(np.uint16)
    values[:, :, :6] = 7
    lying = np.rot90(values[:, ::-1] if turn[1] else values, -turn[0], axes=(1, 2))
    scan = ObliqueScan(*values.shape, 1.8, 1.8 * math.cos(math.pi / 4), 45.0)

    def volume(name, device):
        frames = Oriented(ArrayFrames(np.ascontiguousarray(lying), ()), *turn)
        np.testing.assert_array_equal(frames.read(0, 50), values)
        tile = PlacedVolume("a", ObliqueTile(frames, scan, correction), (0.0, 0.0, 0.0))
        how = {"levels": 2, "chunk_shape": (8, 8, 8), "shard_bytes": 0, "n_workers": 2, "device": device}
        mosaic = PlacedMosaic((tile,), tile.volume.spacing)
        plan = stream.plan(mosaic, StitchOptions(tmp_path / name, **how), cut=Cut(32, most_bytes))
        assert (len(plan.bands) > 1) == (most_bytes == 1)
        if device.is_cuda:
            monkeypatch.setattr(opening, "_transpose", None)
        stream.run(plan)
        found = open_volume(tmp_path / name)
        return found.read(Box.of_shape(found.shape)).astype(int)

    expected = volume("cpu", choose_device("cpu"))
    with shim.installed():
        found = volume("cuda", choose_device("cuda"))
    assert expected.std() > 10 and np.abs(found - expected).max() <= 1


def two_tiles(shape, correction, **frames):
    tiles = [
        tile(shape, 1.0, (0, (shape[1] - 10.5) * k, 3 * k), 5 + k, correction=correction, **frames) for k in range(2)
    ]
    return PlacedMosaic(tuple(tiles), tiles[0].volume.spacing)


TAKING = pytest.mark.parametrize(
    ("correction", "shape"),
    [
        (None, (150, 96, 40)), (Correction(dark=30.0, flat=np.ones((96, 40), np.float32)), (260, 96, 40)),
        (Correction("wavelet", WaveletOptions(notch_length_px=20, level=2)), (150, 160, 33)),
        (Correction("wavelet", WaveletOptions(4, 9, level=2)), (150, 64, 48)),
        (Correction("lightsheet"), (150, 64, 40)),
    ],
)  # fmt: skip


@TAKING
def test_a_sweep_takes_what_the_plan_allows_it_of_a_device(correction, shape, tmp_path: Path, monkeypatch) -> None:
    mosaic = two_tiles(shape, correction)
    stated = []
    of_band = stream.OnDevice.bytes_of
    monkeypatch.setattr(
        stream.OnDevice, "bytes_of", lambda self, band: stated.append(of_band(self, band)) or stated[-1]
    )
    # What is taken does not depend on what bodies compute; where little is computed all the same, they do.
    with shim.installed(), settings(executes=correction is None):
        device = choose_device("cuda")
        how = {"levels": 3, "chunk_shape": (8, 8, 8), "shard_bytes": 0, "n_workers": 3}
        plan = stream.plan(mosaic, StitchOptions(tmp_path / "volume", device=device, **how))
        before = POOL.most_used = POOL.used_bytes()
        stream.run(plan)
        taken = POOL.most_used - before
        (needed, again) = stated  # whether all fits, and whether each band does
        assert taken <= needed == again < 3 * taken
        few, fewer = (Device(device.index, device.why, n) for n in (needed - 1, 1 << 16))
        stated.clear()
        bands = stream.plan(mosaic, StitchOptions(tmp_path / "other", device=few, **how)).bands
        assert len(bands) == len(stated[2:]) > 1 and max(stated[2:]) < needed == stated[0] == stated[1]
        with pytest.raises(ParameterError, match="of the device's memory, and may take"):
            stream.plan(mosaic, StitchOptions(tmp_path / "other", device=fewer, **how))


def pinned(plan):
    stitch = plan.stitch
    factors = level_factors(stitch.spacing, stitch.options.levels)
    of_all = stitch.mosaic.tiles, stitch.block_shape, stitch.dtype, factors, stitch.n_workers
    return max(pinned_bytes(*of_all, band) for band in plan.bands)


@pytest.mark.parametrize(
    ("n_workers", "correction", "is_apart", "most_bytes"),
    [
        (1, None, False, None),
        (4, Correction(dark=30.0, flat=np.ones((64, 40), np.float32)), True, None),
        (2, Correction("wavelet", WaveletOptions(4, 9, level=2)), False, 1),
        (2, Correction("lightsheet"), False, None),
    ],
)
def test_pinned_memory_is_what_the_plan_counts(n_workers, correction, is_apart, most_bytes, tmp_path: Path) -> None:
    mosaic = two_tiles((100, 64, 40), correction, part_axis=0 if is_apart else None)
    how = {"levels": 3, "chunk_shape": (8, 8, 8), "shard_bytes": 0, "n_workers": n_workers}
    # Buffers are as long whatever bodies compute; where little is computed, they do.
    with shim.installed(), settings(executes=correction is None):
        options = StitchOptions(tmp_path / "volume", device=choose_device("cuda"), **how)
        plan = stream.plan(mosaic, options, cut=Cut(32, most_bytes))
        fewer = stream.plan(mosaic, replace(options, n_workers=1), cut=Cut(32, most_bytes))
        PINNED.free_all_blocks()
        before = PINNED.most = PINNED.total_bytes()
        stream.run(plan)
        taken = PINNED.most - before
    counted = pinned(plan)
    assert (len(plan.bands) > 1) == (is_apart or most_bytes == 1)
    assert taken <= counted < 3 * taken + SMALL_BYTES  # few boxes fill few of the buffers
    # It is a part of the plan, which shrinks with the threads.
    assert counted < plan.memory_bytes
    assert pinned(fewer) < counted or n_workers == 1


@pytest.mark.parametrize(
    ("correction", "most_bytes"),
    [(None, None), (Correction("wavelet", WaveletOptions(4, 9, level=2)), 1), (Correction("lightsheet"), 1)],
)
def test_the_host_plan_counts_what_lies_on_the_host(correction, most_bytes, tmp_path: Path, monkeypatch) -> None:
    """What is traced of the host's memory, less arrays of the device, is at most what is stated, and not much less."""
    mosaic = two_tiles((100, 192, 128), correction)
    taken = []
    # As much as writers of so few files hold.
    monkeypatch.setattr(stream, "IN_FLIGHT_BYTES", 1 << 22)

    def wait(_):
        # Where something is waited for, no result of the stand-in is about to become an array of the device.
        taken.append(tracemalloc.get_traced_memory()[0] - POOL.used_bytes())

    monkeypatch.setattr(type(shim.COUNTS), "wait", wait)
    # Few files: what is known of each is none of this.
    how = {"levels": 3, "chunk_shape": (32, 32, 32), "shard_bytes": 0, "n_workers": 1}
    with shim.installed(), settings(executes=False):
        # Modules, tables and the frames of the tiles are there before.
        stream.run(stream.plan(mosaic, StitchOptions(tmp_path / "first", device=choose_device("cuda"), **how)))
        options = StitchOptions(tmp_path / "volume", device=choose_device("cuda"), **how)
        plan = stream.plan(mosaic, options, cut=Cut(32, most_bytes))
        assert (len(plan.bands) > 1) == (most_bytes == 1)
        PINNED.free_all_blocks()
        gc.collect()
        tracemalloc.start()
        try:
            before = -POOL.used_bytes()
            taken.clear()
            stream.run(plan)
        finally:
            tracemalloc.stop()
    peak = max(taken) - before
    assert peak <= plan.memory_bytes < 3 * peak


def test_a_ring_on_the_device_takes_no_memory_of_the_host(tmp_path: Path) -> None:
    """A host with little memory may sweep with a device what it could not hold itself."""
    mosaic = two_tiles((400, 96, 64), None)
    how = {"levels": 3, "chunk_shape": (8, 8, 8), "shard_bytes": 0, "n_workers": 1}
    alone = stream.plan(mosaic, StitchOptions(tmp_path / "v", device=choose_device("cpu"), **how))
    with shim.installed():
        options = StitchOptions(tmp_path / "v", device=choose_device("cuda"), **how)
        beside = stream.plan(mosaic, options)
        few = Cut(32, beside.memory_bytes)
        assert len(stream.plan(mosaic, options, cut=few).bands) == 1
    assert beside.memory_bytes < alone.memory_bytes


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("what", ["a frame", "the disk"])
def test_what_fails_ends_a_sweep_on_a_device_and_is_told(what, n_workers, tmp_path: Path, monkeypatch) -> None:
    frames = {"fails_at": 90} if what == "a frame" else {}
    mosaic, told = two_tiles((130, 64, 40), Correction(dark=30.0), **frames), []
    write, n_left = PyramidWriter.write_levels, [4]

    def failing(*given):
        n_left[0] -= 1
        if n_left[0] < 0 and what == "the disk":
            raise OutputError("the disk is full")
        write(*given)

    def run():
        how = {"levels": 3, "chunk_shape": (8, 8, 8), "shard_bytes": 0, "n_workers": n_workers}
        try:
            stream.run(stream.plan(mosaic, StitchOptions(tmp_path / "v", device=choose_device("cuda"), **how)))
        except (DamagedInputError, OutputError) as error:
            told.append(str(error))

    monkeypatch.setattr(PyramidWriter, "write_levels", failing)
    monkeypatch.setattr(emission, "TOGETHER_BYTES", 1 << 17)
    with shim.installed(), settings(executes=False):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(120)
        assert not thread.is_alive(), "something waits for ever"
    assert len(told) == 1 and {"a frame": "frame 90 cannot be read", "the disk": "is full"}[what] in told[0]
    assert not [*tmp_path.iterdir()]
