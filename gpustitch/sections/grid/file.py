"""Positions of sections that differ over each section, as arrays in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.atomic import atomic_file
from gpustitch.io.checked import check_schema
from gpustitch.io.images.files import reading

_CENTERS = ("row_centers", "column_centers")
_OTHERS = (*_CENTERS, "uncertainty")
SCHEMA = 1


@dataclass(frozen=True)
class ZGrids:
    """Where each of n sections lies along z at the nodes of a grid over it.

    Attributes
    ----------
    positions
        float64 (n, gy, gx), finite, in sections.
    row_centers, column_centers
        Pixel coordinates (gy,) and (gx,) of the nodes; None for the middles of gy by gx equal windows.
    uncertainty
        float64 (n, gy, gx): standard error of each position, in sections, NaN where it is not known; None for none.
    """

    positions: npt.NDArray[np.float64]
    row_centers: npt.NDArray[np.float64] | None = None
    column_centers: npt.NDArray[np.float64] | None = None
    uncertainty: npt.NDArray[np.float64] | None = None


def write_z_grids(path: Path, grids: ZGrids, *, overwrite: bool = False) -> None:
    """Write an ``.npz`` of ``positions`` and, where given, ``row_centers``, ``column_centers`` and ``uncertainty``.

    Raises
    ------
    OutputExistsError, OutputError
        If the file exists or cannot be written.
    """
    others = {name: getattr(grids, name) for name in _OTHERS if getattr(grids, name) is not None}
    with atomic_file(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        np.savez(file, schema=np.array(SCHEMA), positions=grids.positions, **others)


def read_z_grids(path: Path) -> ZGrids:
    """Positions from an ``.npz`` as :func:`write_z_grids` writes it.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it holds no such arrays, they do not fit, or a number is not finite.
    """
    with reading(path, "an .npz of positions"), np.load(path, allow_pickle=False) as arrays:
        check_schema({"schema": int(arrays["schema"])} if "schema" in arrays else {}, SCHEMA)
        found = {name: np.asarray(arrays[name], np.float64) for name in ("positions", *_OTHERS) if name in arrays}
    positions = found.get("positions", np.empty(0))
    if positions.ndim != 3 or not positions.size:
        raise DamagedInputError(f"{path} holds no array 'positions' of sections and nodes (n, gy, gx)")
    uncertainty = found.pop("uncertainty", None)
    if uncertainty is not None and (uncertainty.shape != positions.shape or (uncertainty < 0).any()):
        raise DamagedInputError(f"{path}: uncertainty must be numbers of at least 0, as many as positions")
    if not all(np.isfinite(array).all() for array in found.values()):
        raise DamagedInputError(f"{path} holds numbers that are not finite")
    for name, n in zip(_CENTERS, positions.shape[1:], strict=True):
        if name in found and (found[name].shape != (n,) or (np.diff(found[name]) <= 0).any()):
            raise DamagedInputError(f"{path}: {name} must be {n} ascending numbers")
    return ZGrids(positions, found.get(_CENTERS[0]), found.get(_CENTERS[1]), uncertainty)
