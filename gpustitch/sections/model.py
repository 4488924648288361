"""What is asked of an estimate of section positions, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers

Regularization = Literal["border", "identity", "none"]


@dataclass(frozen=True)
class EstimateOptions:
    """Parameters under the names of Fiji's z-spacing dialog, with its defaults. Positions are in sections.

    Attributes
    ----------
    max_lag
        Greatest distance, in sections, of two sections that are compared.
    outer_iterations
        Updates of the positions; the most of them unless ``compat``.
    outer_regularization
        Fraction of a proposed move that is not made, 0 to below 1. ``compat`` only: the default solves for all
        positions at once.
    inner_iterations, inner_regularization
        Sweeps that estimate the quality of sections, and how much of the last value each keeps (0 to 1); no sweeps
        leave all at their starting value. ``compat`` only.
    allow_reordering
        Whether sections may change places; the default asks for evidence before it does that.
    force_monotonicity
        Whether similarities that do not fall with distance are left out. ``compat`` only.
    minimum_section_thickness
        Least distance of neighbours. ``compat`` applies it only where sections would change places, and without
        reordering only.
    minimum_correlation
        Similarities up to this one give no vote.
    coordinate_regularizer
        Weight w, 0 to 1, that draws positions to the starting ones; the default takes those as right to
        ``sqrt((1 - w) / w)`` sections.
    regularization
        What keeps the whole series in place: the first and the last section stay ("border"), the affine map that
        brings positions closest to the section numbers ("identity"), or nothing ("none"; the default brings them
        closest to the starting ones then, for similarities tell neither offset nor scale).
    local_estimates
        Number of curves along the series, for similarity that changes on the way; 1 is one curve for all. The default
        solves with one curve, and takes a change of scale out afterwards (``spacing_ratio``).
    spacing_ratio
        Greatest ratio of the mean spacings of two stretches of the series that the default believes. Beyond it, the
        similarity is taken to change along the series. With several local estimates its root counts.
    tolerance
        The default stops when no section moves further than this. ``compat`` makes all iterations.
    compat
        Repeat Fiji's plugin step by step.
    """

    max_lag: int = 10
    outer_iterations: int = 100
    outer_regularization: float = 0.4
    inner_iterations: int = 10
    inner_regularization: float = 0.1
    allow_reordering: bool = True
    force_monotonicity: bool = True
    minimum_section_thickness: float = 1e-9
    minimum_correlation: float = 0.0
    coordinate_regularizer: float = 0.0
    regularization: Regularization = "border"
    local_estimates: int = 1
    spacing_ratio: float = 2.5
    tolerance: float = 1e-4
    compat: bool = False

    def __post_init__(self) -> None:
        self._need(self.max_lag >= 1, "max_lag", "at least 1")
        self._need(self.outer_iterations >= 1, "outer_iterations", "at least 1")
        self._need(0 <= self.outer_regularization < 1, "outer_regularization", "0 to below 1")
        self._need(self.inner_iterations >= 0, "inner_iterations", "at least 0")
        self._need(0 <= self.inner_regularization <= 1, "inner_regularization", "0 to 1")
        self._need(0 <= self.minimum_section_thickness < 1, "minimum_section_thickness", "0 to below 1")
        self._need(self.minimum_correlation < 1, "minimum_correlation", "below 1")
        self._need(0 <= self.coordinate_regularizer <= 1, "coordinate_regularizer", "0 to 1")
        self._need(self.regularization in ("border", "identity", "none"), "regularization", "border, identity or none")
        self._need(self.local_estimates >= 1, "local_estimates", "at least 1")
        self._need(self.spacing_ratio > 1, "spacing_ratio", "above 1")
        self._need(self.tolerance > 0, "tolerance", "above 0")

    def _need(self, holds: Any, name: str, wanted: str) -> None:
        if not holds:
            raise ParameterError(f"{name} must be {wanted}, not {getattr(self, name)}")


@dataclass(frozen=True)
class Estimate:
    """Positions of n sections. Arrays are in the order of the input, float64 (n,) unless said otherwise.

    Attributes
    ----------
    positions
        Estimated position of each section, in sections.
    order
        int64: ``order[k]`` is the section that comes k-th along z.
    weights
        Quality of each section: the factor its similarities are multiplied by (``compat``), or the weight that its
        votes had, 0 to 1 (default).
    uncertainty
        Standard error of each position, in sections; NaN for a section that got no vote, and with ``compat``.
    curves
        Similarity against distance 0, 1 ... max_lag: (1, range + 1), or (n, range + 1) with local
        estimates.
    without_votes
        int64: sections that no other section had a vote for; they keep their place between their neighbours.
    iterations
        Updates that were made.
    largest_move
        How far, in sections, the last update moved the section that it moved most.
    """

    positions: Floats
    order: Integers
    weights: Floats
    uncertainty: Floats
    curves: Floats
    without_votes: Integers
    iterations: int
    largest_move: float
