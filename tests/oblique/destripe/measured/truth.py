"""Corrections from good to harmful, and what they truly do to a scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from tests.oblique.destripe.scenes import Floats, Scene

Mask = npt.NDArray[np.bool_]


def corrections(columns: int, dark: float) -> dict[str, Callable[[npt.NDArray[np.uint16]], Floats]]:
    """Corrections of a raw frame to float counts above the offset, by name."""

    def wavelet(sigma1: float, sigma2: float, **more) -> Callable[[npt.NDArray[np.uint16]], Floats]:
        options = WaveletOptions(sigma1, sigma2, **{"wavelet": "db5", **more})
        return Correction("wavelet", options, dark=dark, dtype="float32").apply

    def light(raw: npt.NDArray[np.uint16]) -> Floats:
        return np.maximum(raw.astype(np.float64) - dark, 0)

    def half(raw: npt.NDArray[np.uint16]) -> Floats:
        return np.sqrt(light(raw) * np.maximum(found["guarded 128, level 4"](raw), 0))

    def local_rows(raw: npt.NDArray[np.uint16]) -> Floats:
        means = ndimage.uniform_filter1d(light(raw), 65, axis=1)
        return light(raw) * ndimage.gaussian_filter1d(means, 10, axis=0) / np.maximum(means, 1)

    found: dict[str, Callable[[npt.NDArray[np.uint16]], Floats]] = {"none": light}
    found |= {f"128/512, level {level}": wavelet(128, 512, level=level) for level in (0, 3, 4)}
    found["128/512 of 2048 columns"] = wavelet(columns / 16, columns / 4)
    found["32/64"] = wavelet(32, 64)
    found |= {f"{px} px, level 4": wavelet(2 * columns / px, 2 * columns / px, level=4) for px in (16, 64, 256)}
    found["64 px"] = wavelet(2 * columns / 64, 2 * columns / 64)
    found["128 px, level 2"] = wavelet(2 * columns / 128, 2 * columns / 128, level=2)
    for px, level in ((64, 4), (128, 4), (256, 4), (128, 1)):
        found[f"guarded {px}, level {level}"] = wavelet(0, 0, notch_length_px=float(px), level=level)
    found |= {"half": half, "local rows": local_rows}
    found["blurred"] = lambda raw: ndimage.gaussian_filter1d(light(raw), 3, axis=0)
    found["median"] = lambda raw: ndimage.median_filter(light(raw), (7, 1))
    return found


def calm(of: Scene) -> tuple[Floats, Mask, Mask]:
    """Tissue, the pixels with nothing but tissue, and those of cells."""
    tissue = of.ideal - of.cells
    inside = ndimage.binary_erosion(tissue > 0.15 * of.spec.level, iterations=2)
    cell = of.cells > 0.03 * tissue + 5
    bright = of.ideal * of.gain + of.spec.dark >= (1 << of.spec.bits) - 1
    return tissue, inside & ~bright & ~ndimage.binary_dilation(cell, iterations=2), cell


def row_error(of: Scene, corrected: Floats) -> float:
    """What is wrong along the rows, in % of the light: of means of 64 columns, finer than 16 rows."""
    tissue, good, _ = calm(of)
    length = min(64, of.spec.columns // 4)
    segments = good.shape[0], of.spec.columns // length, length
    total, made, due = (
        values[:, : segments[1] * length].reshape(segments).sum(axis=2)
        for values in (good.astype(float), np.where(good, corrected, 0), np.where(good, tissue, 0))
    )
    known = total > length / 3
    ratio = made / np.maximum(due, 1e-9)
    error = np.where(known, np.log(np.clip(ratio / np.median(ratio[known]), 0.05, 20)), 0)
    smooth, weight = (ndimage.gaussian_filter1d(a, 16, axis=0, mode="nearest") for a in (error, known.astype(float)))
    fine = np.where(known, error - smooth / np.maximum(weight, 1e-3), 0)
    both = known[:, 1:] & known[:, :-1]
    return 100 * float(np.sqrt(max((fine[:, 1:] * fine[:, :-1])[both].mean(), 0)))


def cells_lost(of: Scene, corrected: Floats) -> float:
    """Median % of cells' light that is lost or gained, beyond what the rest of their rows is."""
    tissue, good, cell = calm(of)
    sigma, reach = of.spec.cell_sigma, 10
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    core, ring = np.maximum(abs(y), abs(x)) <= round(1.5 * sigma), abs(y) + abs(x) > 4 * sigma
    kept = []
    for row, column in of.places:
        rows, box = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
        if min(row, column) < reach or cell[rows, box].shape != ring.shape:
            continue
        around = ring & ~cell[rows, box]
        if around.sum() < 30 or (tissue[rows, box] < 0.15 * of.spec.level).any():
            continue
        counts = of.cells[rows, box][core].sum()
        far = slice(max(0, column - 100), column + 101)
        apart = abs(np.arange(of.spec.columns)[far] - column) >= 25
        clear = good[rows, far] & apart
        if counts < 0.3 * tissue[rows, box].mean() * core.sum() or (clear.sum(axis=1) < 10).any():
            continue
        of_rows = (corrected[rows, far] * clear).sum(axis=1) / (tissue[rows, far] * clear).sum(axis=1)
        made = corrected[rows, box] / of_rows[:, None]
        level = np.median((made / tissue[rows, box])[around])
        kept.append((made - level * tissue[rows, box])[core].sum() / counts)
    assert len(kept) > 10
    return abs(100 - 100 * float(np.median(kept)))


def tissue_error(of: Scene, corrected: Floats) -> float:
    """What is wrong with tissue at a scale of 12 pixels, in %; stripes that are left aside."""
    tissue, good, _ = calm(of)
    count = np.maximum(good.sum(axis=1, keepdims=True), 1)
    ratio = np.where(good, corrected / np.maximum(tissue, 1e-3), 0)
    of_rows = ratio.sum(axis=1, keepdims=True) / count
    error = np.where(good, ratio / np.where(of_rows > 0.1, of_rows, 1) - 1, 0)
    stripes = np.where(good, np.log(of.gain), 0)
    stripes = np.where(good, stripes - stripes.sum(axis=1, keepdims=True) / count, 0)
    error -= stripes * (error * stripes).sum() / max((stripes**2).sum(), 1e-9)
    share = ndimage.gaussian_filter(good.astype(float), 12)
    return 100 * float((ndimage.gaussian_filter(error, 12) / np.maximum(share, 1e-3))[share > 0.2].std())
