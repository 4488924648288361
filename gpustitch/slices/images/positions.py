"""Positions of planes that an OME description states one by one, and whether they say where the planes are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gpustitch.slices.model import Code, Note, SliceHeader

# Position along z and value of its last decimal, mm.
Position = tuple[float, float]


def plane_positions(
    name: str, stated: Sequence[Position | None], size_mm: float | None
) -> tuple[list[Position], list[Note]]:
    """Positions of planes that count, and what is wrong with those that do not.

    They count if each plane has one and they differ. Those that only tremble, by less than a plane, are errors of a
    stage that stood still while something else moved the focus.

    Parameters
    ----------
    name
        What messages call the stack.
    stated
        PositionZ of each plane in their order; None for none.
    size_mm
        PhysicalSizeZ, mm; None if it is not stated.

    Returns
    -------
    The positions, none if they do not count; notes.
    """
    known = [position for position in stated if position is not None]
    at = np.array([z for z, _ in known], np.float64)
    if len(at) < 2 or np.ptp(at) == 0:
        return [], []
    if len(known) < len(stated):
        text = f"{name}: PositionZ is stated for {len(known)} of {len(stated)} planes; it is not used"
        return [], [Note(Code.TAG_BAD, text)]
    steps = np.diff(at)
    moves_on = (steps > 0).all() or (steps < 0).all()
    if size_mm is not None and not moves_on and np.ptp(at) < size_mm:
        text = f"PositionZ moves by no more than {np.ptp(at):.3g} mm over {len(at)} planes"
        return [], [
            Note(
                Code.SPACING_TAG_MISMATCH, f"{name}: {text}, PhysicalSizeZ says {size_mm:.6g} mm for each; that counts"
            )
        ]
    return known, []


def placed(headers: Sequence[SliceHeader], positions: Sequence[Position], size_mm: float | None) -> list[SliceHeader]:
    """Headers with the position of each; PhysicalSizeZ becomes the distance that positions are held against."""
    return [
        dataclasses.replace(
            header, position_mm=(0.0, 0.0, z), quantum_mm=(0.0, 0.0, quantum), spacing_between_mm=size_mm
        )
        for header, (z, quantum) in zip(headers, positions, strict=True)
    ]
