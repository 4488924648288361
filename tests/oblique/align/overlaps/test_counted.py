from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from gpustitch.model import Mosaic, ObliqueScan, TilePath
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.deskew.tile import ObliqueTile


class Watched:
    """Frames of a tile that lies at (frame, row, column) of an endless specimen; they count the bytes read."""

    absent: frozenset[int] = frozenset()
    dtype = np.dtype(np.uint16)

    def __init__(self, specimen: np.ndarray, shape: tuple[int, int, int], at: tuple[int, int, int]) -> None:
        self.shape, self.n_bytes, self._specimen, self._at = shape, 0, specimen, at

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        ranges = (range(start, stop), range(self.shape[1])[rows], range(self.shape[2])[columns])
        self.n_bytes += 2 * math.prod(len(r) for r in ranges)
        places = [(np.array(r) + a) % n for r, a, n in zip(ranges, self._at, self._specimen.shape, strict=True)]
        return self._specimen[np.ix_(*places)]


def test_a_small_part_of_large_tiles_is_read_and_every_byte_of_it_is_counted() -> None:
    specimen = np.random.default_rng(0).integers(100, 1100, (61, 67, 71), np.uint16)
    scan = ObliqueScan(4800, 2048, 96, 1.8, 1.8 / math.sqrt(2), 45.0)
    frames = [Watched(specimen, (4800, 2048, 96), at) for at in ((0, 0, 0), (3840, 2, 0))]
    tiles = [TilePath(Path("a"), (0.0, 0.0, 0.0)), TilePath(Path("b"), (round(3840 * scan.step_um, 1), 0.0, 0.0))]
    volumes = {tile.name: ObliqueTile(f, scan) for tile, f in zip(tiles, frames, strict=True)}
    matching = MatchOptions(sample_count=4)
    options = AlignOptions(
        mosaic=Mosaic(tuple(tiles)), volumes=volumes, matching=matching, n_workers=1, allow_unaligned=True
    )
    result = align.run(align.plan(options))
    read, recorded = sum(f.n_bytes for f in frames), result.record.provenance
    assert recorded["bytes_of_tiles"] == 2 * 2 * 4800 * 2048 * 96
    assert read <= 0.05 * recorded["bytes_of_tiles"]
    assert read <= recorded["bytes_read"] <= 1.3 * read
