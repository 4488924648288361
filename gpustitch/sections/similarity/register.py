"""Planes of a series brought into register across the plane, one after another, before they are compared.

A plane is laid on a running mean of those before it (the reference), which forgets half of itself with each plane. So
planes that are compared lie on each other, and one that is damaged is soon forgotten. Their distance is found on a
texture: the plane less what is coarse and what is finest in it.

1. The peak of the cross-correlation with the reference gives a shift, if it is too high for chance.
2. Steps of Gauss and Newton make it one between pixels, then a polynomial of the degree that is asked for.

Drift. Where shifts add up along the series, planes would leave the frame of the first one. So the frame follows: it
wraps, as a drum does. A pixel far to the right comes to lie at the left once nothing is compared there any more.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from gpustitch.array import Array, namespace
from gpustitch.model.arrays import Floats
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.displaced import Displacement, moved
from gpustitch.sections.similarity.laid import DisplacementFit, texture_of

# What is kept of the reference with each plane, and of the displacement that is expected.
_KEPT = 0.5
# Pixels that shifts are found on; larger planes are made smaller for that.
MOST_PIXELS = 1 << 20


class Registration:
    """Brings planes that come in order into register.

    Parameters
    ----------
    shape
        (rows, columns) of a plane.
    reach_px
        Greatest shift against the planes before, in pixels.
    degree
        Degree of the displacement: 0 for shifts alone.
    max_lag
        Greatest distance of planes that are compared: the frame follows a drift only so fast.
    follows
        Whether the frame follows a drift. If not, planes stay where the first one lay.
    """

    def __init__(
        self, shape: tuple[int, int], reach_px: float, degree: int, max_lag: int, *, follows: bool = True
    ) -> None:
        # Further apart, planes share nothing.
        self._shape, self._reach, self._follows = shape, min(reach_px, max(shape)), follows
        self._factor = max(1, math.ceil(math.sqrt(math.prod(shape) / MOST_PIXELS)))
        small = (shape[0] // self._factor, shape[1] // self._factor)
        self._small, self._large = Displacement(small, degree), Displacement(shape, degree)
        self._fit = DisplacementFit(self._small)
        self._expected = self._small.zeros()
        self._reference: Array | None = None
        self._reference_used: Array | None = None
        self._origins: deque[tuple[int, int]] = deque([(0, 0)], max_lag + 1)
        self.displacement = self._large.zeros()

    def push(self, plane: Array) -> Array:
        """The next plane in register: float32 (rows, columns), NaN where it is not used.

        ``plane`` is (rows, columns) of uint8, uint16 or float32; NaN and infinite pixels are not used.
        """
        plane = plane.astype(np.float32)
        small = plane if self._factor == 1 else bin_planes(plane[None], (self._factor, self._factor))[0]
        texture, used = texture_of(small)
        if self._reference is None or self._reference_used is None:
            self._reference, self._reference_used = texture, used
            return plane
        found = self._fit.found(self._reference, self._reference_used, texture, used, self._expected, self._small_reach)
        found = self._followed(found)
        values, is_used = moved(texture, 1 - used, self._small, found)
        self._remember(values, is_used)
        self._expected = _KEPT * self._expected + (1 - _KEPT) * found
        self.displacement = found * self._factor
        return self._placed(plane)

    @property
    def _small_reach(self) -> int:
        return max(1, math.ceil(self._reach / self._factor))

    def _remember(self, values: Array, is_used: Array | None) -> None:
        """The plane becomes a part of the reference."""
        xp = namespace(values)
        before, before_used = self._reference, self._reference_used
        assert before is not None and before_used is not None
        now = xp.ones(values.shape, np.float32) if is_used is None else is_used.astype(np.float32)
        part = xp.where(before_used > 0, np.float32(1 - _KEPT), np.float32(1)) * now
        self._reference = before + part * (values - before)
        self._reference_used = xp.maximum(before_used, now)

    def _followed(self, found: Floats) -> Floats:
        """The displacement in the frame of this plane, which may differ from that of the last one."""
        step = np.where(np.abs(found[:, 0]) > self._small_reach, np.rint(found[:, 0]), 0).astype(int)
        last = self._origins[-1]
        if not self._follows or not step.any():
            self._origins.append(last)
            return found
        factor = self._factor
        self._origins.append((last[0] - int(step[0]) * factor, last[1] - int(step[1]) * factor))
        assert self._reference is not None and self._reference_used is not None
        for name in ("_reference", "_reference_used"):
            setattr(self, name, _rolled_out(getattr(self, name), (-int(step[0]), -int(step[1]))))
        self._expected[:, 0] -= step
        found = found.copy()
        found[:, 0] -= step
        return found

    def _placed(self, plane: Array) -> Array:
        """The plane at its displacement in the wrapped frame."""
        xp = namespace(plane)
        finite = xp.isfinite(plane)
        unused = None
        if not bool(finite.all()):
            mean = plane[finite].mean() if bool(finite.any()) else np.float32(0)
            unused = (~finite).astype(np.float32)
            plane = xp.where(finite, plane, mean)
        values, is_used = moved(plane, unused, self._large, self.displacement)
        if is_used is not None:
            values = xp.where(is_used, values, np.float32(np.nan))
        origin = self._origins[-1]
        if origin == (0, 0) and not any(any(o) for o in self._origins):
            return values
        for axis in (0, 1):
            n = self._shape[axis]
            # The frame of planes before it: what they lacked then is not compared, as they have other pixels there.
            first = max(0, *(o[axis] - origin[axis] for o in self._origins))
            stop = min(n, *(o[axis] + n - origin[axis] for o in self._origins))
            outside = np.ones(n, bool)
            outside[first : max(stop, first)] = False
            values = values.copy()
            values[(slice(None),) * axis + (xp.asarray(outside),)] = np.nan
        return xp.roll(values, (origin[0] % self._shape[0], origin[1] % self._shape[1]), (0, 1))  # type: ignore[no-any-return]


def _rolled_out(plane: Array, by: tuple[int, int]) -> Array:
    """A plane moved by whole pixels, 0 where nothing comes from."""
    xp = namespace(plane)
    out = xp.roll(plane, by, (0, 1))
    for axis, step in enumerate(by):
        n = plane.shape[axis]
        gone = slice(0, min(step, n)) if step > 0 else slice(max(n + step, 0), n)
        if step:
            out[(slice(None),) * axis + (gone,)] = 0
    return out  # type: ignore[no-any-return]
