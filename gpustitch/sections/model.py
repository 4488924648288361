"""What is asked of an estimate of section positions, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.model.options import check_ranges, documented, option

Regularization = Literal["border", "identity", "none"]
Assume = Literal["auto", "thickness", "texture"]
Preset = Literal["fiji", "trakem2"]

# Where the defaults of TrakEM2's plugin are others than those of Fiji's.
_PRESETS: dict[Preset, dict[str, Any]] = {"fiji": {}, "trakem2": {"minimum_section_thickness": 0.0}}

# What nothing but ``compat`` looks at, and what it does not look at.
COMPAT_ONLY = ("outer_regularization", "inner_iterations", "inner_regularization")
NOT_COMPAT = ("tolerance", "spacing_ratio", "assume")
# Switches have two names; beside them the long names of numbers would be cut off at 80 columns.
_ESTIMATE, _SWITCHES = "Estimate", "Estimate, on or off"


@documented
@dataclass(frozen=True)
class EstimateOptions:
    """Parameters under the names of Fiji's z-spacing dialog, with its defaults. Positions are in sections.

    ``compat`` makes all updates that are asked for; the default, which solves for all positions at once, at most so
    many. ``compat`` applies the least thickness only without reordering, where sections would change places. The
    default changes their places only on evidence. It takes starting positions as right to ``sqrt((1 - w) / w)``
    sections, w being the coordinate regularizer. With no regularization it brings positions closest to those, for
    similarities tell neither offset nor scale. It solves with one curve. A trend of the spacing may be one of the
    texture: ``assume`` says which, or similarity does. Where it does not, ``spacing_ratio`` does, and intervals span
    both; its root counts with several local estimates.
    """

    max_lag: int = option(10, at_least=1, help="Greatest distance, in sections, of two sections that are compared.")
    outer_iterations: int = option(
        100, at_least=1, panel=_ESTIMATE, help="Number of updates of the positions; without `compat` the most of them."
    )
    outer_regularization: float = option(
        0.4, panel=_ESTIMATE, help="Part of each move that is not made, 0 to below 1; `compat` only."
    )
    inner_iterations: int = option(
        10,
        at_least=0,
        panel=_ESTIMATE,
        help="Number of sweeps over the quality of sections in each update; `compat` only.",
    )
    inner_regularization: float = option(
        0.1,
        at_least=0,
        at_most=1,
        panel=_ESTIMATE,
        help="Part of its last quality that each sweep keeps; `compat` only.",
    )
    allow_reordering: bool = option(
        True,
        flag="--allow-reordering/--no-reordering",
        panel=_SWITCHES,
        help="Whether sections may change places.",
    )
    force_monotonicity: bool = option(
        True,
        flag="--force-monotonicity/--no-force-monotonicity",
        panel=_SWITCHES,
        help="Leave out similarities that rise with distance; `compat` only.",
    )
    minimum_section_thickness: float = option(
        1e-9, panel=_ESTIMATE, help="Least distance of neighbours along z, in sections, 0 to below 1."
    )
    minimum_correlation: float = option(
        0.0, panel=_ESTIMATE, help="Similarities (correlations, at most 1) up to this one do not count."
    )
    coordinate_regularizer: float = option(
        0.0,
        at_least=0,
        at_most=1,
        panel=_ESTIMATE,
        help="How much sections are drawn to where they start (as recorded, or `start`), 0 (not) to 1 (fully).",
    )
    regularization: Regularization = option(
        "border",
        panel=_ESTIMATE,
        metavar="KIND",
        help="What keeps the series in place: its first and last section (border), the best line through all positions "
        "(identity), or nothing (none).",
    )
    local_estimates: int = option(
        1,
        at_least=1,
        panel=_ESTIMATE,
        help="Number of curves of similarity against distance along a series that changes.",
    )
    assume: Assume = option(
        "auto",
        panel=_ESTIMATE,
        metavar="WHAT",
        help="What a trend of the spacing is one of: thickness, texture (it is taken out), or what similarity tells "
        "(auto); not with `compat`.",
    )
    spacing_ratio: float = option(
        2.5,
        panel=_ESTIMATE,
        help="Ratio of the mean spacings of two stretches beyond which a trend is one of texture where similarity does "
        "not tell; not with `compat`.",
    )
    tolerance: float = option(
        1e-4, panel=_ESTIMATE, help="Stop when no section moves further, in sections; not with `compat`."
    )
    compat: bool = option(
        False, flag="--compat", panel=_SWITCHES, help="Repeat Fiji's z-spacing step by step, weaknesses and all."
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        self._need(0 <= self.outer_regularization < 1, "outer_regularization", "0 to below 1")
        self._need(0 <= self.minimum_section_thickness < 1, "minimum_section_thickness", "0 to below 1")
        self._need(self.minimum_correlation < 1, "minimum_correlation", "below 1")
        self._need(self.regularization in get_args(Regularization), "regularization", "border, identity or none")
        self._need(self.assume in get_args(Assume), "assume", "auto, thickness or texture")
        self._need(self.spacing_ratio > 1, "spacing_ratio", "above 1")
        self._need(self.tolerance > 0, "tolerance", "above 0")

    def with_preset(self, preset: Preset) -> EstimateOptions:
        """The same with the defaults of a plugin: values that are the defaults here become those there.

        ParameterError if there is no such preset.
        """
        if preset not in _PRESETS:
            raise ParameterError(f"`preset` is {preset}, but it must be {' or '.join(_PRESETS)}")
        ours = EstimateOptions()
        changed = {key: value for key, value in _PRESETS[preset].items() if getattr(self, key) == getattr(ours, key)}
        return replace(self, **changed)

    def _need(self, holds: Any, name: str, wanted: str) -> None:
        if not holds:
            raise ParameterError(f"`{name}` is {getattr(self, name)}, but it must be {wanted}")


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
    is_settling
        Whether the last moves became smaller, so that more updates may help.
    misfit
        Mean distance of the similarities from those expected; NaN with ``compat``.
    relative_misfit
        Root mean square of the same distances, each as a part of ``1 - similarity^2``; NaN with ``compat``.
    is_explained
        Whether positions explain the similarities clearly better than those that sections start at. Else they stay
        there, and ``uncertainty`` spans what was found.
    assumed
        What a trend of the spacing was taken for: "thickness" (it stays) or "texture" (it was taken out).
    undecided
        Whether there is such a trend and similarities do not tell which: ``uncertainty`` spans both.
    solutions_apart
        Where similarities have several solutions, about as good: distance of another one in sections, root mean square.
        ``uncertainty`` spans it. Else 0.
    spacing_ratio
        Greatest mean spacing of a stretch of 30 sections over the least one, as found before a trend was taken out; NaN
        with ``compat``.
    if_texture
        How far sections would lie elsewhere, in sections, root mean square, if the steady part of the spacing were one
        of texture that nothing shows. ``uncertainty`` does not span that. 0 where it does, or no trend is told.
    texture_ratio
        Greatest length of structures within the planes over the least one, along the series; NaN if that is not known.
    parts_ratio
        Ratio of the apparent spacings of parts of the planes along the series, typically: 1 if no more than chance
        makes, NaN if that is not known.
    """

    positions: Floats
    order: Integers
    weights: Floats
    uncertainty: Floats
    curves: Floats
    without_votes: Integers
    iterations: int
    largest_move: float
    is_settling: bool = True
    misfit: float = float("nan")
    relative_misfit: float = float("nan")
    is_explained: bool = True
    assumed: Literal["thickness", "texture"] = "thickness"
    undecided: bool = False
    solutions_apart: float = 0.0
    spacing_ratio: float = float("nan")
    if_texture: float = 0.0
    texture_ratio: float = float("nan")
    parts_ratio: float = float("nan")
