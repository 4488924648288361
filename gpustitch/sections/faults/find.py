"""Finds what is wrong with a series of sections: duplicates, gaps, wrong order, damage, constant sections.

The evidence is the similarity of each section to those near it. It is measured against the series itself wherever that
can be: its curve of similarity by distance, and its scatter. So noise and texture need no settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Bools, Floats, Integers
from gpustitch.ops.robust import median_and_scatter
from gpustitch.sections.faults.damage import damaged_in_order, part_of
from gpustitch.sections.faults.losses import (
    NEAR,
    QUALITY_WINDOW,
    corrected,
    displacements,
    fit_curve_and_quality,
    local_median,
    loss_band_of,
    position_among,
)

FAULT_TYPES = ("constant", "damaged", "duplicate", "missing", "swapped")

# A finding must stand out from the scatter of its type by this many standard deviations.
_GAP_SIGMAS = 3.3
_ORDER_SIGMAS = 3.0
# A displacement's error is that of its votes, or what is usual around it, times this for votes share errors: where
# similarities do not follow one curve, no place is told.
_USUAL_ERRORS = 4.0
# In local spacings: nearer than this is the same place, farther than this in the wrong direction is the wrong order.
_SAME_PLACE = 0.25
# Sections recorded twice see each other at most this far away, in local spacings: noise counts as distance here, but
# for this many standard deviations of it.
_NEIGHBOUR = 2.0
_DIRECT_SIGMAS = 2.0
# Where the similarity knows no order, spacings are still taken to be this part of the usual one.
_LEAST_SPACING = 0.1
# Standard error of a displacement that no section sees.
_UNSEEN = 1e6
# Standard error of one that some do, in local spacings: less than this.
_SEEN = 1e3
# Where similarity is below this percentile of that of the pairs farthest apart, it does not reach across. There
# sections are taken to be this many times the range apart.
_HARDLY, _HOLE = 30, 1.5
# More missing sections than this part of the range are not counted: there is a least number of them.
_COUNTED = 0.7
# A gap is at least this wide, in local spacings: halfway to one section missing.
_LEAST_GAP = 1.5
# Coefficients of the same pixels differ from 1 by rounding only (float32 input).
_SAME_PIXELS = 2e-6
# Sections whose median is the local spacing.
_SPACING_WINDOW = 31
# Part of the misfit of the positions given below which others are taken instead.
_CLEARLY_BETTER = 0.9
# Times that positions are found anew from what the sections say of each other.
_ROUNDS = 2


@dataclass(frozen=True)
class SectionFault:
    """Something wrong with sections, numbered in the order of recording.

    Attributes
    ----------
    fault_type
        ``constant``: no similarity is defined. ``damaged``: it correlates less with its neighbours than they with each
        other. ``duplicate``: the sections are of one place. ``missing``: others lack between the two sections named.
        ``swapped``: all sections from the first to the last one in the wrong order.
    sections
        The sections concerned, ascending.
    confidence
        0.5 where it only just stands out, towards 1 the clearer it is.
    missing
        Estimated number of missing sections, 0 for other types.
    at_least
        Whether ``missing`` is only the least number: the gap is about as wide as the range, or wider.
    """

    fault_type: str
    sections: tuple[int, ...]
    confidence: float
    missing: int = 0
    at_least: bool = False


def find_faults(half_strip: Floats, positions: Floats, weights: Floats | None = None) -> list[SectionFault]:
    """Faults of a series of sections, sorted by their first section.

    Parameters
    ----------
    half_strip
        (n, max_lag + 1) similarities: [i, d] is that of sections i and i + d, NaN where undefined and beyond the end.
    positions
        (n,) estimated positions in the order of recording, in sections. They need not be exact. Where they show wrong
        order, longer blocks are found; the numbers of the sections will do where the spacing is about even.
    weights
        (n,) how far each section is trusted as a witness, not negative; all alike by default.

    Returns
    -------
    At most one fault of each type for a section, except that a section may bound two gaps.

    Raises
    ------
    ParameterError
        If shapes do not fit, there are fewer than 3 sections, or positions or weights are not finite.

    Notes
    -----
    Duplicates and wrong order are told from how third sections see two neighbours: the quality of either does not
    matter there. Similarity alone shows neighbours and blocks of 2 in the wrong order; blocks of 4 and 5 are found
    where the positions show them. Damaged sections are found whatever the length of their run, unless half of all
    are. Some duplicates are missed with a max_lag below 5, and where steps between neighbours have an error of 0.06
    spacings and more, as in noise that halves similarity. The first and the last section are seen from one side only,
    where damage cannot be told from a gap: it is called damage. Spacings that scatter by 0.5 and more hold some as
    near as duplicates, or as wide as gaps. These are reported so.
    """
    strip, at, trust = _checked(half_strip, positions, weights)
    constant = _undefined(strip)
    known = np.flatnonzero(~constant)
    faults = [SectionFault("constant", (int(i),), 1.0) for i in np.flatnonzero(constant)]
    if len(known) >= 3:
        given = _Series(part_of(strip, known), at[known], trust[known], known)
        damaged = damaged_in_order(given.strip, given.within_reach().positions, given.weights)
        faults += [SectionFault("damaged", (int(known[i]),), _confidence(clear, 1)) for i, clear in damaged]
        places = [i for i, _ in damaged]
        sound = _judged(given, places).part(np.delete(np.arange(len(known)), places)).with_holes()
        if len(sound.numbers) >= 3:
            faults += _misplaced(sound)
    return sorted(faults, key=lambda fault: (fault.sections, fault.fault_type))


def _judged(given: _Series, damaged: list[int]) -> _Series:
    """The series as its sections see each other.

    It starts from the positions given, or from the numbers of the sections where that explains the similarities
    clearly better: an estimate may have turned a whole stretch around.
    """
    by_number = np.asarray(given.numbers * given.spacing(), np.float64)
    ways = []
    for series in (given.within_reach(), replace(given, positions=by_number)):
        for _ in range(_ROUNDS):
            series = series.settled(damaged)
        ways.append(series)
    sound = np.delete(np.arange(len(given.numbers)), damaged)
    if len(sound) < 3:
        return ways[0]
    misfit = [series.part(sound).misfit() for series in ways]
    return ways[int(misfit[1] < _CLEARLY_BETTER * misfit[0])]


@dataclass(frozen=True)
class _Series:
    """Similarities of the sections of the given numbers, all defined, and what is thought of their positions."""

    strip: Floats
    positions: Floats
    weights: Floats
    numbers: Integers

    def part(self, kept: Integers) -> _Series:
        """Some of the sections, those at the given places."""
        return _Series(part_of(self.strip, kept), self.positions[kept], self.weights[kept], self.numbers[kept])

    def steps(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Displacements of neighbours, their standard errors, and loss and distance by their own similarity.

        Displacements that no third section sees are those of the positions, with a very large error. The distance is
        the least one that the scatter of similarities lets be.
        """
        band = loss_band_of(self.strip)
        curve, own = fit_curve_and_quality(band, self.positions, self.weights)
        loss = corrected(band, own)
        step, error = displacements(loss, own, curve, self.positions, self.weights)
        unseen = ~np.isfinite(step)
        step = np.where(unseen, np.diff(self.positions), step)
        beside = band.max_lag + 1
        noise = _DIRECT_SIGMAS * float(curve.scatter_at(np.zeros(1))[0])
        direct = curve.distance_of(loss[:-1, beside] - noise)
        return step, np.where(unseen, _UNSEEN, error), band.loss[:-1, beside], direct

    def spacing(self) -> float:
        """Usual distance of sections recorded one after the other."""
        return float(np.median(np.abs(np.diff(self.positions)) / np.diff(self.numbers)))

    def within_reach(self) -> _Series:
        """The same with sections further from those around them than similarity reaches put back in between.

        Nothing can have told that they lie there.
        """
        max_lag = self.strip.shape[1] - 1
        by_number = self.numbers * float(np.median(np.diff(self.positions) / np.diff(self.numbers)))
        drift = self.positions - by_number
        usual = local_median(drift, 2 * max_lag + 1)
        far = np.abs(drift - usual) > max(max_lag, 1) * self.spacing()
        return replace(self, positions=np.where(far, by_number + usual, self.positions))

    def with_holes(self) -> _Series:
        """The same with sections far apart that are hardly similar, as are those beside them.

        Less similar than nearly all pairs that are farthest apart: nothing can have told how far.
        """
        n, max_lag = len(self.numbers), self.strip.shape[1] - 1
        if max_lag < 2 or n <= max_lag or not np.isfinite(self.strip[:, -1]).any():
            return self
        least = np.nanpercentile(self.strip[:, -1], _HARDLY)
        next_one = np.full((3, n - 1), np.nan)
        next_one[0], next_one[1, :-1], next_one[2, 1:] = self.strip[:-1, 1], self.strip[:-2, 2], self.strip[:-2, 2]
        hole = (next_one < least).all(axis=0)
        wide = _HOLE * max_lag * self.spacing() * hole
        shift = np.where(hole, np.maximum(wide - np.diff(self.positions), 0), 0)
        return replace(self, positions=self.positions + np.concatenate([[0.0], np.cumsum(shift)]))

    def misfit(self) -> float:
        """Mean distance of the losses from the curve, once the quality of sections is taken out."""
        band = loss_band_of(self.strip)
        curve, own = fit_curve_and_quality(band, self.positions, self.weights)
        distance = np.abs(self.positions[band.neighbours()] - self.positions[:, None])
        left_over = np.abs(corrected(band, own) - curve.at(distance))
        return float(np.nanmean(left_over)) if np.isfinite(left_over).any() else 0.0

    def settled(self, damaged: list[int]) -> _Series:
        """The same with positions as the sound sections see each other; damaged ones lie between their neighbours.

        Only distances within the max_lag matter, so that errors may add up along the series.
        """
        kept = np.delete(np.arange(len(self.numbers)), damaged)
        if len(kept) < 3:
            return self
        sound = self.part(kept).with_holes()
        step = sound.steps()[0]
        usual, found = sound.spacing(), float(np.median(step / np.diff(sound.numbers)))
        if not found > _LEAST_SPACING * usual:
            return self
        place = np.concatenate([[0.0], np.cumsum(step) * (usual / found)])
        positions = np.interp(self.numbers, sound.numbers, place)
        positions += usual * (
            np.minimum(self.numbers - sound.numbers[0], 0) + np.maximum(self.numbers - sound.numbers[-1], 0)
        )
        curve, own = fit_curve_and_quality(loss_band_of(sound.strip), place, sound.weights)
        loss = loss_band_of(self.strip).loss
        max_lag = loss.shape[1] // 2
        for i in damaged:
            offset = kept - i
            near = np.abs(offset) <= min(NEAR, max_lag)
            seen = loss[i, max_lag + offset[near]] - own[near]
            positions[i] = position_among(seen, place[near], curve, positions[i], NEAR)
        return replace(self, positions=positions)


def _checked(half_strip: Floats, positions: Floats, weights: Floats | None) -> tuple[Floats, Floats, Floats]:
    """All three as float64; ParameterError as of :func:`find_faults`."""
    strip, at = np.asarray(half_strip, dtype=np.float64), np.asarray(positions, dtype=np.float64)
    if strip.ndim != 2 or strip.shape[0] < 3 or strip.shape[1] < 2:
        raise ParameterError(f"a half strip is (n, max_lag + 1), of at least 3 sections, not of shape {strip.shape}")
    trust = np.ones(len(strip)) if weights is None else np.asarray(weights, dtype=np.float64)
    if at.shape != (len(strip),) or trust.shape != (len(strip),):
        raise ParameterError(f"{len(strip)} sections take as many positions and weights, not {at.shape}, {trust.shape}")
    if not np.isfinite(at).all() or not np.isfinite(trust).all() or trust.min() < 0:
        raise ParameterError("positions and weights must be finite numbers, weights not negative")
    return strip[:, : len(strip)], at, trust


def _undefined(strip: Floats) -> Bools:
    """Sections without any similarity to another one, or with none to themselves."""
    return np.isnan(loss_band_of(strip).loss).all(axis=1) | np.isnan(strip[:, 0])


def _misplaced(sound: _Series) -> list[SectionFault]:
    """Duplicates, gaps and wrong order among sections of about the same quality."""
    step, error, loss, direct = sound.steps()
    numbers = sound.numbers
    per_section, usual = step / np.diff(numbers), sound.spacing()
    if np.median(per_section) < _LEAST_SPACING * usual:
        # Similarity does not tell distances: nothing is known but copies.
        nowhere = np.full(len(step), np.inf)
        return _duplicates(loss, nowhere, nowhere, nowhere, np.zeros(len(step), np.bool_), numbers)
    spacing = np.maximum(local_median(per_section, _SPACING_WINDOW), _LEAST_SPACING * usual)
    stretches = _disordered(step, error, spacing)
    faults = [SectionFault("swapped", tuple(int(i) for i in numbers[a:b]), sure) for a, b, sure in stretches]
    ordered = np.ones(len(step), np.bool_)
    for a, b, _ in stretches:
        ordered[a : b - 1] = False
    faults += _duplicates(loss, direct / spacing, step / spacing, error / spacing, ordered, numbers)
    faults += _gaps(step, error, direct, spacing, stretches, numbers, sound.strip.shape[1] - 1)
    return faults


def _disordered(step: Floats, error: Floats, spacing: Floats) -> list[tuple[int, int, float]]:
    """Stretches (start, stop, confidence) of sections within which some lie before one recorded earlier."""
    n = len(step) + 1
    place = np.concatenate([[0.0], np.cumsum(step)])
    usual = _usual_error(error / spacing) * spacing
    noise = np.concatenate([[0.0], np.cumsum(np.maximum(error, usual) ** 2)])
    found: list[tuple[int, int, float]] = []
    for i in range(n - 1):
        for j in range(min(n - 1, i + NEAR), i, -1):
            least = max(_SAME_PLACE * spacing[i], _ORDER_SIGMAS * np.sqrt(noise[j] - noise[i]))
            if place[i] - place[j] <= least:
                continue
            sure = _confidence(float(place[i] - place[j]), least)
            if found and i < found[-1][1]:
                start, stop, before = found.pop()
                found.append((start, max(stop, j + 1), max(before, sure)))
            else:
                found.append((i, j + 1, sure))
    return found


def _duplicates(
    loss: Floats, direct: Floats, step: Floats, error: Floats, ordered: Bools, numbers: Integers
) -> list[SectionFault]:
    """Neighbours at the same place: third sections see no step between them, nor does their own similarity."""
    usual = _USUAL_ERRORS * _usual_error(error)
    with np.errstate(invalid="ignore"):
        same_pixels = loss < _SAME_PIXELS
        same_place = (np.abs(step) + np.maximum(error, usual) < _SAME_PLACE) & (direct < _NEIGHBOUR) & ordered
    faults: list[SectionFault] = []
    for i in np.flatnonzero(same_pixels | same_place):
        sure = 1.0 if same_pixels[i] else _confidence(_SAME_PLACE, abs(float(step[i])) + float(error[i]))
        pair = (int(numbers[i]), int(numbers[i + 1]))
        if faults and faults[-1].sections[-1] == pair[0]:
            last = faults.pop()
            faults.append(SectionFault("duplicate", (*last.sections, pair[1]), min(last.confidence, sure)))
        else:
            faults.append(SectionFault("duplicate", pair, sure))
    return faults


def _gaps(
    step: Floats,
    error: Floats,
    direct: Floats,
    spacing: Floats,
    stretches: list[tuple[int, int, float]],
    numbers: Integers,
    max_lag: int,
) -> list[SectionFault]:
    """Steps between sections next to each other in their true order that are wider than the spacing's scatter.

    Where no third section sees both, their own similarity says whether they are farther apart than the range tells. The
    first and the last section are seen from one side, where too far away is the same as damaged: they are called so.
    """
    place = np.concatenate([[0.0], np.cumsum(step)])
    order = np.arange(len(place))
    for a, b, _ in stretches:
        order[a:b] = a + np.argsort(place[a:b], kind="stable")
    between = np.maximum(np.diff(numbers), 1) - 1
    error = error / spacing
    seen = error < _SEEN
    gap = np.where(seen, np.diff(place[order]), direct) / spacing - between
    middle, scatter = median_and_scatter(gap[np.isfinite(gap)]) if np.isfinite(gap).any() else (1.0, 0.0)
    least = max(_LEAST_GAP, float(middle + _GAP_SIGMAS * scatter))
    wide = gap >= _COUNTED * max_lag
    sure = np.where(seen, gap - np.maximum(error, _USUAL_ERRORS * _usual_error(error)), np.where(wide, gap, 0))
    faults = []
    for i in np.flatnonzero(sure > least):
        confidence = _confidence(float(sure[i]), least)
        if i in (0, len(gap) - 1):
            faults.append(SectionFault("damaged", (int(numbers[order[i + (i > 0)]]),), confidence))
            continue
        a, b = sorted((int(numbers[order[i]]), int(numbers[order[i + 1]])))
        missing = max(1, round(float(gap[i])) - 1)
        most = max(1, int(_COUNTED * max_lag))
        faults.append(SectionFault("missing", (a, b), confidence, min(missing, most), at_least=missing > most))
    return faults


def _usual_error(error: Floats) -> Floats:
    """Usual error, in local spacings, about each of the displacements; of those that are seen, 0 if there are none.

    It is that of the series, or more where the sections around show less, as where staining fades.
    """
    seen = np.where(error < _SEEN, error, np.nan)
    if np.isnan(seen).all():
        return np.zeros(len(error))
    usual: Floats = np.maximum(np.nanmedian(seen), local_median(seen, QUALITY_WINDOW))
    return usual


def _confidence(found: float, least: float) -> float:
    """0.5 at the threshold, 0.75 at twice the threshold, towards 1."""
    return float(1 - 0.5 * least / max(found, least, 1e-300))
