"""Positions of sections as CSV: the columns of Fiji's z-spacing, then uncertainty and weight.

A record beside the table, ``<table>.json``, says where the positions come from and which sections have faults.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.atomic import atomic_file, atomic_record, record_of
from gpustitch.io.checked import check_schema, rows, whole
from gpustitch.io.images.files import reading
from gpustitch.io.provenance import json_text
from gpustitch.sections.faults.find import SectionFault

COLUMNS = (
    "z-index",
    "mapping",
    "sorted mapping",
    "forward permutation",
    "backward permutation",
    "uncertainty",
    "weight",
)
_PLUGIN_COLUMNS = 5
# Version of the record. Version 1 did not state it, and its faults have a ``kind`` for their ``fault_type``.
SCHEMA = 2
# `float` takes more, as 1_0 for ten.
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class ZPositions:
    """Where the n sections of a series lie along z.

    Attributes
    ----------
    positions
        float64 (n,), finite: position of each section in the order of recording, in sections.
    order
        int64 (n,): ``order[k]`` is the section that comes k-th along z.
    uncertainty
        float64 (n,): standard error of each position in sections, NaN where it is not known.
    weights
        float64 (n,): quality of each section, NaN where it is not known.

    Raises
    ------
    ParameterError
        If a position is not finite, sizes differ, or ``order`` is not the order of the positions.
    """

    positions: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64]
    uncertainty: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.positions)
        sizes = {values.shape for values in (self.positions, self.order, self.uncertainty, self.weights)}
        if sizes != {(n,)} or n == 0:
            raise ParameterError(f"positions of sections are lists of one length, not of {sorted(sizes)}")
        if lost := [int(i) for i in np.flatnonzero(~np.isfinite(self.positions))]:
            raise ParameterError(f"the positions of the sections {lost} are not finite")
        if not _is_order_of(self.order, self.positions):
            raise ParameterError("the order of the sections is not that of their positions")

    @property
    def rank(self) -> npt.NDArray[np.int64]:
        """int64 (n,): the place of each section along z, the inverse of ``order``."""
        rank = np.empty(len(self.order), np.int64)
        rank[self.order] = np.arange(len(self.order))
        return rank


def write_z_positions(path: Path, z: ZPositions, *, overwrite: bool = False) -> None:
    """Write positions as CSV under a line of column names (:data:`COLUMNS`); the file appears whole.

    Row k is about section k: its number (``z-index``), position (``mapping``), place along z (``forward permutation``),
    standard error and weight. It is also about the k-th place along z: the position there (``sorted mapping``) and the
    section there (``backward permutation``). Numbers have all their digits, and are ``nan`` where they are not known.

    Raises
    ------
    OutputExistsError, OutputError
        If the file exists or cannot be written.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    columns = (z.positions, z.positions[z.order], z.rank, z.order, z.uncertainty, z.weights)
    lines.writerows((k, *row) for k, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)))
    with atomic_file(path, overwrite=overwrite) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def read_z_positions(path: Path) -> ZPositions:
    """Positions from a CSV as :func:`write_z_positions` or Fiji's z-spacing writes it.

    With a line of names columns may come in any order; ``z-index`` and ``mapping`` are needed, others may be left out.
    Without one they are the first five, or all seven, or the first two, of :data:`COLUMNS`. Rows may come in any
    order. Either permutation may be the one that sorts the positions; where there is none, sections at the same
    position keep their order.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it is no such table, a section is missing or there twice, or a position is no finite number.
    """
    with reading(path, "CSV of positions"):
        text = path.read_text(encoding="utf-8-sig")
        lines = list(csv.reader(text.splitlines()))
    cells = [[cell.strip() for cell in row] for row in lines if any(cell.strip() for cell in row)]
    if not cells:
        raise DamagedInputError(f"{path} is empty; a table of positions of sections was expected")
    table = _numbers(path, cells)
    n = len(table["mapping"])
    table = {name: values[np.argsort(table["z-index"], kind="stable")] for name, values in table.items()}
    if not np.array_equal(table["z-index"], np.arange(n)):
        raise DamagedInputError(f"{path}: z-index must number the {n} sections from 0 to {n - 1}, each once")
    positions = table["mapping"]
    if lost := [int(i) for i in np.flatnonzero(~np.isfinite(positions))]:
        raise DamagedInputError(f"{path}: the positions of the sections {lost} are not finite numbers")
    unknown = np.full(n, np.nan)
    return ZPositions(
        positions, _order(path, table), table.get("uncertainty", unknown), table.get("weight", unknown.copy())
    )


def _numbers(path: Path, cells: list[list[str]]) -> dict[str, npt.NDArray[np.float64]]:
    """Columns by name."""
    names = [name.lower() for name in cells[0]]
    if _is_number(names[0]):
        names = list(COLUMNS[: len(names)])
        if len(cells[0]) not in (2, _PLUGIN_COLUMNS, len(COLUMNS)):
            raise DamagedInputError(f"{path} has {len(cells[0])} columns without names; {', '.join(COLUMNS)} expected")
    else:
        cells = cells[1:]
    if missing := [name for name in ("z-index", "mapping") if name not in names]:
        others = [name for mark, name in ((";", "semicolons"), ("\t", "tabs")) if mark in names[0]]
        hint = f"; save it with commas in place of {others[0]}, and points in numbers" if others else ""
        raise DamagedInputError(f"{path} has no column {' and no '.join(missing)}, only {', '.join(names)}{hint}")
    for number, row in enumerate(cells):
        if len(row) != len(names) or not all(_is_number(cell) for cell in row):
            raise DamagedInputError(
                f"{path}: row {number} of {len(cells)} is not {len(names)} numbers: {','.join(row)}"
            )
    if not cells:
        raise DamagedInputError(f"{path} holds no positions, only names of columns")
    values = np.array(cells, np.float64)
    return {name: values[:, column] for column, name in enumerate(names)}


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _order(path: Path, table: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.int64]:
    """The stated permutation that sorts the positions."""
    positions = table["mapping"]
    stated = [table[name] for name in ("backward permutation", "forward permutation") if name in table]
    if not stated:
        return np.argsort(positions, kind="stable").astype(np.int64)
    for column in stated:
        if _is_order_of(column, positions):
            return column.astype(np.int64)
    raise DamagedInputError(f"{path}: neither permutation puts the positions in ascending order")


def _is_order_of(order: npt.NDArray[np.floating | np.integer], positions: npt.NDArray[np.float64]) -> bool:
    if not np.array_equal(np.sort(order), np.arange(len(positions))):
        return False
    return bool((np.diff(positions[order.astype(np.int64)]) >= 0).all())


@contextlib.contextmanager
def new_record(
    table: Path, content: Mapping[str, Any], faults: Sequence[SectionFault], *, overwrite: bool = False
) -> Iterator[None]:
    """Write the record beside a table of positions, which is written within the ``with`` block.

    OutputExistsError or OutputError if that cannot be.
    """
    record = {"schema": SCHEMA, **content, "faults": [vars(fault) for fault in faults]}
    with atomic_record(table, overwrite=overwrite) as write:
        write(json_text(record))
        yield


def read_faulty(table: Path, fault_type: str) -> set[int]:
    """Sections with faults of one type, from the record beside a table of positions.

    Raises
    ------
    InputMissingError
        If there is no record.
    DamagedInputError
        If it cannot be read, or a later version of gpustitch wrote it.
    """
    record = record_of(table)
    with reading(record, "what z-spacing found"):
        content = json.loads(record.read_text(encoding="utf-8"))
        schema = check_schema(content, SCHEMA)
        key = "kind" if schema == 1 else "fault_type"
        return {
            whole(i, "a section")
            for fault in rows(content["faults"], "faults")
            if fault[key] == fault_type
            for i in rows(fault["sections"], "sections")
        }
