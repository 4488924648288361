"""Device memory of making planes between sections: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpustitch.array.stated import Shaped, states
from gpustitch.regrid.plan import Deformation, ZGrid
from gpustitch.regrid.zresample import deformed_planes, planes_between


@states(planes_between)
def planes_between_bytes(
    sections: Sequence[Shaped], lower: npt.ArrayLike, upper: npt.ArrayLike, weight: npt.ArrayLike
) -> int:
    """The planes, and for each of them three numbers, for each section its place in memory and its length."""
    n = len(np.asarray(lower))
    return n * sections[0].nbytes + 20 * n + 16 * len(sections)


@states(deformed_planes)
def deformed_planes_bytes(
    sections: Sequence[Shaped],
    deformation: Deformation,
    grid: ZGrid,
    *,
    first_section: int = 0,
    planes: slice = slice(None),
    rows: slice = slice(None),
    columns: slice = slice(None),
    nearest: bool = False,
) -> int:
    """The planes, the positions and limits of the sections, and for each row and column its node and weight."""
    n_planes = len(range(*planes.indices(grid.n_planes)))
    positions = deformation.series.positions[first_section : first_section + len(sections)]
    nodes = [table[rows] for table in deformation.rows] + [table[columns] for table in deformation.columns]
    tables = positions.nbytes + 8 * len(sections) + sum(table.nbytes for table in nodes)
    return n_planes * sections[0].nbytes + tables + 24 * len(sections)
