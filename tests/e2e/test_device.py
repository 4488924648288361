"""Everything with ``--device cuda``: bodies executed by the emulator without a GPU, by a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpustitch.array import Device, choose_device, cuda_devices
from gpustitch.demo import brain as demo
from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.model import ZYX
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.destripe.correction import Correction, Method
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import PipelineOptions
from tests.cuda_cpu import build, shim
from tests.e2e.commands import read_level

pytestmark = pytest.mark.xdist_group("device")

SPEC = PhantomSpec(n_frames=64, n_rows=80, n_columns=48, overlap=0.45, stage_error_um=3.0, grid=(1, 2, 1))
WINDOW: ZYX = (15, 15, 15)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Two small tiles, one beside the other along y."""
    return make_phantom(tmp_path_factory.mktemp("device") / "phantom", SPEC)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """One tile, of fewer frames."""
    return make_phantom(tmp_path_factory.mktemp("single") / "phantom", replace(SPEC, grid=(1, 1, 1), n_frames=40))


PYSTRIPES = WaveletOptions(3, 4, wavelet="db4", threshold=600, crossover=150)
GUARDED = WaveletOptions(notch_length_px=60, level=3)
CORRECTIONS: dict[str, tuple[Method, WaveletOptions]] = {
    "none": ("none", PYSTRIPES), "pystripe's": ("wavelet", PYSTRIPES), "guarded": ("wavelet", GUARDED),
    "lightsheet": ("lightsheet", PYSTRIPES),
}  # fmt: skip
# These have one tile: the other ones show that frames that tiles are placed by are corrected on a device.
OF_ONE_TILE = ("pystripe's", "lightsheet")


def _options(truth: Truth, output: Path, name: str, device: Device) -> PipelineOptions:
    method, wavelet = CORRECTIONS[name]
    base = PipelineOptions(
        truth.channel(),
        output,
        correction=Correction(method, wavelet, dark=100),
        matching=MatchOptions(sample_count=12, window_px=WINDOW, blob_window_px=(32, 32, 32), search_px=(0, 0, 0)),
        device=device,
        n_workers=2,
        report=False,
    )
    return replace(base, stitch=replace(base.stitch, levels=3))


@pytest.mark.slow
@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())
@pytest.mark.parametrize("name", CORRECTIONS)
def test_a_device_makes_the_volume_that_the_cpu_makes(name: str, truth: Truth, single: Truth, tmp_path: Path) -> None:
    truth = single if name in OF_ONE_TILE else truth
    cpu = pipeline.run(pipeline.plan(_options(truth, tmp_path / "cpu", name, choose_device("cpu"))))
    with shim.installed():
        device = choose_device("cuda")
        cuda = pipeline.run(pipeline.plan(_options(truth, tmp_path / "cuda", name, device)))
    assert cpu.flat is not None and cuda.flat is not None
    np.testing.assert_allclose(cuda.flat, cpu.flat, rtol=1e-6)
    for level in range(3):
        a, b = (read_level(result.volume, level).astype(int) for result in (cpu, cuda))
        assert a.shape == b.shape
        assert a.std() > 10
        apart = np.abs(a - b)
        assert apart.max() <= 2
        assert np.count_nonzero(apart) < 0.02 * apart.size


@pytest.mark.gpu
def test_the_demo_passes_on_a_gpu(tmp_path: Path) -> None:
    devices, reason = cuda_devices()
    if not devices:
        pytest.skip(f"no CUDA device: {reason}")
    options = demo.DemoOptions(tmp_path, demo.spec_of("small"), device=choose_device("cuda"))
    result = demo.run(demo.plan(options))
    assert result.evaluation.passed, [f for f in result.evaluation.figures if f.passed is False]
