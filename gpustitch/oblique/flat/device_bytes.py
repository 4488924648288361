"""Device memory of making and applying a flat field: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gpustitch.array.stated import Shaped, states
from gpustitch.array.transfer import AT_ONCE
from gpustitch.errors import ParameterError
from gpustitch.oblique.flat.flatfield import flattened, inverse_flat, normalized_flat
from gpustitch.oblique.flat.percentiles import Binning, Chosen, percentiles_of

_WRITTEN = ("uint8", "uint16", "float32")
# What is counted does not matter for memory.
_NO_BINS = Binning(0.0, 1, 1, 0)


@states(normalized_flat)
def normalized_flat_bytes(flat: Shaped) -> int:
    """The image in float64, and its quotient."""
    return 16 * flat.size


@states(inverse_flat)
def inverse_flat_bytes(flat: Shaped) -> int:
    """Where it is lit, its values there, and their inverse."""
    return flat.size * (1 + 2 * max(4, flat.dtype.itemsize) + 4)


@states(flattened)
def flattened_bytes(
    images: Shaped,
    gain: Shaped,
    dtype: np.dtype[Any],
    dark: float,
    *,
    truncate: bool = False,
    room: Shaped | None = None,
) -> int:
    """The result; for types that no body writes also float32, and for whole numbers of these two of float64."""
    if dtype.name in _WRITTEN:
        return 0 if room is not None and room.dtype == dtype else images.size * dtype.itemsize
    return images.size * (4 + dtype.itemsize + (0 if dtype.kind == "f" else 16))


@states(percentiles_of)
def percentiles_of_bytes(
    frames: Shaped, sizes: tuple[int, ...], binning: Binning, first: int = 0, step: int = 1
) -> int:
    """Counts and bins of each pixel, or those of a half and its frames where these are some of all pixels."""
    _, rows, columns = frames.shape
    some = -(-max(0, rows - first) // step) * -(-columns // step)
    half = max(sum(sizes[:2]), sum(sizes[2:])) * some * frames.dtype.itemsize if step > 1 else 0
    return max(8 * rows * columns, half + 8 * some)


def within_device(chosen: Chosen) -> Chosen:
    """The same frames, in bands of which the device's memory holds as many as threads work on at a time.

    Raises
    ------
    ParameterError
        If it does not hold bands of one row.
    """
    most, n_at_once = chosen.device.memory_bytes, min(chosen.n_workers, AT_ONCE)
    if not chosen.device.is_cuda or most is None:
        return chosen

    def needed(rows: int) -> int:
        of_grid = (-(-n // chosen.grid) for n in (rows, chosen.frame_shape[1]))
        frames = Shaped((chosen.n_frames, *of_grid), chosen.sources[0].dtype)
        step = chosen.step // chosen.grid
        return n_at_once * (frames.nbytes + percentiles_of_bytes(frames, (chosen.n_frames,), _NO_BINS, step=step))

    rows = chosen.band_rows
    while needed(rows) > most:
        if rows == 1:
            raise ParameterError(
                f"rows of {chosen.n_frames} frames take {needed(1):,} bytes of the device's memory, and may take "
                f"{most:,}; allow more (`device_memory_bytes`), or take fewer `n_frames`"
            )
        rows = min(rows - 1, max(1, rows * most // needed(rows)))
    return replace(chosen, band_rows=rows)
