"""Lines through points whose errors are bounded, or small: for positions that were written with few decimals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats

# More than float64 has bits.
_HALVINGS = 60


def least_squares_line(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Slope, intercept, and standard error of the slope (0 for two points).

    Parameters
    ----------
    x, y
        float64 (n,), n >= 2, ``x`` not all equal.
    """
    x_mean, y_mean = float(x.mean()), float(y.mean())
    dx, dy = x - x_mean, y - y_mean
    square = float(dx @ dx)
    slope = float(dx @ dy) / square
    rest = dy - slope * dx
    freedom = len(x) - 2
    error = float(np.sqrt(rest @ rest / freedom / square)) if freedom > 0 else 0.0
    return slope, y_mean - slope * x_mean, error


def narrowest_band(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and half height of the lowest band between two parallel lines that holds all points.

    Parameters
    ----------
    x, y
        float64 (n,), n >= 2, ``x`` strictly ascending.

    Returns
    -------
    Slope; half of the band's height along y, 0 for points on a line.

    Notes
    -----
    The height of the band is a convex, piecewise linear function of its slope. Its corners are the slopes of the edges
    of the convex hull.
    """
    return _narrowest(_Hull.of(x, y))


def _narrowest(hull: _Hull) -> tuple[float, float]:
    slopes = np.concatenate([np.diff(y) / np.diff(x) for x, y in (hull.upper, hull.lower)])
    low, high = 0, len(slopes) - 1
    slopes.sort()
    while high - low > 2:
        third = (high - low) // 3
        if hull.height(slopes[low + third]) <= hull.height(slopes[high - third]):
            high -= third
        else:
            low += third
    heights = [hull.height(slope) for slope in slopes[low : high + 1]]
    best = int(np.argmin(heights))
    return float(slopes[low + best]), heights[best] / 2


def band_slopes(x: Floats, y: Floats, half: float) -> tuple[float, float]:
    """Least and greatest slope of a band of a given half height that holds all points.

    Parameters
    ----------
    x, y
        float64 (n,), n >= 2, ``x`` strictly ascending.
    half
        Half height, no less than that of :func:`narrowest_band`.
    """
    hull = _Hull.of(x, y)
    best, _ = _narrowest(hull)
    # The first and the last point lie at most 2 half off the line: no two slopes differ by more than this.
    reach = 4 * half / float(x[-1] - x[0]) + 1e-300
    ends = []
    for side in (-1.0, 1.0):
        inside, outside = best, best + side * reach
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if hull.height(middle) <= 2 * half:
                inside = middle
            else:
                outside = middle
        ends.append(inside)
    return ends[0], ends[1]


@dataclass(frozen=True)
class _Hull:
    """The points (x, y) on the upper and on the lower side of the convex hull, from left to right."""

    upper: tuple[Floats, Floats]
    lower: tuple[Floats, Floats]

    @classmethod
    def of(cls, x: Floats, y: Floats) -> _Hull:
        upper, lower = _chain(x, y, 1.0), _chain(x, y, -1.0)
        return cls((x[upper], y[upper]), (x[lower], y[lower]))

    def height(self, slope: float) -> float:
        """Height along y of the band of a slope."""
        (upper_x, upper_y), (lower_x, lower_y) = self.upper, self.lower
        return float((upper_y - slope * upper_x).max() - (lower_y - slope * lower_x).min())


def _chain(x: Floats, y: Floats, sign: float) -> list[int]:
    """Numbers of the points on the upper (1) or lower (-1) side of the convex hull, from left to right."""
    px, py = x.tolist(), (sign * y).tolist()
    chain: list[int] = []
    for i in range(len(px)):
        while len(chain) > 1:
            a, b = chain[-2], chain[-1]
            if (py[b] - py[a]) * (px[i] - px[a]) > (py[i] - py[a]) * (px[b] - px[a]):
                break
            chain.pop()
        chain.append(i)
    return chain
