"""Wavelet destriping of one 2048 x 2048 frame on one core, against pystripe's arithmetic in PyWavelets and SciPy.

The guarded notch is no filter of pystripe's and has no reference: its time stands beside those of the others.

Run with OMP_NUM_THREADS=1 for figures per core. On a machine with a CUDA device, batches of frames run there too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pywt
from scipy import fftpack, ndimage
from skimage.filters import threshold_otsu

from bench.common import best_seconds, memcpy_bytes_per_s, report
from gpustitch.array import Device, choose_device, cpu_count, cuda_devices, on, to_device
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.notch import destripe_guarded
from gpustitch.oblique.destripe.wavelet import destripe_wavelet
from gpustitch.oblique.destripe.wavelet_options import NOTCH_LENGTH_PX, NOTCH_LEVELS, WaveletOptions

SIZE = 2048
BATCH = 16
CASES = (
    ("dual db5 128/512", WaveletOptions(128, 512, wavelet="db5")),
    ("dual db3 128/512", WaveletOptions(128, 512, wavelet="db3")),
    ("single db3 128", WaveletOptions(128, 128, wavelet="db3")),
    ("dual db5 16/64", WaveletOptions(16, 64, wavelet="db5")),
    ("dual db5 128/512 compat", WaveletOptions(128, 512, wavelet="db5", compat=True)),
    ("guarded notch, 4 levels", WaveletOptions(notch_length_px=NOTCH_LENGTH_PX, level=NOTCH_LEVELS)),
)


def striped_frame(size: int = SIZE) -> npt.NDArray[np.uint16]:
    """Smooth background with cells and stripes along the rows, shot noise."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((size, size)), 60, mode="wrap")
    smooth = 150 + 200 * (smooth - smooth.min()) / np.ptp(smooth)
    cells = np.zeros((size, size))
    cells[rng.integers(0, size, 3000), rng.integers(0, size, 3000)] = 60000
    stripes = 1 + 0.15 * ndimage.gaussian_filter1d(rng.standard_normal((size, 1)), 1.5, axis=0)
    return rng.poisson((smooth + ndimage.gaussian_filter(cells, 3)) * stripes).astype(np.uint16)


def reference_band(image: HostArray, sigma: float, wavelet: str) -> HostArray:
    """One band with a full transform both ways and packed FFTs in float64."""
    approximation, *details = pywt.wavedec2(np.log(1 + image), wavelet, mode="symmetric")
    notched = []
    for horizontal, vertical, diagonal in details:
        bandwidth = sigma * horizontal.shape[0] / image.shape[0]
        gain = 1 - np.exp(-(np.arange(horizontal.shape[1]) ** 2) / (2 * bandwidth**2))
        notched.append((fftpack.irfft(fftpack.rfft(horizontal) * gain), vertical, diagonal))
    return np.exp(pywt.waverec2([approximation, *notched], wavelet, mode="symmetric")) - 1


def reference(frame: HostArray, options: WaveletOptions) -> HostArray:
    """The arithmetic of pystripe's filter, uint16 in and out."""
    threshold = threshold_otsu(frame)
    image = frame.astype(np.float64)
    if options.sigma1 == options.sigma2:
        result = reference_band(image, options.sigma1, options.wavelet)
    else:
        background = reference_band(np.minimum(image, threshold), options.sigma2, options.wavelet)
        foreground = reference_band(np.maximum(image, threshold), options.sigma1, options.wavelet)
        fraction = ndimage.gaussian_filter(1 / (1 + np.exp(-(image - threshold) / options.crossover)), 1)
        result = foreground * fraction + background * (1 - fraction)
    return np.clip(result, 0, 65535).astype(np.uint16)


def main() -> None:
    """Measure every case on one core, and one case on all cores together."""
    frame = striped_frame()
    floor_s = frame.nbytes * 2 / memcpy_bytes_per_s()
    rows = []
    for name, options in CASES:
        correction = Correction("wavelet", options)
        ours_s = best_seconds(partial(correction.apply, frame), repeats=3)[1]
        row: dict[str, Any] = {
            "case": name,
            "ours_ms": ours_s * 1e3,
            "ns_per_pixel": ours_s / frame.size * 1e9,
            "times_the_floor": ours_s / floor_s,
        }
        if options.notch is None:
            reference_s = best_seconds(partial(reference, frame, options), repeats=2)[1]
            row |= {"reference_ms": reference_s * 1e3, "factor": reference_s / ours_s}
        rows.append(row)
    rows.append(_all_cores(frame, CASES[0][1], floor_s))
    devices, _ = cuda_devices()
    if devices:
        rows += _on_device(frame, choose_device("cuda:0"), devices[0].name)
    report("wavelet", rows)


def _all_cores(frame: HostArray, options: WaveletOptions, floor_s: float) -> dict[str, Any]:
    """Wall time of a frame when every core works on its own frame."""
    cores = cpu_count()
    apply = Correction("wavelet", options).apply
    with ThreadPoolExecutor(cores) as pool:
        wall_s = best_seconds(lambda: list(pool.map(apply, [frame] * (4 * cores))), repeats=2)[0] / (4 * cores)
    return {
        "case": f"dual db5 128/512, wall on {cores} cores",
        "ours_ms": wall_s * 1e3,
        "ns_per_pixel": wall_s / frame.size * 1e9,
        "times_the_floor": wall_s / floor_s,
    }


def _on_device(frame: HostArray, device: Device, name: str) -> list[dict[str, Any]]:
    """Wall time of a frame in batches of frames that lie on the device already."""
    frames = to_device(np.stack([frame] * BATCH), device)
    rows = []
    for case, options in CASES:

        def apply(options: WaveletOptions = options) -> None:
            with on(device):
                if options.notch is None:
                    destripe_wavelet(frames, options)
                else:
                    destripe_guarded(frames, options.notch, 0.0)

        seconds = best_seconds(apply)[0] / BATCH
        rows.append(
            {
                "case": f"{case}, {BATCH} frames on {name}",
                "ours_ms": seconds * 1e3,
                "ns_per_pixel": seconds / frame.size * 1e9,
            }
        )
    return rows


if __name__ == "__main__":
    main()
