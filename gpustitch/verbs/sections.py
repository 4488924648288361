"""Steps on serial sections: how alike they are, where they lie, what is wrong, evenly spaced planes of them."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace
from gpustitch.errors import ParameterError
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.patches import PatchSimilarities
from gpustitch.regrid.plan import FILLED, GAP, OUTSIDE, ZGrid, plan_z, planes_within, sorted_series
from gpustitch.regrid.zresample import planes_between
from gpustitch.sections.faults.find import SectionFault
from gpustitch.sections.faults.find import find_faults as faults_in
from gpustitch.sections.model import Estimate, EstimateOptions
from gpustitch.sections.positions import stage as positions_stage
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.fit_report import tell_fit
from gpustitch.sections.positions.stage import ZSpacingOptions
from gpustitch.sections.render.stage import RenderOptions
from gpustitch.sections.similarity import stage as similarity_stage
from gpustitch.sections.similarity.bands import full_matrix, undefined_planes
from gpustitch.sections.similarity.options import AutoNumber, SimilarityOptions
from gpustitch.verbs.sources import array_of, choosing, device_of, planes_of, whole_number
from gpustitch.verbs.told import TOLD, tell
from gpustitch.verbs.typed import typed

_NOWHERE = Path("the sections")
_LEAST_SECTIONS, _MOST_PLANES = 2, 1_000_000
# Options that say what is written, and how paths are opened.
_OF_FILES, _OF_PATHS = frozenset({"output", "overwrite", "report"}), frozenset({"allow_missing", "choice"})
_AS_IT_IS = (False, StackChoice())


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike sections are to those near them.

    Attributes
    ----------
    half_strip
        float64 (n, max_lag + 1): ``[i, d]`` is the similarity of sections i and i + d, NaN where there is none.
    in_plane_px
        float64 (n,): how long structures are within the sections, smooth along the series; None if that is not known.
    patches
        How similar parts of the sections are; None if that is not known.
    """

    half_strip: Floats
    in_plane_px: Floats | None = None
    patches: PatchSimilarities | None = None

    @property
    def max_lag(self) -> int:
        """Greatest distance of two sections that were compared."""
        return int(self.half_strip.shape[1]) - 1

    def matrix(self) -> Floats:
        """float64 (n, n), symmetric; NaN for sections that were not compared."""
        return full_matrix(self.half_strip)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        # NumPy 1 knows no ``copy=None``.
        strip = self.half_strip if dtype is None else self.half_strip.astype(dtype, copy=False)
        if copy is False and strip is not self.half_strip:
            raise ValueError(f"half strips of {self.half_strip.dtype} are {np.dtype(dtype)} only in a copy")
        return strip.copy() if copy and strip is self.half_strip else strip


@typed(SimilarityOptions)
def similarity(
    sections: Any,
    max_lag: int | None = SimilarityOptions.max_lag,
    *,
    register: AutoNumber = SimilarityOptions.register,
    no_data: AutoNumber = SimilarityOptions.no_data,
    high_pass: AutoNumber = SimilarityOptions.high_pass,
    **how: Any,
) -> Similarity:
    """Correlate each section with the ``max_lag`` sections after it.

    Parameters
    ----------
    sections
        (section, row, column) of any library, frames or planes, or a path.
    max_lag
        Greatest distance of two compared sections; by default 10, or less.
    register, no_data, high_pass
        Whether sections are brought over each other, empty areas left out, and uneven light taken off first:
        ``"auto"``, ``"off"`` or a number (pixels, value, pixels).
    **how
        Other fields of :class:`gpustitch.sections.similarity.options.SimilarityOptions`, such as ``scale``.

    Returns
    -------
    Similarity
        Pearson correlations, from -1 to 1: ``half_strip`` (n, max_lag + 1), ``matrix()`` (n, n).

    Raises
    ------
    ParameterError
        If an option is out of range, or there are fewer than two sections.
    DamagedInputError
        If no two sections have a similarity.

    Examples
    --------
    >>> import gpustitch as gs
    >>> alike = gs.similarity("sections.tif", 6)
    >>> alike.half_strip.shape, alike.matrix().shape
    ((48, 7), (48, 48))
    """
    max_lag = None if max_lag is None else whole_number(max_lag, "max_lag")
    options = SimilarityOptions(
        max_lag=max_lag, register=register, no_data=no_data, high_pass=high_pass, **_source(sections, how)
    )
    found = similarity_stage.run(similarity_stage.plan(options), TOLD)
    return Similarity(found.half_strip, found.in_plane_px, found.patches)


def _source(sections: Any, how: dict[str, Any]) -> dict[str, Any]:
    """Options of a stage that say what it reads; a path is opened as ``how`` says."""
    how = choosing(how)
    if isinstance(how.get("scale"), int | float):
        how["scale"] = (how["scale"], how["scale"])
    for name in _OF_FILES.intersection(how):
        raise ParameterError(f"`{name}` is of files, and none is written; write what this returns")
    if isinstance(sections, str | Path):
        return {"input": Path(sections), **how}
    for name in (name for name in _OF_PATHS.intersection(how) if how[name] not in _AS_IT_IS):
        raise ParameterError(f"`{name}` says how a path is opened, but {type(sections).__name__} is given")
    return {"input": _NOWHERE, "planes": planes_of(sections), "device": device_of(sections), **how}


@typed(ZSpacingOptions)
def z_positions(sections: Any, max_lag: int | None = None, **how: Any) -> Estimate:
    """Find where sections lie along z, and how sure that is.

    Parameters
    ----------
    sections
        (section, row, column) of any library, frames or planes, or a path; or a :class:`Similarity`.
    max_lag
        Greatest distance of two compared sections; by default 10, or less.
    **how
        Fields of :class:`gpustitch.sections.model.EstimateOptions` and, for images, those of
        :func:`gpustitch.similarity`: ``register``, ``assume``, ``compat`` ...

    Returns
    -------
    Estimate
        ``positions`` and ``uncertainty`` float64 (n,), in sections, in the order given; ``order`` along z. What is
        doubtful is a warning.

    Raises
    ------
    ParameterError
        If an option is out of range, or there are fewer than three sections.
    AlignmentError
        If nothing tells where the sections are.

    Examples
    --------
    >>> import gpustitch as gs
    >>> estimate = gs.z_positions("sections.tif", 6)
    >>> estimate.positions.shape, estimate.uncertainty.shape
    ((48,), (48,))
    """
    max_lag = None if max_lag is None else whole_number(max_lag, "max_lag")
    names = {field.name for field in dataclasses.fields(EstimateOptions)}
    estimate = EstimateOptions(**{name: value for name, value in how.items() if name in names})
    rest = {name: value for name, value in how.items() if name not in names}
    if isinstance(sections, Similarity):
        if rest:
            raise ParameterError(f"`{next(iter(rest))}` says how images are compared, but similarities are given")
        found = dataclasses.replace(estimate, max_lag=min(max_lag or sections.max_lag, sections.max_lag))
        result = estimate_positions(
            sections.half_strip, found, in_plane_px=sections.in_plane_px, patches=sections.patches
        )
        tell_fit(result, found, set(undefined_planes(sections.half_strip)), TOLD)
        return result
    options = ZSpacingOptions(max_lag=max_lag, estimate=estimate, **_source(sections, rest))
    return positions_stage.run(positions_stage.plan(options), TOLD).result


def find_faults(similarity: Similarity, positions: Estimate | Any) -> list[SectionFault]:
    """Find what is wrong with sections: damaged, duplicate, missing, swapped, constant.

    Parameters
    ----------
    similarity
        Of :func:`gpustitch.similarity`.
    positions
        Of :func:`gpustitch.z_positions`, or (n,) in sections.

    Returns
    -------
    list of SectionFault
        Each with its ``fault_type``, ``sections`` and ``confidence``.

    Raises
    ------
    ParameterError
        If there are not as many positions as sections.
    TypeError
        If ``similarity`` is no :class:`Similarity`.

    Examples
    --------
    >>> import gpustitch as gs
    >>> alike = gs.similarity("sections.tif", 6)
    >>> faults = gs.find_faults(alike, gs.z_positions(alike))
    >>> [fault.fault_type for fault in faults]
    ['damaged']
    """
    if not isinstance(similarity, Similarity):
        raise TypeError(f"a result of gpustitch.similarity was expected, not {type(similarity).__name__}")
    return faults_in(similarity.half_strip, _positions(positions))


def _positions(positions: Estimate | Any) -> Floats:
    if isinstance(positions, Estimate):
        return positions.positions
    try:
        found = np.asarray(positions)
        if found.dtype.kind not in "uif":
            raise ValueError
        return found.astype(np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"`positions` must be numbers, not {positions!r:.60}") from None


def _used(n: int, leave_out: Iterable[int], least_weight: float | None, positions: Estimate | Any) -> Integers:
    """Numbers of the sections that are used."""
    try:
        unused = {operator.index(number) for number in leave_out}
    except TypeError:
        raise ParameterError(f"`leave_out` must be numbers of sections, not {leave_out!r:.60}") from None
    if strange := sorted(number for number in unused if not 0 <= number < n):
        raise ParameterError(f"`leave_out` names section {strange[0]}; there are sections 0 to {n - 1}")
    if least_weight is not None:
        if not isinstance(positions, Estimate):
            raise ParameterError("`least_weight` needs positions of z_positions, which have weights")
        unused |= set(np.flatnonzero(~(positions.weights >= least_weight)).tolist())
    used = np.setdiff1d(np.arange(n), sorted(unused)).astype(np.int64)
    if unused and len(used) < _LEAST_SECTIONS:
        raise ParameterError(f"of {n} sections {len(unused)} are left out; at least {_LEAST_SECTIONS} must be used")
    return used


@typed()
def render(
    sections: Any,
    positions: Estimate | Any,
    z_spacing: float = 1.0,
    *,
    nearest: bool = RenderOptions.nearest,
    max_gap: float = RenderOptions.max_gap,
    fill_gaps: bool = RenderOptions.fill_gaps,
    leave_out: Iterable[int] = (),
    least_weight: float | None = RenderOptions.least_weight,
) -> Array:
    """Resample sections at uneven positions to evenly spaced planes.

    Parameters
    ----------
    sections
        (section, row, column) of any library.
    positions
        Of :func:`gpustitch.z_positions`, or (n,) in any unit.
    z_spacing
        Distance of the planes, in the unit of the positions.
    nearest, max_gap, fill_gaps
        As of :class:`gpustitch.sections.render.stage.RenderOptions`; ``max_gap`` in the unit of the positions.
    leave_out
        Numbers of sections that are not used, such as ``fault.sections`` of :func:`gpustitch.find_faults`.
    least_weight
        Sections whose weight is less, or unknown, are not used; for positions of :func:`gpustitch.z_positions`.

    Returns
    -------
    array (plane, row, column)
        Of the sections' type, where they are. The first plane lies at the least position, the last one at or before the
        greatest. Planes in gaps wider than ``max_gap`` are 0, and there is a warning.

    Raises
    ------
    ParameterError
        If there are not as many positions as sections, ``z_spacing`` is not positive, or too few sections are left.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> sections = np.array([0, 10, 40], np.uint16).reshape(3, 1, 1) + np.zeros((3, 2, 2), np.uint16)
    >>> gs.render(sections, [0, 1, 4])[:, 0, 0].tolist()
    [0, 10, 20, 30, 40]
    """
    stack = array_of(sections)
    at = _positions(positions)
    if stack.ndim != 3 or at.shape != (len(stack),):
        raise ParameterError(f"`positions` must be of shape ({len(stack)},), one for each section, not {at.shape}")
    used = _used(len(stack), leave_out, least_weight, positions)
    series = sorted_series(at[used])
    series = dataclasses.replace(series, order=used[series.order])
    if doubled := len(used) - len(series.order):
        tell(f"{doubled} sections lie at the place of another, and are not used")
    first, last = float(series.positions[0]), float(series.positions[-1])
    if not (np.isfinite(z_spacing) and z_spacing > 0):
        raise ParameterError(f"`z_spacing` must be a positive number, not {z_spacing}")
    if not max_gap >= 0:
        raise ParameterError(f"`max_gap` must be 0 or more, not {max_gap}")
    if (last - first) / z_spacing > _MOST_PLANES:
        raise ParameterError(f"planes {z_spacing:g} apart over {last - first:g} are more than {_MOST_PLANES}")
    grid = ZGrid(first, z_spacing, planes_within(last - first, z_spacing))
    plan = plan_z(series, grid, limits=max_gap, fill_gaps=fill_gaps, nearest=nearest)
    empty, filled = (int(np.isin(plan.plane_origin, kinds).sum()) for kinds in ((GAP, OUTSIDE), (FILLED,)))
    if empty:
        tell(f"{empty} of {grid.n_planes} planes lie in gaps wider than {max_gap:g} and are 0")
    if filled:
        tell(f"{filled} of {grid.n_planes} planes are interpolated across gaps wider than {max_gap:g}")
    stack = namespace(stack).ascontiguousarray(stack)
    return planes_between(list(stack), plan.lower, plan.upper, plan.weight)
