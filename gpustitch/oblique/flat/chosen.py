"""Which frames a flat field is estimated from."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError

# The seed of spimstitch, so that both take the same frames.
_FRAME_SEED = 1234


def choose_frames(
    lengths: Sequence[int], n_frames: int | None, absent: Sequence[Collection[int]] | None = None
) -> tuple[npt.NDArray[np.int64], ...]:
    """Which frames of each source to take: ``n_frames`` at random of all together, always the same; None for all.

    ``absent`` names for each source the frames that are not there; they count for nothing.

    Raises
    ------
    ParameterError
        If there are no frames, or ``n_frames`` is less than one.
    """
    there = [
        np.delete(np.arange(n), sorted(gone)) for n, gone in zip(lengths, absent or [()] * len(lengths), strict=True)
    ]
    ends = np.cumsum([len(numbers) for numbers in there])
    total = int(ends[-1]) if len(ends) else 0
    if total < 1:
        raise ParameterError("the inputs hold no frames")
    taken = np.arange(total)
    if n_frames is not None:
        if n_frames < 1:
            raise ParameterError(f"`n_frames` is {n_frames}, but it must be at least 1")
        taken = np.sort(np.random.RandomState(_FRAME_SEED).choice(total, min(n_frames, total), replace=False))
    parts = np.split(taken, np.searchsorted(taken, ends[:-1]))
    return tuple(numbers[part - end] for part, end, numbers in zip(parts, ends, there, strict=True))
