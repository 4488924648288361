"""Half-open boxes of voxels, axes ZYX."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ZYX = tuple[int, int, int]


def _triple(values: Sequence[int]) -> ZYX:
    z, y, x = values
    return int(z), int(y), int(x)


@dataclass(frozen=True)
class Box:
    """Voxels ``start <= index < stop`` on each of the axes (z, y, x); empty where ``stop <= start``.

    Parameters
    ----------
    start
        First voxel (z, y, x).
    stop
        The voxel (z, y, x) after the last one.

    Examples
    --------
    >>> box = Box((0, 10, 20), (5, 30, 60))
    >>> box.shape, box.intersect(Box((4, 0, 0), (9, 20, 30)))
    ((5, 20, 40), Box(start=(4, 10, 20), stop=(5, 20, 30)))
    """

    start: ZYX
    stop: ZYX

    @classmethod
    def of_shape(cls, shape: Sequence[int], start: Sequence[int] = (0, 0, 0)) -> Box:
        """The box of the given shape that begins at ``start``."""
        return cls(_triple(start), _triple([a + n for a, n in zip(start, shape, strict=True)]))

    @property
    def shape(self) -> ZYX:
        """Length of each axis, 0 where the box is empty."""
        return _triple([max(0, b - a) for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def size(self) -> int:
        """Number of voxels."""
        z, y, x = self.shape
        return z * y * x

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no voxel."""
        return self.size == 0

    def intersect(self, other: Box) -> Box:
        """The box of the voxels that both boxes hold; it may be empty."""
        return Box(
            _triple([max(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            _triple([min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    def hull(self, other: Box) -> Box:
        """The smallest box around two boxes that are not empty."""
        return Box(
            _triple([min(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            _triple([max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    def contains(self, other: Box) -> bool:
        """Whether every voxel of ``other`` is in this box; true if ``other`` is empty."""
        return other.is_empty or self.intersect(other) == other

    def shift(self, offset: Sequence[int]) -> Box:
        """The box moved by ``offset`` voxels."""
        return Box(
            _triple([a + d for a, d in zip(self.start, offset, strict=True)]),
            _triple([b + d for b, d in zip(self.stop, offset, strict=True)]),
        )

    def pad(self, halo: Sequence[int]) -> Box:
        """The box grown by ``halo`` voxels on both sides of each axis; a negative halo shrinks it."""
        return Box(
            _triple([a - d for a, d in zip(self.start, halo, strict=True)]),
            _triple([b + d for b, d in zip(self.stop, halo, strict=True)]),
        )

    def slices(self, origin: Sequence[int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Slices that cut this box out of an array whose first voxel is ``origin``.

        Raises
        ------
        ValueError
            If the box holds voxels before the origin: a slice would take them from the array's end.
        """
        if not self.is_empty and any(a < o for a, o in zip(self.start, origin, strict=True)):
            raise ValueError(f"{self} begins before the array's first voxel {tuple(origin)}")
        first = [max(0, a - o) for a, o in zip(self.start, origin, strict=True)]
        z, y, x = (slice(a, a + n) for a, n in zip(first, self.shape, strict=True))
        return z, y, x

    def blocks(self, shape: Sequence[int]) -> Iterator[Box]:
        """Cut the box into blocks aligned to multiples of ``shape``, z slowest; border blocks are smaller."""
        starts = [
            range(a // n * n, b, n) if b > a else range(0) for a, b, n in zip(self.start, self.stop, shape, strict=True)
        ]
        for corner in itertools.product(*starts):
            yield Box.of_shape(shape, corner).intersect(self)
