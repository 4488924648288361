"""The sweep from frames to a volume."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import gpustitch.oblique.deskew.stage as stage
import gpustitch.oblique.deskew.sweep as sweep
from gpustitch.array import Device, choose_device, transfer
from gpustitch.errors import InputMissingError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.images.files import write_tiff
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.deskew.stage import DeobliqueOptions, plan, run
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from tests.cuda_cpu import build, shim
from tests.levels import levels_of

CHUNK = (8, 8, 8)


class Recorded:
    """Frames in memory that count how often each was read."""

    absent = frozenset()

    def __init__(self, frames):
        self.frames = frames
        self.shape = frames.shape
        self.dtype = frames.dtype
        self.times = np.zeros(len(frames), int)

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        self.times[start:stop] += 1
        return self.frames[start:stop, rows, columns].copy()


@pytest.fixture
def source(monkeypatch):
    """Set the frames that every input opens as; small batches, so that many are needed."""

    def use(frames):
        recorded = Recorded(frames)
        monkeypatch.setattr(stage, "open_frames", lambda *_, **__: recorded)
        monkeypatch.setattr(stage, "frame_files", lambda _: [])
        return recorded

    monkeypatch.setattr(sweep, "BATCH_FRAMES", 16)
    monkeypatch.setattr(stage, "_BLOCK_WIDTH", 16)
    monkeypatch.setattr(stage, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(sweep, "HOST_GRAIN", sweep.Grain(frames=8, rows=8))
    return use


def frames_of(shape, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(shape, np.float32) if dtype == np.float32 else rng.integers(1, 65536, shape).astype(dtype)


def options_of(tmp_path, **changes):
    options = DeobliqueOptions("frames", tmp_path / "v", levels=3, chunk_shape=CHUNK, n_workers=2, flush=False)
    return replace(options, **changes)


def read(path, level=0):
    volume = PrecomputedVolume(path, level)
    return volume.read(Box.of_shape(volume.shape))


@pytest.mark.parametrize("step", [0.5, 1.0, 1.8 / 2**0.5, 1.28, 2.0, 9.0])
@pytest.mark.parametrize("shape", [(70, 21, 50), (3, 40, 37), (130, 5, 9), (1, 1, 1), (33, 17, 1)])
def test_blockwise_equals_whole(tmp_path, source, step, shape):
    recorded = source(frames_of(shape))
    job = plan(options_of(tmp_path, step_um=step))
    result = run(job)
    expected = deoblique(recorded.frames, Box.of_shape(job.shape), job.scan.shear)
    for level, of_level in enumerate(levels_of(expected, job.scan.spacing, 3)):
        np.testing.assert_array_equal(read(result.path, level), of_level)
    assert (recorded.times == 1).all()


@pytest.mark.parametrize("workers", [1, 5])
def test_any_number_of_workers_gives_the_same(tmp_path, source, workers):
    recorded = source(frames_of((90, 30, 40)))
    job = plan(options_of(tmp_path, n_workers=workers, n_writers=workers))
    run(job)
    np.testing.assert_array_equal(
        read(tmp_path / "v"), deoblique(recorded.frames, Box.of_shape(job.shape), job.scan.shear)
    )


def test_threads_beyond_the_blocks_cost_nothing(tmp_path, source):
    source(np.ones((20, 24, 24), np.uint16))
    few, many = (plan(options_of(tmp_path, n_workers=n)) for n in (1, 100_000))
    blocks = math.prod(-(-n // side) for n, side in zip(few.scan.shape, few.block_shape, strict=True))
    assert many.n_workers == blocks
    assert many.memory_bytes == few.memory_bytes + (blocks - 1) * few.worker_bytes


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_frames_keep_their_type(tmp_path, source, dtype):
    recorded = source(frames_of((20, 12, 15), dtype))
    job = plan(options_of(tmp_path, step_um=1.5))
    run(job)
    result = read(tmp_path / "v")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, deoblique(recorded.frames, Box.of_shape(job.shape), job.scan.shear))


def test_frames_are_corrected_then_rounded_then_interpolated(tmp_path, source):
    recorded = source(frames_of((40, 20, 30)))
    flat = np.linspace(0.4, 1, 600, dtype=np.float32).reshape(20, 30)
    correction = Correction("lightsheet", lightsheet=LightsheetOptions(5, 8), flat=flat, dark=50.0)
    job = plan(options_of(tmp_path, correction=correction))
    run(job)
    corrected = np.stack([correction.apply(frame) for frame in recorded.frames])
    np.testing.assert_array_equal(read(tmp_path / "v"), deoblique(corrected, Box.of_shape(job.shape), job.scan.shear))
    assert (recorded.times == 1).all()


def test_a_lazy_tile_equals_the_written_volume(tmp_path, source):
    recorded = source(frames_of((40, 20, 30)))
    correction = Correction(flat=np.linspace(0.4, 1, 600, dtype=np.float32).reshape(20, 30), dark=50.0)
    job = plan(options_of(tmp_path, correction=correction))
    run(job)
    lazy, written = ObliqueTile(recorded, job.scan, correction), PrecomputedVolume(tmp_path / "v")
    assert lazy.coverage == written.coverage
    for box in (Box((3, 2, 1), (17, 19, 50)), Box((-2, 0, 20), (40, 9, 90)), Box.of_shape(job.shape)):
        np.testing.assert_array_equal(lazy.read(box), written.read(box))


def test_range_turn_and_flip(tmp_path, source):
    recorded = source(frames_of((30, 18, 25)))
    job = plan(options_of(tmp_path, start=4, stop=27, rotate_90=3, flip_ud=True))
    run(job)
    turned = np.flip(np.rot90(recorded.frames[4:27], 3, axes=(1, 2)), 1)
    assert job.scan.n_rows == 25 and job.scan.n_columns == 18
    np.testing.assert_array_equal(read(tmp_path / "v"), deoblique(turned, Box.of_shape(job.shape), job.scan.shear))


def test_frames_held_are_bounded(tmp_path, source, monkeypatch):
    source(frames_of((400, 4, 16)))
    held = []
    real = sweep.Window.forget_before
    monkeypatch.setattr(
        sweep.Window,
        "forget_before",
        lambda self, number: (held.append(sum(len(p) for _, p in self._pieces)), real(self, number)),
    )
    run(plan(options_of(tmp_path, levels=1)))
    # Block width and depth * shear, and the batches being used and being read, cut into pieces of 8.
    assert max(held) <= 16 + 8 + 2 * 16 + 8


def test_empty_corners_are_not_written(tmp_path, source):
    source(frames_of((8, 8, 64)))
    job = plan(options_of(tmp_path, levels=1, step_um=1.8 / 2**0.5, shard_bytes=0))
    run(job)
    chunks = len(list((tmp_path / "v" / "1_1_1").iterdir()))
    assert chunks == 2 * 8  # of 9 x 8: the diagonal and its neighbour
    assert 2 * chunks * 8**3 <= job.output_bytes


def test_the_record_states_the_filter_that_was_used(tmp_path, source):
    source(frames_of((5, 20, 30)))
    run(plan(options_of(tmp_path, correction=Correction("wavelet", dark=3.0))))
    used = json.loads((tmp_path / "v" / "gpustitch.json").read_text())["parameters"]["correction"]
    assert used["wavelet"]["notch_length_px"] == 1024 and used["flat"] is None and used["dark"] == 3


def test_sidecar_and_spacing(tmp_path, source):
    source(frames_of((20, 8, 8)))
    job = plan(options_of(tmp_path, pixel_um=2.0, step_um=1.1, angle_deg=30.0))
    run(job)
    volume = PrecomputedVolume(tmp_path / "v")
    assert volume.coverage == job.scan.coverage
    assert volume.spacing.zyx_um == pytest.approx(job.scan.spacing.zyx_um)
    sidecar = json.loads((tmp_path / "v" / "gpustitch.json").read_text())
    assert sidecar["program"] == "gpustitch" and sidecar["parameters"]["angle_deg"] == 30.0
    assert sidecar["parameters"]["n_workers"] == job.n_workers and sidecar["parameters"]["device"] in ("cpu", "cuda:0")
    assert sidecar["scan"] == {
        "n_frames": 20, "n_rows": 8, "n_columns": 8, "pixel_um": 2.0, "step_um": 1.1, "angle_deg": 30.0,
        "absent": [],
    }  # fmt: skip


def test_a_frame_that_cannot_be_read_leaves_nothing(tmp_path, source):
    recorded = source(frames_of((60, 8, 30)))

    def read(start, stop, rows=slice(None), columns=slice(None)):
        if start >= 40:
            raise OSError("damaged")
        return recorded.frames[start:stop, rows, columns]

    recorded.read = read
    with pytest.raises(OSError, match="damaged"):
        run(plan(options_of(tmp_path)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"step_um": 0.0}, ParameterError, "step"),
        ({"pixel_um": -1.0}, ParameterError, "voxel"),
        ({"angle_deg": 90.0}, ParameterError, "angle"),
        ({"levels": 0}, ParameterError, "levels"),
        ({"chunk_shape": (8, 0, 8)}, ParameterError, "chunk"),
        ({"n_workers": 0}, ParameterError, "workers"),
        ({"n_writers": 0}, ParameterError, "writers"),
        ({"start": 5, "stop": 5}, ParameterError, "start"),
        ({"stop": 99}, ParameterError, "stop"),
        ({"correction": Correction(flat=np.ones((3, 3), np.float32))}, ParameterError, "flat"),
    ],
)
def test_refuses_before_writing(tmp_path, source, changes, error, message):
    source(frames_of((20, 8, 8)))
    with pytest.raises(error, match=message):
        plan(options_of(tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_refuses_other_pixels_an_existing_output_and_a_full_disk(tmp_path, source, monkeypatch):
    source(np.zeros((4, 4, 4), np.int32))
    with pytest.raises(ParameterError, match="int32"):
        plan(options_of(tmp_path))
    source(frames_of((4, 4, 4)))
    run(plan(options_of(tmp_path)))
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        plan(options_of(tmp_path))
    run(plan(options_of(tmp_path, overwrite=True)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(OutputError, match="free"):
        plan(options_of(tmp_path, overwrite=True))


def test_files_on_the_disk_are_deskewed(tmp_path):
    frames = frames_of((12, 10, 9))
    for number, frame in enumerate(frames):
        write_tiff(tmp_path / f"img_{number:03}.tiff", frame)
    job = plan(options_of(tmp_path, input=str(tmp_path / "img_*.tiff")))
    run(job)
    np.testing.assert_array_equal(read(tmp_path / "v"), deoblique(frames, Box.of_shape(job.shape), job.scan.shear))
    with pytest.raises(InputMissingError):
        plan(options_of(tmp_path, input=str(tmp_path / "no_*.tiff"), overwrite=True))


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("step", [1.8 / 2**0.5, 1.28, 3.0])
def test_a_device_makes_what_the_host_makes(tmp_path, source, step, dtype):
    source(frames_of((45, 20, 19), dtype))
    host = options_of(tmp_path, step_um=step)
    run(plan(host))
    with shim.installed():
        device = replace(host, output=tmp_path / "device", device=choose_device("cuda"))
        run(plan(device))
    for level in range(3):
        np.testing.assert_array_equal(read(device.output, level), read(host.output, level))


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())
def test_a_device_of_many_batches_frees_no_frame_too_early(tmp_path, source, monkeypatch):
    source(frames_of((45, 20, 19)))
    monkeypatch.setattr(sweep, "BATCH_FRAMES", 8)
    monkeypatch.setattr(sweep, "DEVICE_GRAIN", sweep.Grain(3, 8))
    host = options_of(tmp_path, step_um=1.28)
    run(plan(host))
    with shim.installed():
        run(plan(replace(host, output=tmp_path / "device", device=choose_device("cuda"))))
    np.testing.assert_array_equal(read(tmp_path / "device"), read(host.output))


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())
def test_buffers_are_used_again_only_when_the_device_has_finished(tmp_path, source, monkeypatch):
    source(frames_of((45, 20, 19)))
    take, at_work = sweep.Buffers.take, []

    def watched(buffers, shape):
        array, release = take(buffers, shape)
        return array, lambda: (at_work.append(bool(transfer._held())), release())

    monkeypatch.setattr(sweep.Buffers, "take", watched)
    with shim.installed():
        run(plan(options_of(tmp_path, device=choose_device("cuda"))))
    assert at_work
    assert not any(at_work), "another thread's stream may write the buffer while this one still reads it"


def test_a_device_with_too_little_memory_is_refused_before_anything_is_written(tmp_path, source):
    source(frames_of((45, 20, 19)))
    small = Device(0, "small", memory_bytes=10_000)
    with pytest.raises(ParameterError, match=r"needs about .* GB of the device's memory"):
        plan(options_of(tmp_path, device=small))
    assert not list(tmp_path.iterdir())


def test_a_name_may_ask_for_ome_zarr(tmp_path, source):
    recorded = source(frames_of((40, 20, 30)))
    job = plan(options_of(tmp_path, output=tmp_path / "v.zarr"))
    run(job)
    expected = deoblique(recorded.frames, Box.of_shape(job.shape), job.scan.shear)
    for level, of_level in enumerate(levels_of(expected, job.scan.spacing, 3)):
        volume = OmeZarrVolume(tmp_path / "v.zarr", level)
        np.testing.assert_array_equal(volume.read(Box.of_shape(volume.shape)), of_level)
    written = OmeZarrVolume(tmp_path / "v.zarr")
    assert written.coverage == job.scan.coverage and written.spacing == job.scan.spacing


def test_formats_that_are_written_in_order_are_refused(tmp_path, source):
    source(frames_of((40, 20, 30)))
    said = r"`output` .*v\.tif is named as TIFF.* a name in \*\.zarr, or a name without"
    with pytest.raises(ParameterError, match=said):
        plan(options_of(tmp_path, output=tmp_path / "v.tif"))
    assert not list(tmp_path.iterdir())


def test_chunks_of_zeros_are_written_on_request(tmp_path, source):
    source(frames_of((40, 20, 30)))
    counts = []
    for write_empty in (False, True):
        job = plan(options_of(tmp_path, output=tmp_path / f"v{write_empty}", write_empty=write_empty))
        run(job)
        counts.append(PrecomputedVolume(job.options.output).n_files)
    n_chunks = math.prod(-(-n // c) for n, c in zip(job.shape, CHUNK, strict=True))
    assert counts[0] < counts[1] == n_chunks
