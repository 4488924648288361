"""How many bytes of a device's memory the sweep of a band takes, stated before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array.drain import N_BEING_MADE
from gpustitch.array.feed import N_PLACES
from gpustitch.array.stated import Shaped
from gpustitch.model import ZYX, Box, PlacedVolume
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.device_bytes import corrected_bytes
from gpustitch.oblique.stream.emission import TOGETHER_BYTES
from gpustitch.oblique.stream.intake import PIECE_FRAMES
from gpustitch.oblique.stream.lane import Lane
from gpustitch.oblique.stream.ring import pieces_of
from gpustitch.oblique.stream.sweep import BATCH_FRAMES
from gpustitch.oblique.stream.windows import window_of

# Bytes of the tables of a tile for each plane and row.
_TABLE_BYTES = 256


@dataclass(frozen=True)
class OnDevice:
    """What a sweep holds on a device: placed tiles of raw frames, and how blocks are cut out of them.

    ``drift`` is that of all planes; ``coarse`` voxels are made of each one for the coarser levels.
    """

    tiles: Sequence[PlacedVolume]
    drift: npt.NDArray[np.int64]
    dtype: np.dtype[Any]
    block_shape: ZYX
    piece: int
    coarse: float

    def bytes_of(self, band: Box) -> int:
        """At most the bytes that the sweep of a band takes."""
        lanes = [*self._lanes(band)]
        batch = [BATCH_FRAMES + lane.reach[1] - lane.reach[0] for lane in lanes]
        frames = [math.prod(lane.window.shape[:2]) * lane.volume.dtype.itemsize for lane in lanes]
        rooms = 2 * sum(n * n_bytes for n, n_bytes in zip(batch, frames, strict=True))
        places = N_PLACES * PIECE_FRAMES * max((lane.raw_bytes for lane in lanes), default=0)
        corrected = max((_corrected_bytes(lane) + PIECE_FRAMES * lane.turned_bytes for lane in lanes), default=0)
        tables = _TABLE_BYTES * len(lanes) * (band.shape[0] + band.shape[1])
        return rooms + places + corrected + tables + self._fused_bytes(band) + self._boxes_bytes(band)

    def _lanes(self, band: Box) -> Iterator[Lane]:
        drift = self.drift[band.start[0] : band.stop[0]]
        for number, tile in enumerate(self.tiles):
            if isinstance(tile.volume, ObliqueTile) and not window_of(tile, band).is_empty:
                yield Lane(number, tile, tile.volume, band, drift)

    def _fused_bytes(self, band: Box) -> int:
        """The ring of fused frames: one piece more than there must be."""
        depth, _, width = self.block_shape
        drift = self.drift[band.start[0] : band.stop[0]]
        reach = width + max(int(np.ptp(drift[z : z + depth])) for z in range(0, len(drift), depth))
        return (pieces_of(reach, self.piece) + 1) * self.piece * band.shape[0] * band.shape[1] * self.dtype.itemsize

    def _boxes_bytes(self, band: Box) -> int:
        """Boxes that are put upright together, with their levels twice: as they are made, and as they are fetched."""
        depth, _, width = self.block_shape
        box = min(depth, band.shape[0]) * band.shape[1] * width * self.dtype.itemsize
        together = max(box, min(TOGETHER_BYTES, box * -(-band.shape[0] // depth)))
        return int(N_BEING_MADE * together * (1 + 2 * self.coarse))


def _corrected_bytes(lane: Lane) -> int:
    """What a lane's correction takes of the frames that are corrected at a time, and its flat."""
    correction = lane.volume.correction
    if correction is None:
        return 0
    frames = Shaped((PIECE_FRAMES, *lane.raw_shape), lane.raw_dtype)
    return corrected_bytes(correction, frames) + 4 * math.prod(lane.raw_shape)
