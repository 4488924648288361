"""Operations with a statement of their device's memory, and arguments of many sizes for each."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import gpustitch
from gpustitch.array.stated import Shaped, statements
from gpustitch.model import Box, Spacing
from gpustitch.oblique.align.blob_lists import listed_blobs
from gpustitch.oblique.align.blobs import ball, find_blobs
from gpustitch.oblique.align.overlaps.climb import smooth_and_climb
from gpustitch.oblique.align.search import correlate_all_shifts
from gpustitch.oblique.align.shifts.images import Layout, images_shared, smoothed_strips
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.notch import Notch, destripe_guarded
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions, destripe_lightsheet
from gpustitch.oblique.destripe.otsu import otsu_of_frames
from gpustitch.oblique.destripe.wavelet import destripe_wavelet
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat.flatfield import flattened, inverse_flat, normalized_flat
from gpustitch.oblique.flat.percentiles import Binning, percentiles_of
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.ops.pyramid import downsample
from gpustitch.ops.smooth import gaussian, gaussian_weights, smooth
from gpustitch.regrid.plan import ZGrid, deformation, sorted_series
from gpustitch.regrid.zresample import deformed_planes, planes_between
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.high_pass import less_gaussian
from gpustitch.sections.similarity.laid import texture_of
from gpustitch.sections.similarity.register import Registration
from tests.oblique.fuse.fuse_tiles import oblique, whole_box

for _module in pkgutil.walk_packages(gpustitch.__path__, "gpustitch."):
    if _module.name.endswith(".device_bytes"):
        importlib.import_module(_module.name)


@dataclass(frozen=True)
class Case:
    """An operation with arguments made from a seed.

    ``hidden`` is the part of the statement for what libraries take inside, which the stand-in does not see. ``run``
    puts the operation to work with its arguments.
    """

    operation: Callable[..., Any]
    make: Callable[[np.random.Generator], tuple[Any, ...]]
    hidden: Callable[..., int] = lambda *_: 0
    run: Callable[..., Any] = lambda operation, *arguments: operation(*arguments)


def noise(rng, shape, dtype=np.uint16):
    return rng.integers(1, 250, shape).astype(dtype)


def volume(rng, dtype=np.uint16):
    return noise(rng, tuple(rng.integers(20, 60, 3)), dtype)


def frames(rng, dtype=np.uint16, n=None):
    return noise(rng, (n or int(rng.integers(2, 5)), *rng.integers(100, 180, 2)), dtype)


def smoothed(rng, dtype):
    return volume(rng, dtype), tuple(rng.uniform(0.5, 3, 3)), tuple(slice(int(k), None) for k in rng.integers(0, 5, 3))


def blobs(rng, dtype):
    return volume(rng, dtype), Spacing(1.3, 1.8, 1.3)


def listed(rng, dtype, has_negative):
    size, n = rng.integers(20, 40, 3), int(rng.integers(2, 6))
    offsets = np.array(ball((1.5, 1.1, 1.5)))
    weights = [[gaussian_weights(factor * s) for s in (1.5, 1.1, 1.5)] for factor in (1, 3)]
    voxels, places = noise(rng, (n, int(np.prod(size))), dtype), np.array([size.tolist()] * n)
    return voxels, places, offsets, *weights, 1e-5, 300, has_negative


def correlated(rng):
    moving = volume(rng, np.float32)
    return moving[: moving.shape[0] // 2, 3:-4, 5:].copy(), moving


def walks(rng):
    size, n = rng.integers(9, 20, 3), int(rng.integers(2, 6))
    voxels = noise(rng, (2 * n, int(np.prod(size + 6))))
    places = np.array([[*(size + 6), 3, 3, 3]] * (2 * n))
    weights = [gaussian_weights(float(s)) for s in rng.uniform(0.5, 2, 3)]
    return voxels, places, weights, tuple(size.tolist())


def flat(rng, dtype):
    values = noise(rng, (4, *rng.integers(40, 90, 2)), np.float32)
    return values, np.ones((1, 1), np.float32), np.dtype(dtype), 3.0


def sheared(rng, shear):
    n, rows, depth = (int(k) for k in rng.integers(20, 60, 3))
    return noise(rng, (n, rows, depth)), Box((0, 0, 2), (depth, rows, 40)), shear


def fused(rng):
    n, rows, depth = (int(k) for k in rng.integers(16, 34, 3))
    tiles = [oblique(n, rows, depth, 1.0, (0, 0, 0), 1), oblique(n, rows, depth, 1.0, (0.4, rows // 2, 2), 2)]
    plan = plan_block(whole_box(tiles), tiles)
    return plan, {k: tiles[k].volume.read(need) for k, need in plan.reads.items()}


def sections(rng):
    n = int(rng.integers(6, 12))
    return list(noise(rng, (n, *rng.integers(30, 80, 2)))), list(range(n - 1)), list(range(1, n)), [0.25] * (n - 1)


def binned(rng, dtype):
    return frames(rng, dtype), tuple(int(k) for k in rng.integers(1, 5, 2))


def inside_gaussian(plane, *_):
    return 3 * plane.nbytes


def spectra(_, moving):
    return 2 * 5 * moving.nbytes


def deformed(rng):
    n, (rows, columns) = int(rng.integers(6, 12)), (int(k) for k in rng.integers(30, 80, 2))
    at = np.sort(rng.uniform(0, 20, (n, 4, 5)), axis=0)
    return list(noise(rng, (n, rows, columns))), deformation(sorted_series(at), (rows, columns)), ZGrid(0.0, 0.7, 25)


def layout_of(rng, is_masked):
    base = rng.integers(-9, 10, 3)
    low, high = (tuple(int(k) for k in base + sign * rng.integers(1, 12, 3)) for sign in (-1, 1))
    fixed, moving = (tuple(int(k) for k in rng.integers(20, 60, 3)) for _ in range(2))
    return Layout(fixed, moving, low, high, is_masked)


def strips(rng, is_masked):
    layout, binning = layout_of(rng, is_masked), tuple(int(k) for k in rng.integers(1, 4, 3))
    places = np.array([[n * k for n, k in zip(s, binning, strict=True)] for s in (layout.fixed, layout.moving)])
    voxels = noise(rng, (2, int(places.prod(axis=1).max())))
    weights = rng.random((2 * is_masked, layout.room), np.float32)
    gaussians = [gaussian_weights(s) for s in (1, 1, 1, 4, 4, 4)]
    tables = layout.tables([(), (0,)])
    return voxels, places, binning, weights, tables.sizes.astype(float), gaussians, layout, tables


def images(rng, is_masked, at_once):
    layout = layout_of(rng, is_masked)
    tables = layout.tables([(), (0,), (1,), (2,), (0, 1, 2)])
    values = rng.normal(0, 1, (2, layout.room)).astype(np.float32)
    masks = (rng.random((2 * is_masked, layout.room)) < 0.8).astype(np.float32)
    return values, masks, tables.sizes.astype(float), layout, tables, at_once


def room_of_spectra(values, masks, divisors, layout, tables, at_once):
    """What the library of transforms takes inside: their own room, and arrays with zeros behind them."""
    n_spectra, (z, y, x) = 3 if layout.is_masked else 1, layout.padded
    return n_spectra * (2 * 8 * z * y * (x // 2 + 1) + 4 * z * y * x) + at_once * len(layout.pairs) * 8 * z * y * (
        x // 2 + 1
    )


def of_drifting_planes(rng):
    return (*(int(k) for k in rng.integers(60, 150, 2)),), 6.0, int(rng.integers(0, 3)), 3


def registered(registration, shape, *arguments):
    xp = importlib.import_module("cupy")
    tissue = gaussian(np.random.default_rng(0).random((shape[0] + 9, shape[1] + 9), np.float32), 2.0)
    tissue[:20, :20] = np.nan
    made = registration(shape, *arguments)
    for k in range(4):
        made.push(xp.asarray(tissue[k : k + shape[0], 2 * k : 2 * k + shape[1]]))


def inside_texture(shape, *_):
    return 3 * 4 * shape[0] * shape[1]


def frames_of_halves(rng, step):
    frames = noise(rng, (24, *rng.integers(40, 90, 2)))
    first = int(rng.integers(8, 14))
    return (
        frames,
        (first // 2, first - first // 2, 6, 18 - first),
        Binning(95.0, 256, 1, 20),
        int(rng.integers(0, step)),
        step,
    )


def flattened_frames(way, dtype, rng):
    images = frames(rng, dtype)
    light = rng.uniform(0.5, 1, images.shape[1:]).astype(np.float32)
    return Correction("wavelet", WaveletOptions(**way), flat=light / light.max(), dark=3), images


def room_of_matrices(volume, *_):
    return 8 * volume.size


CASES = {
    "smooth uint16": Case(smooth, partial(smoothed, dtype=np.uint16), room_of_matrices),
    "smooth float32": Case(smooth, partial(smoothed, dtype=np.float32), room_of_matrices),
    "gaussian": Case(gaussian, lambda rng: (volume(rng, np.float32), 2.0), inside_gaussian),
    "downsample": Case(downsample, lambda rng: (volume(rng),)),
    "downsample along y, x": Case(downsample, lambda rng: (volume(rng), "mean", (1, 2, 2))),
    "correlate": Case(correlate_all_shifts, correlated, spectra),
    "blobs uint16": Case(find_blobs, partial(blobs, dtype=np.uint16), room_of_matrices),
    "blobs float32": Case(find_blobs, partial(blobs, dtype=np.float32), lambda v, _: 17 * v.size),
    "listed blobs": Case(listed_blobs, partial(listed, dtype=np.uint16, has_negative=False)),
    "listed blobs float32": Case(listed_blobs, partial(listed, dtype=np.float32, has_negative=True)),
    "walks": Case(smooth_and_climb, walks),
    "normalized flat": Case(normalized_flat, lambda rng: (frames(rng)[0],)),
    "inverse flat": Case(inverse_flat, lambda rng: (frames(rng, np.float32)[0],)),
    **{f"flattened {t}": Case(flattened, partial(flat, dtype=t)) for t in ("uint8", "uint16", "int16", "float64")},
    "deoblique": Case(deoblique, partial(sheared, shear=0.8)),
    "otsu": Case(otsu_of_frames, lambda rng: (frames(rng),)),
    "wavelet": Case(destripe_wavelet, lambda rng: (frames(rng), WaveletOptions(9, 20, wavelet="db5"))),
    "wavelet once": Case(destripe_wavelet, lambda rng: (frames(rng, np.float32), WaveletOptions(4, 4))),
    "lightsheet": Case(destripe_lightsheet, lambda rng: (frames(rng, n=6), LightsheetOptions())),
    "guarded": Case(destripe_guarded, lambda rng: (frames(rng), Notch(60, 4, "db3"), 10.0)),
    "correction none": Case(Correction.apply, lambda rng: (Correction("none", dark=3), frames(rng))),
    "correction lightsheet": Case(Correction.apply, lambda rng: (Correction("lightsheet", dark=3), frames(rng, n=6))),
    "correction wavelet": Case(
        Correction.apply, lambda rng: (Correction("wavelet", WaveletOptions(9, 20), dark=3), frames(rng))
    ),
    "correction guarded": Case(
        Correction.apply,
        lambda rng: (Correction("wavelet", WaveletOptions(notch_length_px=60, level=3), dark=3), frames(rng)),
    ),
    **{
        f"correction {name} of {np.dtype(dtype)} with a flat": Case(
            Correction.apply, partial(flattened_frames, way, dtype)
        )
        for name, way in (("pystripe", {"sigma1": 9, "sigma2": 20}), ("guarded", {"notch_length_px": 60, "level": 3}))
        for dtype in (np.uint8, np.int16, np.float32)
    },
    "fuse": Case(fuse_block, fused),
    "planes between": Case(planes_between, sections),
    "binned": Case(bin_planes, partial(binned, dtype=np.uint16)),
    "binned float32": Case(bin_planes, partial(binned, dtype=np.float32)),
    "high pass": Case(less_gaussian, lambda rng: (frames(rng, np.float32)[0], 3.0), inside_gaussian),
    "texture": Case(texture_of, lambda rng: (frames(rng, np.float32)[0],), lambda p: 5 * p.nbytes),
    "deformed planes": Case(deformed_planes, deformed),
    "strips": Case(smoothed_strips, partial(strips, is_masked=False)),
    "strips with weights": Case(smoothed_strips, partial(strips, is_masked=True)),
    **{
        f"images, masked {is_masked}, {n} at once": Case(
            images_shared, partial(images, is_masked=is_masked, at_once=n), room_of_spectra
        )
        for is_masked, n in ((False, 5), (False, 2), (True, 5), (True, 1))
    },
    "registration": Case(Registration, of_drifting_planes, inside_texture, registered),
    "percentiles": Case(percentiles_of, partial(frames_of_halves, step=1)),
    "percentiles of some": Case(percentiles_of, partial(frames_of_halves, step=2)),
    "correlation": Case(banded_correlation, lambda rng: (frames(rng, n=9), 3)),
}


def mapped(function, value):
    """Arrays of NumPy, and those in lists, named tuples and dicts, each through a function."""
    if isinstance(value, np.ndarray):
        return function(value)
    if isinstance(value, list):
        return [mapped(function, part) for part in value]
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(mapped(function, part) for part in value)
    return {key: mapped(function, part) for key, part in value.items()} if isinstance(value, dict) else value


def stated(case, arguments):
    """What is stated for the arguments of a case, and the part of it that the stand-in does not see."""
    shapes = [mapped(lambda a: Shaped(a.shape, a.dtype), value) for value in arguments]
    return statements()[case.operation](*shapes), case.hidden(*shapes)
