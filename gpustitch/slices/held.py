"""Whether float32 holds the values of pixels that are read as it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError


def check_held(held: npt.NDArray[np.float32], values: npt.NDArray[np.number], path: Path, *, is_whole: bool) -> None:
    """Refuse values that float32 does not hold: whole numbers that change, and finite ones that become infinite.

    Parameters
    ----------
    held
        The values as float32.
    values
        As they are, of the same shape.
    path
        File of the slice, for messages.
    is_whole
        They are whole numbers, none of which may change. Real ones are rounded.

    Raises
    ------
    ParameterError
        If some are not held.
    """
    if is_whole:
        if (held.astype(np.float64) != values).any():
            most = np.abs(values.astype(np.float64)).max()
            raise ParameterError(
                f"{path} holds whole numbers up to {most:.0f}; not all fit float32, which such slices are read as"
            )
        return
    lost = np.isinf(held) & np.isfinite(values)
    if lost.any():
        most = np.abs(values[lost]).max()
        raise ParameterError(
            f"{path} holds numbers up to {most:g}; float32, which such slices are read as, ends at 3.4e38"
        )
