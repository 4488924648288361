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


def narrowest_band(x: Floats, y: Floats, errors: Floats | float = 0.0) -> tuple[float, float]:
    """Slope and half height of the lowest band between two parallel lines that holds all points.

    Parameters
    ----------
    x, y
        float64 (n,), n >= 2, ``x`` strictly ascending.
    errors
        Of y, for each point or all: no point needs to be nearer to the band than this.

    Returns
    -------
    Slope; half of the band's height along y: 0 for points on a line, less if the errors leave room for several lines.

    Notes
    -----
    The height of the band is a convex, piecewise linear function of its slope. Its corners are the slopes of the edges
    of the convex hull.
    """
    return _narrowest(_Hull.of(x, y, errors))


def _narrowest(hull: _Hull) -> tuple[float, float]:
    """Slope and half width of the narrowest band that holds a convex hull; its width has one minimum over slopes."""
    slopes = sorted(
        (y[i + 1] - y[i]) / (x[i + 1] - x[i]) for x, y in (hull.upper, hull.lower) for i in range(len(x) - 1)
    )
    low, high = 0, len(slopes) - 1
    while high - low > 2:
        third = (high - low) // 3
        if hull.height(slopes[low + third]) <= hull.height(slopes[high - third]):
            high -= third
        else:
            low += third
    half, slope = min((hull.height(slope) / 2, slope) for slope in slopes[low : high + 1])
    return slope, half


def band_slopes(x: Floats, y: Floats, half: float, errors: Floats | float = 0.0) -> tuple[float, float]:
    """Least and greatest slope of a band of a given half height that holds all points.

    Parameters
    ----------
    x, y
        float64 (n,), n >= 2, ``x`` strictly ascending.
    half
        Half height, no less than that of :func:`narrowest_band` with these errors.
    errors
        Of y, for each point or all.
    """
    hull = _Hull.of(x, y, errors)
    best, _ = _narrowest(hull)
    # The first and the last point lie at most half and their error off the line: no slopes differ by more than this.
    first, last = np.broadcast_to(errors, x.shape)[[0, -1]]
    reach = 2 * (2 * half + float(first + last)) / float(x[-1] - x[0]) + 1e-300
    ends = []
    for side in (-1.0, 1.0):
        inside, outside = best, best + side * reach
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if middle == inside:
                break
            if hull.height(middle) <= 2 * half:
                inside = middle
            else:
                outside = middle
        ends.append(inside)
    return ends[0], ends[1]


@dataclass(frozen=True)
class _Hull:
    """The points (x, y) on the upper and on the lower side of the convex hull, from left to right.

    Those of the upper side are lower by their errors, those of the lower side higher. They are few, and plain numbers
    then take less time than arrays.
    """

    upper: tuple[list[float], list[float]]
    lower: tuple[list[float], list[float]]

    @classmethod
    def of(cls, x: Floats, y: Floats, errors: Floats | float) -> _Hull:
        lower_x, lower_y = _chain(x.tolist(), (-y - errors).tolist())
        return cls(_chain(x.tolist(), (y - errors).tolist()), (lower_x, [-value for value in lower_y]))

    def height(self, slope: float) -> float:
        """Height along y of the band of a slope."""
        (upper_x, upper_y), (lower_x, lower_y) = self.upper, self.lower
        top = max([y - slope * x for x, y in zip(upper_x, upper_y, strict=True)])
        return top - min([y - slope * x for x, y in zip(lower_x, lower_y, strict=True)])


def _chain(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """The points on the upper side of the convex hull, from left to right."""
    chain_x, chain_y = x[:1], y[:1]
    for here_x, here_y in zip(x[1:], y[1:], strict=True):
        while len(chain_x) > 1:
            first_x, first_y = chain_x[-2], chain_y[-2]
            if (chain_y[-1] - first_y) * (here_x - first_x) > (here_y - first_y) * (chain_x[-1] - first_x):
                break
            chain_x.pop(), chain_y.pop()
        chain_x.append(here_x)
        chain_y.append(here_y)
    return chain_x, chain_y
