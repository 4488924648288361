"""A comparison on a device is cut to fit the device's memory, and takes no more; what cannot fit is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.array import Device, choose_device
from gpustitch.array.stated import Shaped
from gpustitch.errors import ParameterError
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.sections.similarity.device_bytes import comparison_bytes
from gpustitch.sections.similarity.options import SimilarityOptions
from gpustitch.sections.similarity.stage import plan, run
from tests.cuda_cpu import build, shim

AS_THEY_ARE = {"no_data": "off", "high_pass": "off", "register": "off"}
PREPARED = {"no_data": "auto", "high_pass": 5, "register": "off"}


def options_of(device, n_workers, shape=(60, 90, 110), **changed):
    values = np.random.default_rng(sum(shape)).integers(0, 4000, shape).astype(np.uint16)
    return SimilarityOptions(
        "planes", planes=ArrayPlanes(values), max_lag=4, n_workers=n_workers, device=device, **changed
    )


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
@pytest.mark.parametrize("setting", [AS_THEY_ARE, PREPARED])
@pytest.mark.parametrize(("n_workers", "share"), [(1, 0.4), (1, 1.0), (2, 0.15), (2, 0.4), (2, 1.0), (4, 0.4)])
def test_what_is_planned_fits(setting, n_workers, share):
    with shim.installed():
        everything = plan(options_of(choose_device("cuda"), n_workers, **setting))
        held = everything.chunk * everything.chunks_held
        whole = comparison_bytes(
            Shaped((held, *everything.shape), everything.planes.dtype),
            4,
            everything.block,
            some_excluded=setting is PREPARED,
        )
        most = int(share * whole)
        small = plan(options_of(choose_device("cuda", most), n_workers, **setting))
        cut = (small.block, small.chunk, small.chunks_held)
        assert (cut < (everything.block, everything.chunk, everything.chunks_held)) == (share < 1)
        shim.POOL.most_used = 0
        run(small)  # a device's pool of memory raises where more is asked for
        assert 0 < shim.POOL.most_used <= most


def test_what_cannot_fit_is_refused():
    with pytest.raises(ParameterError, match=r"of the device's memory, and may take .*`device_memory_bytes`"):
        plan(options_of(Device(0, "small", 100_000), 2, **AS_THEY_ARE))
    plan(options_of(Device(0, "of unknown memory"), 2, **AS_THEY_ARE))
