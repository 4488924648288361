"""``gpustitch.json`` in a volume's folder: what the format of the volume has no place for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.io.checked import check_schema, number, read_json, rows, table, told, whole
from gpustitch.model import ObliqueScan, Spacing
from gpustitch.model.arrays import Floats

SIDECAR = "gpustitch.json"
# Also of ``<name>.json`` beside a volume in one file.
SIDECAR_SCHEMA = 2
_ADVICE = "remove it to use the whole box, and the place that the volume itself states"
Origin = tuple[float, float, float]


def sidecar_of(content: Mapping[str, Any] | None, origin_um: Origin | None = None) -> dict[str, Any] | None:
    """What the sidecar holds, with its schema; None without content and without a place."""
    if content is None and origin_um is None:
        return None
    place = {} if origin_um is None else {"origin_um": list(origin_um)}
    return {"schema": SIDECAR_SCHEMA, **(content or {}), **place}


def read_sidecar(folder: Path) -> tuple[ObliqueScan | None, Origin | None]:
    """The de-obliqued scan and the place of the first voxel (z, y, x), um, that a sidecar states.

    Either is None where the sidecar does not state it, or there is none.

    Raises
    ------
    DamagedInputError
        If the sidecar is there but cannot be understood.
    """
    file = folder / SIDECAR
    if not file.is_file():
        return None, None
    with told(file, "a scan", _ADVICE):
        content = table(read_json(file), "it")
        check_schema(content, SIDECAR_SCHEMA)
        scan = content.get("scan")
        return None if scan is None else _scan(scan), _origin(content)


def record_of(path: Path) -> Path:
    """The record of a volume, whether it is a folder or a file: of a file it lies beside it."""
    return path / SIDECAR if path.is_dir() else path.with_name(f"{path.name}.json")


def read_affine(file: Path) -> Floats | None:
    """The matrix from voxel (x, y, z, 1) to mm in the patient (LPS), float64 (4, 4), that a record states.

    None where there is none.

    Raises
    ------
    DamagedInputError
        If the record is there but cannot be understood.
    """
    if not file.is_file():
        return None
    with told(file, "the directions of axes", "remove it to use the voxels alone"):
        stated = table(read_json(file), "it").get("affine_lps")
        if stated is None:
            return None
        found = np.array([[number(v, "affine_lps", above=-1e15) for v in row] for row in rows(stated, "affine_lps", 4)])
        if found.shape != (4, 4) or not np.linalg.det(found[:3, :3]):
            raise ValueError(f"`affine_lps` is no matrix of 4 x 4 that can be inverted, but {stated!r:.60}")
        return found


def affine_with(affine_lps_mm: Floats, spacing: Spacing) -> Floats:
    """The matrix of the same directions and first voxel with another distance of voxels."""
    found = np.array(affine_lps_mm, np.float64)
    found[:3, :3] *= np.array(spacing.zyx_um[::-1]) / 1000 / np.linalg.norm(found[:3, :3], axis=0)
    return found


def affine_of_level(affine_lps_mm: Floats, spacing: Spacing) -> Floats:
    """The matrix of a level whose voxels are so far apart, where ``affine_lps_mm`` is that of the finest.

    Both levels have the same corner.
    """
    found = affine_with(affine_lps_mm, spacing)
    found[:3, 3] += (found[:3, :3] - affine_lps_mm[:3, :3]).sum(axis=1) / 2
    return found


def _scan(scan: dict[str, Any]) -> ObliqueScan:
    for name in ("n_frames", "n_rows", "n_columns"):
        whole(scan[name], name, 1)
    for place in rows(scan.get("absent", []), "absent"):
        whole(place, "a place in absent")
    found = ObliqueScan(**scan)
    found.coverage.shape  # noqa: B018  # numbers that make no grid are found here
    return found


def _origin(content: Mapping[str, Any]) -> Origin | None:
    if content.get("origin_um") is None:
        return None
    z, y, x = (number(value, "origin_um", above=-1e15) for value in rows(content["origin_um"], "origin_um", 3))
    return z, y, x
