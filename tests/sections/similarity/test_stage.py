"""The similarity stage: what it computes, what it holds in memory, what it refuses."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import tifffile

from gpustitch.array import Device, cpu_count
from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.errors import DamagedInputError, InputMissingError, MosaicError, OutputExistsError, ParameterError
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.planes.opening import open_planes
from gpustitch.running.progress import Silent
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.blocks import default_block
from gpustitch.sections.similarity.file import read_similarity
from gpustitch.sections.similarity.options import SimilarityOptions
from gpustitch.sections.similarity.stage import plan, run
from tests.cuda_cpu import shim
from tests.paths import DATA

pytestmark = pytest.mark.long

N = 40
AS_THEY_ARE = {"register": "off", "no_data": "off", "high_pass": "off"}


@pytest.fixture(scope="module")
def planes():
    return simulate_series(SimulationOptions(number=N, rows=60, columns=70, seed=1)).planes()


@pytest.fixture(scope="module")
def stack(planes, tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "stack.npy"
    np.save(path, planes)
    return path


class Told(Silent):
    """Keeps what a person would see."""

    def __init__(self):
        self.lines, self.done, self.total = [], 0, 0

    def start(self, label, total, unit):
        self.total += total

    def advance(self, count=1):
        self.done += count

    def note(self, message):
        self.lines.append(message)

    warn = note


def saved(tmp_path, planes, name="planes.npy"):
    np.save(tmp_path / name, planes)
    return tmp_path / name


@pytest.mark.parametrize("changed", [{}, {"chunk": 7}, {"n_workers": 1}, {"n_workers": 5, "chunk": 1}])
def test_is_the_operation_however_the_stack_is_read(stack, planes, changed):
    told = Told()
    found = run(plan(SimilarityOptions(input=stack, max_lag=6, **changed)), told)
    np.testing.assert_allclose(found.half_strip, banded_correlation(planes, 6), atol=1e-6)
    assert (told.done, told.total) == (N, N) and not told.lines
    assert found.undefined == ()
    assert found.summary.startswith("40 planes, 219 similarities within 6; of neighbours 0.")


@pytest.mark.parametrize("name", ["blockfs_70x133x129", "tiny_cl32.dcimg"])
def test_volumes_and_camera_files_are_stacks_too(name):
    path = DATA / name
    source = open_planes(path)
    found = run(plan(SimilarityOptions(input=path, max_lag=2, **AS_THEY_ARE)))
    np.testing.assert_allclose(found.half_strip, banded_correlation(source.read(0, source.shape[0]), 2), atol=1e-6)


def test_planes_are_compared_by_as_many_threads_as_asked_for(stack, monkeypatch):
    asked = []

    class Noting(similarity.BandedCorrelation):
        def __init__(self, *args, **options):
            asked.append(options["n_threads"])
            super().__init__(*args, **options)

    monkeypatch.setattr(similarity, "BandedCorrelation", Noting)
    for n_workers in (1, None, 1000):
        run(plan(SimilarityOptions(stack, n_workers=n_workers)))
    assert asked == [1, cpu_count(), cpu_count()]


def test_the_range_is_10_or_what_a_short_stack_allows(stack, tmp_path):
    assert plan(SimilarityOptions(input=stack)).max_lag == 10
    short = saved(tmp_path, np.random.default_rng(0).integers(0, 9, (4, 8, 8), np.uint8))
    assert plan(SimilarityOptions(input=short)).max_lag == 3


def test_the_file_says_what_was_compared(stack, planes, tmp_path):
    output = tmp_path / "new" / "s.npz"
    run(plan(SimilarityOptions(input=stack, output=output, max_lag=4)))
    np.testing.assert_allclose(read_similarity(output).values, banded_correlation(planes, 4), atol=1e-6)
    with np.load(output) as archive:
        said = json.loads(str(archive["provenance"]))
    assert said["parameters"]["max_lag"] == 4 and said["inputs"][0]["path"] == str(stack)


def test_planes_are_made_smaller_first(stack, planes):
    found = run(plan(SimilarityOptions(input=stack, max_lag=3, scale=(0.5, 1 / 3))))
    np.testing.assert_allclose(found.half_strip, banded_correlation(bin_planes(planes, (2, 3)), 3), atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_masked_pixels_are_not_compared(stack, planes, tmp_path, scale):
    mask = np.zeros(planes.shape[1:], np.uint8)
    mask[10:50, 20:60] = 255
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    found = run(plan(SimilarityOptions(input=stack, max_lag=3, mask=tmp_path / "mask.tif", scale=(scale, scale))))
    inside = planes[:, 10:50, 20:60]
    if scale < 1:
        inside = bin_planes(inside, (2, 2))
    np.testing.assert_allclose(found.half_strip, banded_correlation(np.ascontiguousarray(inside), 3), atol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "float64", ">u2"])
def test_other_types_are_compared_in_float32(planes, tmp_path, dtype):
    path = saved(tmp_path, planes.astype(dtype))
    told = Told()
    found = run(plan(SimilarityOptions(input=path, max_lag=3)), told)
    np.testing.assert_allclose(found.half_strip, banded_correlation(planes, 3), atol=1e-6)
    assert bool(told.lines) == (dtype in ("int32", "uint32", "float64"))


def test_constant_planes_and_planes_of_nan_are_named(planes, tmp_path):
    broken = planes.astype(np.float32)
    broken[5], broken[17] = 7, np.nan
    broken[20, 3:9] = np.nan
    told = Told()
    found = run(plan(SimilarityOptions(input=saved(tmp_path, broken), max_lag=3)), told)
    assert found.undefined == (5, 17)
    assert told.lines[-1].endswith("planes 5, 17")
    assert np.isnan(found.half_strip[[2, 3, 4, 5, 17], [3, 2, 1, 0, 1]]).all()
    assert np.isfinite(found.half_strip[20]).all()


def test_absent_planes_have_no_similarity_and_are_named(planes, tmp_path):
    broken = planes.copy()
    broken[[5, 6, 17]], broken[30] = 0, 9
    stack = ArrayPlanes(broken)
    stack.absent = frozenset({5, 6, 17})
    told, output = Told(), tmp_path / "s.tif"
    found = run(plan(SimilarityOptions(input=tmp_path / "s.npy", output=output, planes=stack, max_lag=3)), told)
    assert found.undefined == (5, 6, 17, 30)
    assert told.lines == [
        "without similarity to any other, as no file holds them: planes 5 to 6, 17",
        "without similarity to any other, constant or with fewer than two used pixels: planes 30",
    ]
    assert json.loads((tmp_path / "s.tif.json").read_text())["absent_planes"]["planes"] == "5 to 6, 17"
    expected = banded_correlation(planes, 3)
    there = np.isfinite(found.half_strip)
    np.testing.assert_allclose(found.half_strip[there], expected[there], atol=1e-6)


def test_a_stack_without_any_contrast_is_refused(tmp_path):
    path = saved(tmp_path, np.full((5, 8, 8), 3, np.uint8))
    with pytest.raises(DamagedInputError, match="no two of the 5 planes"):
        run(plan(SimilarityOptions(input=path, output=tmp_path / "s.npz")))
    assert not (tmp_path / "s.npz").exists()


def test_no_more_memory_is_held_than_planned(tmp_path):
    rng = np.random.default_rng(0)
    for dtype, scale in (("uint16", 1.0), ("float32", 1.0), ("float64", 0.5), ("uint16", 0.5)):
        source = ArrayPlanes(rng.integers(0, 999, (80, 128, 160)).astype(dtype))
        asked = {"max_lag": 8, "scale": (scale, scale), "chunk": 8, **AS_THEY_ARE}  # else: test_compared.py
        made = plan(SimilarityOptions(input=tmp_path, planes=source, **asked))
        tracemalloc.start()
        run(made)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= made.peak_bytes, dtype
        assert peak > 0.2 * made.peak_bytes, dtype


def test_memory_does_not_grow_with_the_stack_and_work_is_cut_to_fit(tmp_path):
    def planned(n, **changed):
        plane = np.broadcast_to(np.zeros((), np.uint16), (n, 2048, 2048))
        return plan(SimilarityOptions(input=tmp_path, planes=ArrayPlanes(plane), **changed))

    assert planned(100_000).peak_bytes - planned(1000).peak_bytes < 40 << 20
    assert planned(1000, max_lag=10).peak_bytes <= 1 << 30
    assert planned(1000, max_lag=10).block < planned(1000, max_lag=10, memory_bytes=8 << 30).block
    with pytest.raises(ParameterError, match=r"`memory_bytes` \dG"):
        planned(1000, max_lag=100)


def test_planes_stored_together_are_read_together(tmp_path):
    source = ArrayPlanes(np.broadcast_to(np.zeros((), np.uint16), (200, 512, 512)))
    source.depth = 24
    chunk = plan(SimilarityOptions(input=tmp_path, planes=source)).chunk
    assert chunk % 24 == 0 and default_block(10) <= chunk < default_block(10) + 24
    little = plan(SimilarityOptions(input=tmp_path, planes=source, memory_bytes=36 << 20, **AS_THEY_ARE))
    assert little.chunk < 24
    told = Told()
    with pytest.raises(DamagedInputError):
        run(little, told)
    assert f"stored 24 together and read {little.chunk} at a time" in told.lines[0]


@pytest.mark.parametrize("changed", [{}, {"chunk": 4}, {"chunk": 7, "n_workers": 3}])
def test_runs_on_a_device(stack, planes, changed):
    with shim.installed():
        device = Device(0, "cuda:0: emulated", 1 << 30)
        found = run(plan(SimilarityOptions(input=stack, max_lag=3, scale=(0.5, 0.5), device=device, **changed)))
    np.testing.assert_allclose(found.half_strip, banded_correlation(bin_planes(planes, (2, 2)), 3), atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_lag": 0}, "`max_lag` is 0; of 40 planes it is 1 to 39"),
        ({"max_lag": 40}, "`max_lag` is 40"),
        ({"scale": (0.4, 1.0)}, "`scale`"),
        ({"scale": (2.0, 2.0)}, "`scale`"),
        ({"scale": (0.0, 1.0)}, "`scale`"),
        ({"scale": (0.01, 1.0)}, "leaves nothing"),
        ({"chunk": 0}, "`chunk`"),
        ({"n_workers": 0}, "workers"),
        ({"memory_bytes": 1000}, "`memory_bytes` 1G"),
    ],
)
def test_parameters_out_of_range(stack, changed, said):
    with pytest.raises(ParameterError, match=said):
        plan(SimilarityOptions(input=stack, **changed))


def test_inputs_and_outputs_that_will_not_do(stack, planes, tmp_path):
    with pytest.raises(InputMissingError):
        plan(SimilarityOptions(input=tmp_path / "none.tif"))
    tifffile.imwrite(tmp_path / "one.tif", planes[0])
    with pytest.raises(ParameterError, match="at least two planes"):
        plan(SimilarityOptions(input=tmp_path / "one.tif"))
    with pytest.raises(MosaicError, match=r"mask .* is of shape \(5, 5\)"):
        tifffile.imwrite(tmp_path / "mask.tif", np.ones((5, 5), np.uint8))
        plan(SimilarityOptions(input=stack, mask=tmp_path / "mask.tif"))
    with pytest.raises(DamagedInputError, match="leaves 0 pixels"):
        tifffile.imwrite(tmp_path / "mask.tif", np.zeros(planes.shape[1:], np.uint8))
        plan(SimilarityOptions(input=stack, mask=tmp_path / "mask.tif"))
    with pytest.raises(ParameterError, match="written as"):
        plan(SimilarityOptions(input=stack, output=tmp_path / "s.csv"))
    (tmp_path / "s.npz").touch()
    with pytest.raises(OutputExistsError):
        plan(SimilarityOptions(input=stack, output=tmp_path / "s.npz"))


def test_planes_of_different_size_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "1.tif", np.zeros((8, 8), np.uint8))
    tifffile.imwrite(tmp_path / "2.tif", np.zeros((8, 9), np.uint8))
    with pytest.raises(DamagedInputError, match=r"2\.tif"):
        run(plan(SimilarityOptions(input=tmp_path)))
