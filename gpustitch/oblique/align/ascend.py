"""Walk a window uphill in correlation over another volume, and find the peak between voxels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array
from gpustitch.errors import ParameterError
from gpustitch.model import ZYX
from gpustitch.model.arrays import Bools, Floats
from gpustitch.oblique.align.correlate import pearson_shifts
from gpustitch.ops.rounding import FLAT

# Correlations below this part of the middle one, or below this, are far from the peak: they count as that much.
_LEAST_PART, _LEAST_CORRELATION = 0.2, 1e-3
# A peak that is flatter, per voxel squared, tells nothing.
_FLATTEST = 1e-4
# Steps after which a walk gives up.
MAX_STEPS = 100
_SHIFTS = list(itertools.product((-1, 0, 1), repeat=3))


@dataclass(frozen=True)
class Summit:
    """Where one walk ended.

    ``position`` is the first voxel (z, y, x), in the moving array, of the window that correlates best.
    ``around`` holds the correlations at the 27 shifts about ``position``, shape (3, 3, 3). ``settled`` is false where
    the walk would have left the array or ran out of steps. ``around`` then belongs to the last position with all 27
    correlations known, or is all 0 if there was none.
    """

    position: ZYX
    around: npt.NDArray[np.float64]
    settled: bool

    @property
    def correlation(self) -> float:
        """Correlation at ``position``."""
        return float(self.around[1, 1, 1])


class _Walk:
    def __init__(self, fixed: Array, moving: Array, start: ZYX) -> None:
        self.fixed, self.moving, self.position = fixed, moving, start
        self.known: dict[ZYX, float] = {}
        self.around = np.zeros((3, 3, 3))
        self.settled = False
        self.walking = self.has_room()

    def has_room(self) -> bool:
        room = zip(self.position, self.fixed.shape, self.moving.shape, strict=True)
        return all(p >= 1 and p + n + 1 <= m for p, n, m in room)

    def neighbours(self) -> list[ZYX]:
        z, y, x = self.position
        return [(z + dz, y + dy, x + dx) for dz, dy, dx in _SHIFTS]

    def wanted(self) -> list[bool]:
        """Which of the 27 correlations about the position are not known."""
        return [n not in self.known for n in self.neighbours()] if self.known else [True] * 27

    def window(self) -> Array:
        cut = (slice(p - 1, p + n + 1) for p, n in zip(self.position, self.fixed.shape, strict=True))
        return self.moving[tuple(cut)]

    def learn(self, correlations: npt.NDArray[np.float64]) -> None:
        neighbours = self.neighbours()
        for neighbour, value in zip(neighbours, correlations.ravel().tolist(), strict=True):
            self.known.setdefault(neighbour, value)
        self.around = np.array([self.known[n] for n in neighbours]).reshape(3, 3, 3)
        highest = float(self.around.max())
        if highest > self.known[self.position]:
            self.position = next(n for n in neighbours if self.known[n] == highest)
            self.walking = self.has_room()
        else:
            self.walking, self.settled = False, True


def ascend(
    fixed: Sequence[Array], moving: Sequence[Array], start: Sequence[ZYX], *, max_steps: int = MAX_STEPS
) -> list[Summit]:
    """Move each window to the best of its 26 neighbours until it stays, on the host.

    Parameters
    ----------
    fixed
        Windows of one shape (z, y, x), float32.
    moving
        For each window the array to search, float32, any shapes.
    start
        For each window the voxel (z, y, x) of the moving array at which the first compared window begins.
    max_steps
        Steps after which a walk gives up.

    Returns
    -------
    list of Summit
        One for each window.

    Raises
    ------
    ParameterError
        If the sequences differ in length or the windows in shape.

    Notes
    -----
    No correlation is computed twice. A step across a face, an edge or a corner needs 9, 15 or 19 new correlations
    instead of 27.
    """
    if not len(fixed) == len(moving) == len(start) or len({f.shape for f in fixed}) > 1:
        raise ParameterError(
            f"`fixed`, `moving` and `start` must be equally long, not {len(fixed)}, {len(moving)} and {len(start)}; "
            f"all windows must have one shape, not {sorted({f.shape for f in fixed})}"
        )
    walks = [_Walk(f, m, s) for f, m, s in zip(fixed, moving, start, strict=True)]
    for _ in range(max_steps):
        active = [w for w in walks if w.walking]
        if not active:
            break
        _step(active)
    return [Summit(w.position, w.around, w.settled) for w in walks]


def _step(walks: list[_Walk]) -> None:
    wanted = np.array([w.wanted() for w in walks], np.uint8).reshape(-1, 3, 3, 3)
    out = np.zeros(wanted.shape)
    fixed = np.stack([w.fixed for w in walks])
    moving = np.stack([w.window() for w in walks])
    pearson_shifts(fixed, moving, wanted, out)
    for walk, correlations in zip(walks, out, strict=True):
        walk.learn(correlations)


def peak(around: npt.ArrayLike) -> tuple[float, float, float]:
    """Sub-voxel position of the maximum of 27 correlations, relative to the middle one.

    Weighted least squares fit a quadratic in three variables, with all mixed terms, to the 27 values. The weights
    fall off towards the corners, where a correlation peak is no longer a parabola.

    Parameters
    ----------
    around
        Correlations, shape (3, 3, 3).

    Returns
    -------
    tuple
        (z, y, x), each within -1..1; zeros where the values have no maximum. Then the quadratic is not concave, or by
        no more than rounding.
    """
    values = np.asarray(around, dtype=np.float64).reshape(1, 27)
    c = _coefficients(values)
    hessian = _hessian(c)
    if not np.isfinite(hessian).all():
        return 0.0, 0.0, 0.0
    greatest: Floats = np.asarray(np.linalg.eigvalsh(hessian)[:, -1], np.float64)
    z, y, x = np.clip(_tops(c, hessian, greatest, values)[0][0], -1, 1).tolist()
    return z, y, x


def _tops(c: Floats, hessian: Floats, greatest: Floats, values: Floats) -> tuple[Floats, Bools]:
    """Where quadratics have their maxima (n, 3), and whether (n,), given the ``greatest`` of their second derivatives.

    Zeros for none.
    """
    tops = np.zeros((len(c), 3))
    is_top = greatest < -FLAT * np.abs(values).max(axis=1)
    tops[is_top] = np.linalg.solve(hessian[is_top], -c[is_top, 1:4, None])[..., 0]
    return tops, is_top


@dataclass(frozen=True)
class Between:
    """A peak of correlation between voxels.

    ``place`` (z, y, x) is relative to the middle voxel. ``spread`` (3, 3) is its covariance, if the peak were a
    Gaussian: how far it reaches, voxels squared, large along what the voxels do not tell. ``beyond`` (z, y, x) is by
    how much more than a voxel the peak seems to be away, its reach if there is none: along fibres walks stop anywhere.
    """

    place: tuple[float, float, float]
    spread: tuple[tuple[float, float, float], ...]
    beyond: tuple[float, float, float] = (0.0, 0.0, 0.0)


def peak_of_correlation(around: npt.ArrayLike) -> Between:
    """As :func:`peak`, for correlations of structures as narrow as a few voxels.

    Their peak is rather a Gaussian: a quadratic is fitted to the logarithms. Fitted to the values themselves, it would
    draw the peak to the middle, and to the side where structures are slanted against the axes.
    """
    return peaks_of_correlation([around])[0]


def peaks_of_correlation(arounds: Sequence[npt.ArrayLike]) -> list[Between]:
    """The peak of each of many sets of 27 correlations, as :func:`peak_of_correlation` finds it."""
    values = np.array([np.asarray(around, np.float64).reshape(27) for around in arounds]).reshape(-1, 27)
    logs = np.log(np.maximum(values, np.maximum(_LEAST_PART * values[:, 13:14], _LEAST_CORRELATION)))
    c = _coefficients(logs)
    hessian = _hessian(c)
    steepness, axes = np.linalg.eigh(-hessian)
    spreads = axes / np.maximum(steepness, _FLATTEST)[:, None] @ axes.swapaxes(1, 2)
    tops, is_top = _tops(c, hessian, -steepness[:, 0], logs)
    places = np.clip(tops, -1, 1)
    reaches = np.sqrt(np.diagonal(spreads, axis1=1, axis2=2))
    beyond = np.where(is_top[:, None], np.abs(tops - places), reaches)
    return [
        Between((z, y, x), tuple((a, b, c) for a, b, c in spread), (far[0], far[1], far[2]))
        for (z, y, x), spread, far in zip(places.tolist(), spreads.tolist(), beyond.tolist(), strict=True)
    ]


def _coefficients(values: Floats) -> Floats:
    """Coefficients (n, 10) of the quadratics that fit values (n, 27), of each by itself: no sum depends on n."""
    return np.asarray(np.matmul(_FIT, values[:, :, None])[..., 0])


def _hessian(c: Floats) -> Floats:
    """Second derivatives (n, 3, 3) of quadratics of coefficients (n, 10) as :func:`_quadratic_fit` finds them."""
    z, y, x, zy, zx, yx = (c[:, k] for k in range(4, 10))
    return np.array([[2 * z, zy, zx], [zy, 2 * y, yx], [zx, yx, 2 * x]]).transpose(2, 0, 1)


def _quadratic_fit() -> npt.NDArray[np.float64]:
    """Matrix (10, 27) from 27 values to the coefficients of 1, z, y, x, z², y², x², zy, zx, yx."""
    z, y, x = np.array(_SHIFTS, dtype=np.float64).T
    terms = np.column_stack([np.ones(27), z, y, x, z * z, y * y, x * x, z * y, z * x, y * x])
    weights = np.exp(-2 * (z**2 + y**2 + x**2))[:, None]
    return np.asarray(np.linalg.pinv(terms * weights) * weights.T)


_FIT = _quadratic_fit()
