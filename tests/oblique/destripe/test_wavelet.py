"""Wavelet destriping against its definition in PyWavelets, pystripe's results, and laws."""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_otsu

from gpustitch.array import product
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.oblique.destripe.dwt import MOST_TAPS
from gpustitch.oblique.destripe.notch import RowLowPass
from gpustitch.oblique.destripe.otsu import otsu
from gpustitch.oblique.destripe.wavelet import _SMOOTHING, destripe_wavelet, share_of_foreground
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from tests.cuda_cpu import module, shim
from tests.paths import DATA


def notched(rows, sigma, compat):
    """The notch on real and imaginary parts, as it is written down."""
    spectrum = np.fft.rfft(rows)
    k = np.arange(spectrum.shape[-1])
    real = np.maximum(2 * k - 1, 0) if compat else 2 * k
    spectrum = spectrum.real * (1 - np.exp(-(real**2) / (2 * sigma**2))) + 1j * spectrum.imag * (
        1 - np.exp(-((2 * k) ** 2) / (2 * sigma**2))
    )
    return np.fft.irfft(spectrum, rows.shape[-1]) if rows.shape[-1] > 1 else np.zeros_like(rows)


def band(image, sigma, options):
    if sigma == 0:
        return image
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        approximation, *details = pywt.wavedec2(np.log1p(image), options.wavelet, "symmetric", options.level or None)
    filtered = [(notched(h, sigma * h.shape[0] / image.shape[0], options.compat), v, d) for h, v, d in details]
    return np.expm1(pywt.waverec2([approximation, *filtered], options.wavelet, "symmetric"))


def definition(image, options):
    rows, columns = image.shape
    full = np.pad(image.astype(np.float64), ((0, rows % 2), (0, columns % 2)), mode="edge")
    if options.sigma1 == options.sigma2:
        result = band(full, options.sigma1, options)
    else:
        threshold = otsu(image) if options.threshold == -1 else options.threshold
        fraction = ndimage.gaussian_filter(1 / (1 + np.exp(-(full - threshold) / options.crossover)), 1)
        foreground = band(np.maximum(full, threshold), options.sigma1, options) if options.sigma1 else full
        background = band(np.minimum(full, threshold), options.sigma2, options) if options.sigma2 else full
        result = fraction * foreground + (1 - fraction) * background
    return result[:rows, :columns]


def picture(rows, columns, seed=0, dtype=np.uint16):
    rng = np.random.default_rng(seed)
    smooth = 120 + 100 * np.sin(np.arange(columns) / 17) ** 2 + 40 * rng.standard_normal((rows, 1))
    cells = 2000 * (rng.random((rows, columns)) > 0.99)
    return np.clip(rng.poisson(np.maximum(smooth + cells, 0)), 0, 65535).astype(dtype)


def assert_close(ours, expected):
    np.testing.assert_allclose(ours + 1, expected + 1, rtol=1e-4, atol=1e-3)


GOLDEN = np.load(DATA / "filter_streaks_256x320.npz")
CASES = json.loads(str(GOLDEN["params"]))
SUBBAND = np.load(DATA / "filter_subband_256x320.npz")  # every eighth row


@pytest.mark.parametrize(
    "name", ["dual", "dual_db3", "single", "single_db5", "fg", "bg", "dual_level2_thr", "single_haar", "pipeline"]
)
def test_compat_gives_the_counts_of_pystripe(name):
    case = CASES[name]
    options = WaveletOptions(
        *case["sigma"], case.get("level", 0), case.get("wavelet", "db3"), case.get("crossover", 10),
        case.get("threshold", -1), compat=True,
    )  # fmt: skip
    expected = GOLDEN["img"].astype(int) + GOLDEN[f"diff_{name}"]
    ours = np.trunc(np.clip(destripe_wavelet(GOLDEN["img"], options), 0, 65535))
    difference = np.abs(ours - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_compat_gives_a_band_of_pystripe_before_rounding():
    ours = destripe_wavelet(GOLDEN["img"], WaveletOptions(32, 32, 3, "db5", compat=True))
    np.testing.assert_allclose(ours, GOLDEN["sub_db5_s32_l3"], rtol=1e-4)


def test_compat_gives_a_band_of_all_levels_of_pystripe_before_rounding():
    ours = destripe_wavelet(GOLDEN["img"], WaveletOptions(64, 64, 0, "db3", compat=True))
    np.testing.assert_allclose(ours[::8], SUBBAND["sub_db3_s64"], rtol=1e-4)


def test_share_of_the_foreground_is_that_of_pystripe():
    shares = [share_of_foreground(GOLDEN["img"], CASES["_otsu"], 10.0, _SMOOTHING, row) for row in range(0, 256, 32)]
    rows = np.concatenate(shares)
    np.testing.assert_allclose(rows[::8], SUBBAND["fg_fraction"], rtol=1e-4, atol=1e-6)


def test_otsu_gives_the_threshold_of_pystripe_and_of_scikit_image():
    assert otsu(GOLDEN["img"]) == CASES["_otsu"]
    for dtype in (np.uint8, np.uint16, np.float32):
        image = (GOLDEN["img"] // 13).astype(dtype)
        assert otsu(image) == pytest.approx(threshold_otsu(image))
    assert otsu(image.astype(np.int32)) == pytest.approx(threshold_otsu(image))
    assert otsu(np.full((5, 7), 321, np.uint16)) == 321


@pytest.mark.parametrize("shape", [(64, 96), (63, 97), (33, 70), (140, 35), (1, 40), (40, 1), (1, 1), (2, 2), (3, 200)])
@pytest.mark.parametrize("sigmas", [(8, 30), (20, 20), (12, 0), (0, 12), (0, 0)])
def test_follows_its_definition(shape, sigmas):
    image = picture(*shape)
    options = WaveletOptions(*sigmas, wavelet="db2", crossover=25)
    result = destripe_wavelet(image, options)
    assert result.dtype == np.float32
    assert result.shape == shape
    assert_close(result, definition(image, options))


@pytest.mark.parametrize("wavelet", ["haar", "db5", "sym4", "bior2.4", "coif3", "rbio3.3"])
@pytest.mark.parametrize("compat", [False, True])
def test_follows_its_definition_for_other_wavelets(wavelet, compat):
    image = picture(150, 133)
    for level in (0, 1, 3):
        options = WaveletOptions(10, 40, level, wavelet, compat=compat)
        assert_close(destripe_wavelet(image, options), definition(image, options))


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.floats(0.5, 300),
    st.sampled_from(["db1", "db3", "sym8"]),
    st.integers(0, 5),
    st.booleans(),
)
def test_follows_its_definition_for_any_shape_bandwidth_and_level(shape, sigma, wavelet, level, compat):
    image = picture(*shape)
    options = WaveletOptions(sigma, sigma, level, wavelet, compat=compat)
    assert_close(destripe_wavelet(image, options), definition(image, options))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_takes_any_real_type_and_any_layout(dtype):
    image = picture(70, 60).clip(0, 255).astype(dtype)
    options = WaveletOptions(9, 20, wavelet="db2", threshold=150)
    assert_close(destripe_wavelet(image, options), definition(image, options))
    turned = np.rot90(image)
    np.testing.assert_array_equal(
        destripe_wavelet(turned, options), destripe_wavelet(np.ascontiguousarray(turned), options)
    )


def test_the_input_is_left_alone():
    image = picture(64, 64)
    image.flags.writeable = False
    destripe_wavelet(image, WaveletOptions(10, 20))


def test_saturated_and_empty_images_stay():
    for value in (0, 1, 300, 65535):
        image = np.full((80, 90), value, np.uint16)
        for sigmas in ((10, 10), (10, 40)):
            result = destripe_wavelet(image, WaveletOptions(*sigmas, wavelet="db5"))
            np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-3)


def test_what_runs_down_the_columns_stays():
    image = np.broadcast_to(np.linspace(100, 3000, 200).astype(np.uint16), (160, 200))
    np.testing.assert_allclose(destripe_wavelet(image, WaveletOptions(50, 50)), image, rtol=1e-5)


def test_stripes_go_and_cells_stay():
    rng = np.random.default_rng(3)
    stripes = rng.standard_normal((256, 1))
    stripes = 1 + 0.1 * (stripes - ndimage.gaussian_filter1d(stripes, 3, axis=0))
    clean = np.full((256, 256), 500.0)
    options = WaveletOptions(20, 60, wavelet="db5")
    result = destripe_wavelet((clean * stripes).round().astype(np.uint16), options)
    assert np.var(result.mean(axis=1)) < np.var((clean * stripes).mean(axis=1)) / 30
    cells = np.zeros_like(clean)
    cells[60::120, 50::150] = 40000
    clean += ndimage.gaussian_filter(cells, 2.5)
    result = destripe_wavelet((clean * stripes).round().astype(np.uint16), options)
    found, true = (ndimage.sum_labels(image - 500, cells_near(cells), [1]) for image in (result, clean))
    assert abs(found / true - 1) < 0.1


def cells_near(cells):
    return (ndimage.maximum_filter(cells, 15) > 0).astype(int)


def low_pass(rows, sigma, compat, operator=None):
    room = np.zeros((rows.shape[0], 2, -(-rows.shape[1] // 32) * 32), np.float32)
    room[:, 1, : rows.shape[1]] = rows
    operator = operator or RowLowPass.of(rows.shape[1], sigma, compat=compat)
    operator.apply(room[None])
    return operator, room[:, 1, : rows.shape[1]]


def test_compat_notch_is_the_one_of_pystripe():
    data = np.load(DATA / "rfft_notch_1d.npz")
    for name in ("x_odd", "y_even"):
        rows = data[name]
        _, taken = low_pass(rows, json.loads(str(data["params"]))["sigma"], True)
        np.testing.assert_allclose(rows + taken, data[f"out_{name}"], atol=1e-6 * np.abs(rows).max())


@pytest.mark.parametrize(
    ("width", "sigma", "kind"),
    [(300, 60, "kernel"), (301, 8, "spectrum"), (300, 500, "dense"), (1, 3, "any"), (2, 1, "any")],
)
@pytest.mark.parametrize("compat", [False, True])
def test_every_kind_of_notch_follows_its_definition(width, sigma, kind, compat):
    rows = np.random.default_rng(0).standard_normal((5, width))
    operator, taken = low_pass(rows, sigma, compat)
    kinds = {
        "kernel": operator.taps is not None,
        "spectrum": len(operator.factors) == 2,
        "dense": len(operator.factors) == 1,
    }
    if not compat and kind != "any":
        assert kinds[kind]
    np.testing.assert_allclose(rows + taken, notched(rows, sigma, compat), atol=1e-4)


@pytest.mark.parametrize("width", [30, 31, 256, 1026])
@pytest.mark.parametrize("sigma", [2.0, 8.0, 33.0, 64.0])
def test_taps_do_what_the_factors_do(width, sigma):
    rows = np.random.default_rng(0).standard_normal((4, width)).astype(np.float32)
    operator, taken = low_pass(rows, sigma, False)
    if operator.taps is not None or operator.as_taps is None:
        pytest.skip("taps are what it has, or too many")
    _, others = low_pass(rows, sigma, False, RowLowPass(width, operator.as_taps))
    np.testing.assert_allclose(others, taken, atol=3e-6)


@pytest.mark.parametrize("sigma", [5, 40, 400])
def test_notch_has_no_phase_unlike_the_one_of_pystripe(sigma):
    rows = np.random.default_rng(0).standard_normal((3, 200))
    shifted = np.roll(rows, 13, axis=1)
    np.testing.assert_allclose(
        low_pass(shifted, sigma, False)[1], np.roll(low_pass(rows, sigma, False)[1], 13, 1), atol=1e-4
    )
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            low_pass(shifted, sigma, True)[1], np.roll(low_pass(rows, sigma, True)[1], 13, 1), atol=1e-4
        )


def test_mirrored_image_gives_mirrored_result():
    image = picture(128, 256)
    plain, compat = WaveletOptions(10, 10, wavelet="haar"), WaveletOptions(10, 10, wavelet="haar", compat=True)
    np.testing.assert_allclose(
        destripe_wavelet(image[:, ::-1], plain), destripe_wavelet(image, plain)[:, ::-1], rtol=1e-4
    )
    worst = np.abs(destripe_wavelet(image[:, ::-1], compat) - destripe_wavelet(image, compat)[:, ::-1]).max()
    assert worst > 1  # pystripe's mixing of sines and cosines


def test_threads_share_a_filter():
    images = [picture(90, 120, seed) for seed in range(6)]
    options = WaveletOptions(15, 45, wavelet="db4", crossover=33)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: destripe_wavelet(image, options), images))
    for image, result in zip(images, together, strict=True):
        np.testing.assert_array_equal(result, destripe_wavelet(image, options))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.float32, np.int32])
@pytest.mark.parametrize("options", [
    WaveletOptions(15, 45, wavelet="db4"), WaveletOptions(9, 9, threshold=100), WaveletOptions(0, 30),
    WaveletOptions(0, 0), WaveletOptions(20, 200, compat=True),
])  # fmt: skip
def test_a_frame_among_others_is_what_it_is_alone(dtype, options):
    frames = np.stack([picture(75, 110, seed) // (1 + seed) for seed in range(4)]).clip(0, 255).astype(dtype)
    together = destripe_wavelet(frames, options)
    assert together.shape == frames.shape
    for frame, result in zip(frames, together, strict=True):
        np.testing.assert_array_equal(result, destripe_wavelet(frame, options))


def test_frames_on_a_device_are_what_they_are_alone(monkeypatch):
    if module.why_not():
        pytest.skip(module.why_not())
    frames = np.stack([picture(70, 90, seed) // (1 + seed) for seed in range(3)])
    options = WaveletOptions(15, 200, wavelet="db4")
    with shim.installed():
        together = shim.asnumpy(destripe_wavelet(shim.asarray(frames), options))
        monkeypatch.setattr(product, "_DEVICE_PIXELS", 2 * frames[0].size)
        in_two_batches = shim.asnumpy(destripe_wavelet(shim.asarray(frames), options))
        alone = shim.asnumpy(destripe_wavelet(shim.asarray(frames[1]), options))
    np.testing.assert_array_equal(in_two_batches, together)
    np.testing.assert_array_equal(alone, together[1])
    np.testing.assert_allclose(together, destripe_wavelet(frames, options), rtol=1e-5, atol=1e-3)


def test_every_wavelet_has_room_in_the_bodies():
    assert max(pywt.Wavelet(name).dec_len for name in pywt.wavelist(kind="discrete")) == MOST_TAPS


def test_negative_counts_are_taken_as_zero():
    image = picture(40, 40).astype(np.int32) - 150
    options = WaveletOptions(9, 9)
    np.testing.assert_array_equal(destripe_wavelet(image, options), destripe_wavelet(np.maximum(image, 0), options))


def test_bad_images_are_refused():
    for image in (
        np.zeros((2, 2, 3, 4)),
        np.zeros((0, 4)),
        np.zeros((0, 3, 4)),
        np.zeros((4, 4), complex),
        np.zeros(4),
    ):
        with pytest.raises(ParameterError, match="rows, columns"):
            destripe_wavelet(image, WaveletOptions(1, 1))
    for bad in (np.nan, np.inf):
        image = picture(20, 20).astype(np.float32)
        image[3, 4] = bad
        with pytest.raises(DamagedInputError, match="NaN or infinity"):
            destripe_wavelet(image, WaveletOptions(1, 2))


@pytest.mark.parametrize(
    "bad",
    [
        {"sigma1": -1.0}, {"sigma2": np.nan}, {"level": -1}, {"level": 21}, {"wavelet": "morl"}, {"wavelet": "db99"},
        {"crossover": 0.0}, {"crossover": np.inf}, {"threshold": -2.0}, {"threshold": np.nan},
    ],
)  # fmt: skip
def test_bad_options_are_refused_by_name(bad):
    with pytest.raises(ParameterError, match=f"`{next(iter(bad))}`"):
        WaveletOptions(**bad)
