"""Similarities of a window of planes, as the planes come."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, namespace, on
from gpustitch.model.arrays import Floats
from gpustitch.sections.similarity.banded import BandedCorrelation
from gpustitch.sections.similarity.options import SimilarityPlan


class WindowStream:
    """The similarities of one window of the planes.

    Parameters
    ----------
    images
        How planes are compared; windows of whole planes are so in its blocks.
    window
        Rows and columns of planes as they are compared.
    block
        Planes of a smaller window that are correlated at once.
    mask
        uint8, of the planes' shape, 0 where a pixel is not compared; None for all.
    """

    def __init__(self, images: SimilarityPlan, window: tuple[slice, slice], block: int, mask: Array | None) -> None:
        rows, columns = window
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        self._window, self._device = (slice(None), rows, columns), images.device
        self._is_whole = shape == images.shape
        self._correlation = BandedCorrelation(
            shape,
            images.max_lag,
            mask=None if mask is None else namespace(mask).ascontiguousarray(mask[window]),
            block=images.block if self._is_whole else block,
        )
        self._strips: list[Floats] = []

    def push(self, planes: Array) -> None:
        """Compare the window of some planes."""
        with on(self._device):
            own = planes if self._is_whole else namespace(planes).ascontiguousarray(planes[self._window])
            self._strips.append(self._correlation.push(own))

    def finish(self) -> Floats:
        """The half strip (n, max_lag + 1)."""
        return np.concatenate([*self._strips, self._correlation.finish()])
