"""Making even volumes in pieces: what is read and held, and on a device."""

from __future__ import annotations

import dataclasses
import functools
import tracemalloc

import nibabel
import numpy as np
import pytest

from gpustitch.array import choose_device
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.write.storing import writing_of
from gpustitch.regrid import columns as z_columns
from gpustitch.slices.volume import stage as slice_resample
from gpustitch.slices.volume.stage import plan, run
from tests.cuda_cpu import module, shim
from tests.slices.slice_stacks import IRREGULAR, made, options


def test_long_stacks_are_read_once_in_bounded_memory(tmp_path):
    class Counted(ArrayPlanes):
        reads = 0

        def read(self, start, stop, rows=slice(None), columns=slice(None)):
            Counted.reads += stop - start
            return super().read(start, stop, rows, columns)

    stack, _ = made(np.arange(900.0), shape=(64, 64))
    planes = np.broadcast_to(np.arange(900, dtype=np.uint16)[:, None, None], (900, 64, 64))
    for output in ("v.nii", "v", "v.tif"):
        Counted.reads = 0
        made_ = plan(options(tmp_path, stack, Counted(planes, "long"), output, spacing_mm=0.8, n_workers=2))
        run(made_)
        assert Counted.reads == 900
        assert max(v.blocks.memory_bytes for v in made_.volumes) < 1 << 28
    assert nibabel.load(tmp_path / "v.nii").shape == (64, 64, 1125)
    few = plan(options(tmp_path, stack, Counted(planes, "long"), "few", memory_bytes=1))
    assert few.volumes[0].blocks.cut.column == (64, 64)  # one chunk, however little memory there is


@pytest.mark.parametrize("memory_bytes", [1, 10**9])
def test_any_cut_of_a_tilted_stack_is_the_same(tmp_path, memory_bytes):
    stack, planes = made(np.arange(40) * 1.3, shear=(0.7, -0.4), shape=(70, 60))
    more = {"unshear": True, "levels": 1, "chunk_shape": (16, 16, 16), "memory_bytes": memory_bytes}
    job = plan(options(tmp_path, stack, planes, "v", spacing_mm=1.0, **more))
    run(job)
    assert (job.volumes[0].blocks.cut.n_columns > 1) == (memory_bytes == 1)
    run(plan(options(tmp_path, stack, planes, "v.nii", spacing_mm=1.0, unshear=True)))
    voxels = np.asarray(nibabel.load(tmp_path / "v.nii").dataobj).T
    np.testing.assert_array_equal(open_planes(tmp_path / "v").read(0, len(voxels)), voxels)


def test_memory_does_not_grow_with_the_stack(tmp_path, monkeypatch):
    monkeypatch.setattr(z_columns, "_ITEM_BYTES", 1 << 20)
    little = functools.partial(dataclasses.replace, in_flight_bytes=1 << 20)
    monkeypatch.setattr(slice_resample, "writing_of", lambda *given: little(writing_of(*given)))
    planes = np.broadcast_to(np.arange(300, dtype=np.uint16)[:, None, None], (300, 128, 128))
    peaks = []
    for n in (150, 300):
        stack, _ = made(np.arange(float(n)), shape=(128, 128))
        for output, more in (("v.nii", {}), ("v.tif", {}), ("w.nii", {"spacing_mm": 0.9})):
            job = plan(options(tmp_path, stack, planes[:n], f"{n}{output}", n_workers=1, **more))
            tracemalloc.start()
            run(job)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks) < planes.nbytes
    # The second stack has so much more; what is in flight differs from run to run.
    more = planes.nbytes / 2
    assert np.max(np.subtract(peaks[3:], peaks[:3])) < 0.7 * more


@pytest.mark.skipif(bool(module.why_not()), reason="the emulator does not work here")
@pytest.mark.parametrize("unshear", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_device_makes_the_volume_that_the_cpu_makes(tmp_path, unshear, dtype):
    stack, planes = made(IRREGULAR, shear=(0.3, -0.7), shape=(12, 20))
    given = options(tmp_path, stack, planes.astype(dtype), unshear=unshear, background=-3, overwrite=True)
    run(plan(given))
    host = (tmp_path / "v.nii").read_bytes()
    before = module.launches()
    with shim.installed():
        run(plan(dataclasses.replace(given, device=choose_device("cuda"))))
    assert module.launches() > before and (tmp_path / "v.nii").read_bytes() == host
