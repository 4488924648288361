"""Which sections a volume of evenly spaced planes is made of, and where they lie."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpustitch.errors import DamagedInputError, InputMissingError, MosaicError, ParameterError
from gpustitch.io.atomic import record_of
from gpustitch.io.planes.format import Planes, doubt_of
from gpustitch.model import Spacing
from gpustitch.regrid.plan import Series, sorted_series
from gpustitch.sections.grid.file import ZGrids, read_z_grids
from gpustitch.sections.positions.file import ZPositions, read_faulty, read_z_positions

LEFT_OUT_BY_NAME = ("damaged", "constant")  # types of faults of whole sections
_LEAST_SECTIONS = 2
_NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class SectionsAlongZ:
    """Sections in the order of their positions.

    Attributes
    ----------
    series
        Numbers of the sections in the input, and their positions.
    left_out
        Sections that are not used because that was asked for.
    doubled
        Sections that are not used because they lie at the place of another.
    grids
        Where positions differ over the sections, what was read of them.
    """

    series: Series
    left_out: tuple[int, ...]
    doubled: tuple[int, ...]
    grids: ZGrids | None = None


def sections_along_z(
    path: Path,
    number: int,
    name: str,
    leave_out: str = "",
    least_weight: float | None = None,
    absent: Iterable[int] = (),
) -> SectionsAlongZ:
    """Read positions and decide which sections are used.

    Parameters
    ----------
    path
        Positions: a CSV (:mod:`gpustitch.sections.positions.file`) or ``.npz`` of grids of them
        (:mod:`gpustitch.sections.grid.file`).
    number, name
        How many sections the input has, and what it is called.
    leave_out
        Sections that are not used, separated by commas: numbers, ranges ``7-9`` (both included), and the words
        ``damaged`` and ``constant`` for those that z-spacing named so in ``<path>.json``.
    least_weight
        Sections are not used whose weight in the CSV is less than this, or not known; None for no such limit.
    absent
        Sections that no file holds: they are not used.

    Raises
    ------
    InputMissingError, DamagedInputError
        If a file is not there, cannot be read or does not say what is asked of it.
    MosaicError
        If there are more or fewer positions than sections.
    ParameterError
        If ``leave_out`` is no such list, names sections that are not there, or too few sections are left.
    """
    given = read_z_grids(path) if path.suffix.lower() == ".npz" else read_z_positions(path)
    positions = given.positions
    if len(positions) != number:
        raise MosaicError(f"{path} has positions of {len(positions)} sections, {name} has {number}")
    unused = _named(leave_out, path, number) | set(absent)
    if least_weight is not None:
        unused |= _light(given, path, least_weight)
    used = np.setdiff1d(np.arange(number), sorted(unused))
    if unused and len(used) < _LEAST_SECTIONS:
        raise ParameterError(f"of {number} sections {len(unused)} are to be left out; at least two must be used")
    series = sorted_series(positions[used])
    order = used[series.order]
    doubled = np.setdiff1d(used, order)
    return SectionsAlongZ(
        Series(order, series.positions),
        tuple(sorted(unused)),
        tuple(int(i) for i in doubled),
        given if isinstance(given, ZGrids) else None,
    )


def output_spacing(planes: Planes, stated: Spacing | None, z_um: float | None) -> tuple[Spacing, float]:
    """Spacing of the output, and the distance of its planes in sections.

    ``stated`` goes before what the planes state; ``z_um`` is the distance of the planes in um, None for that of the
    sections. ParameterError if the spacing is not known.
    """
    known = stated or planes.spacing
    if known is None:
        raise ParameterError(f"{planes.name} {doubt_of(planes)}; give it: `spacing` x,y,z in um")
    if z_um is None:
        return known, 1.0
    return Spacing(z_um, known.y_um, known.x_um), z_um / known.z_um


def _named(text: str, path: Path, number: int) -> set[int]:
    """Sections of a list such as ``5,7-9,damaged``."""
    found: set[int] = set()
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        if part in LEFT_OUT_BY_NAME:
            found |= _faulty(part, path)
            continue
        match = _NUMBERS.fullmatch(part)
        if match is None:
            names = " and ".join(LEFT_OUT_BY_NAME)
            raise ParameterError(f"`leave_out` takes numbers, ranges such as 7-9, {names}, not {part!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < number:
            raise ParameterError(f"`leave_out` {part}: there are sections 0 to {number - 1}")
        found |= set(range(first, last + 1))
    return found


def _faulty(fault_type: str, path: Path) -> set[int]:
    """Sections that z-spacing named so."""
    record = record_of(path)
    if not record.is_file():
        raise InputMissingError(
            f"`leave_out` {fault_type} needs {record}, which z-spacing writes; give numbers of sections"
        )
    return read_faulty(path, fault_type)


def _light(table: ZPositions | ZGrids, path: Path, least: float) -> set[int]:
    """Sections of too little weight."""
    if isinstance(table, ZGrids) or not np.isfinite(table.weights).any():
        raise DamagedInputError(f"{path} states no weights of sections, which `least_weight` is about")
    return {int(i) for i in np.flatnonzero(~(table.weights >= least))}
