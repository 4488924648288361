"""Judged series made by hand, with slices of a linear gradient in the body, and even volumes made of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np

from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.model import SliceHeader, SliceSeries, SliceStack
from gpustitch.slices.volume.stage import ResampleOptions, plan, run

AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
ORIGIN = np.array([-12.0, -20.0, 30.0])
PIXEL = (0.75, 0.5)
# Positions along the normal, in mm.
UNIFORM = np.arange(20) * 2.5
MISSING = np.delete(np.arange(30), [9, 20]) * 1.5
STRETCHES = np.concatenate([np.arange(9) * 0.6, 20.4 + np.arange(8) * 0.6, 55.81 + np.arange(10) * 0.6])
VARIABLE = np.r_[np.arange(20) * 2.5, 47.5 + np.arange(1, 13) * 7.5]
IRREGULAR = np.cumsum([0, 1, 1.3, 0.7, 2, 1.1, 0.9, 1.7, 1.2, 8.0, 0.8, 1.4, 1.9, 1.0])
CLASSES = {
    "UNIFORM": UNIFORM,
    "MISSING": MISSING,
    "RUNS_WITH_GAPS": STRETCHES,
    "VARIABLE": VARIABLE,
    "IRREGULAR": IRREGULAR,
}


def oblique(seed=3):
    """Axes z, y, x of an oblique frame, in rows; right-handed as x, y, z."""
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turned[0] = np.cross(turned[2], turned[1])
    return turned


def gradient(places):
    """Value at places (..., 3) in mm."""
    return 1000 + places @ [3.0, 5.0, 7.0]


def made(along, *, written=None, rounding=0.0, directions=AXIAL, shear=(0.0, 0.0), shape=(6, 5), numbers=None):
    """A stack at positions ``along`` the normal, from 0, written as ``written``, and its planes of the gradient."""
    along = np.asarray(along, float)
    written = along if written is None else np.asarray(written)
    fit = fit_slices(written, rounding, numbers)
    with_shear = directions[0] + shear[0] * directions[1] + shear[1] * directions[2]
    first = ORIGIN + along[:, None] * with_shear
    y, x = np.arange(shape[0])[:, None, None] * PIXEL[0], np.arange(shape[1])[:, None] * PIXEL[1]
    planes = gradient(first[:, None, None] + y * directions[1] + x * directions[2])
    headers = tuple(SliceHeader(Path(f"IM{k}.dcm"), 0, shape) for k in range(len(along)))
    stack = SliceStack(
        series=SliceSeries("phantom", "dicom", headers),
        order=np.arange(len(along)),
        positions_mm=written,
        fit=fit,
        spacing_mm=(fit.spacing_mm, *PIXEL),
        uncertainty_mm=(fit.uncertainty_mm, 0.0, 0.0),
        origin_mm=tuple(ORIGIN + fit.origin_mm * with_shear),
        directions=directions,
        shear=shear,
        notes=(),
        evidence=(),
        others_mm={},
        advice="",
    )
    return stack, planes.astype(np.float32)


def expected(affine, shape):
    """The gradient at all voxels of a volume (z, y, x) with an affine from x, y, z, 1."""
    z, y, x = np.indices(shape)
    return gradient(np.stack([x, y, z, np.ones_like(x)], -1) @ np.asarray(affine)[:3].T)


def options(tmp_path, stack, planes, output="v.nii", **more):
    """To resample a judged stack; ``planes`` is an array (z, y, x) or what reads like one."""
    source = planes if hasattr(planes, "read") else ArrayPlanes(planes, "phantom")
    return ResampleOptions((), tmp_path / output, stack=stack, planes=source, **more)


def resampled(tmp_path, stack, planes, output="v.nii", **more):
    """Voxels, affine (x, y, z), origin of each plane, sidecar."""
    (path, *_) = run(plan(options(tmp_path, stack, planes, output, **more)))
    image = nibabel.load(path)
    told = json.loads(Path(f"{path}.json").read_text())
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, told["affine_lps"], rtol=1e-6, atol=1e-5)
    return np.asarray(image.dataobj).T, np.array(told["affine_lps"]), plane_origins(path), told


def plane_origins(path):
    """What each plane of a volume is made of, by the table beside it."""
    with Path(f"{path}.planes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["kind"] == row["plane_origin"] for row in rows)
    return np.array([row["plane_origin"] for row in rows])
