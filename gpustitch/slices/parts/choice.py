"""Which ways to part a series make volumes of it, the best first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Integers
from gpustitch.slices.model import Part, Parting, SpacingClass, SpacingFit
from gpustitch.slices.parts.lying import Lying, members_of
from gpustitch.slices.parts.numbered import STRUCTURAL

# Parts are no chance if it is less probable than this that so many slices lie so evenly; some fifty ways are tried.
_CHANCE = 1e-4
# So it is for each part: some slices that were taken again are no volume.
_CHANCE_OF_ONE = 1e-2
# Tags that change within a volume too: they tell even volumes apart only where SpacingBetweenSlices says so.
_TIMES = frozenset({"acquisition-time"})
_EVEN = (SpacingClass.UNIFORM, SpacingClass.MISSING)
# Partings that are told.
_MOST = 5
# Most even volumes that are looked for between one another, and the fewest slices of one.
_MOST_BETWEEN, _FEWEST_SLICES = 8, 3


@dataclass(frozen=True)
class _Way:
    """Labels of the slices, and how much they are trusted: 0 a tag, 1 two tags, 2 numbers and places, 3 with a tag."""

    names: tuple[str, ...]
    labels: Integers
    trust: int


def partings(lying: Lying, whole: SpacingFit) -> tuple[Parting, ...]:
    """Ways to part a series into volumes, the best first.

    Where slices are at one place, parts have one slice at each place. Else each part is even (UNIFORM or MISSING) and
    that is no chance, and parts overlap along the normal: stations one after another are one series. Where the whole is
    even too, only ways with evidence count (:func:`even_partings`).

    Parameters
    ----------
    lying
        The slices.
    whole
        How they lie together.

    Returns
    -------
    None of it, if no way makes volumes. Ranked by class, agreement with SpacingBetweenSlices, number of parts, and
    whether a tag, two, or numbers tell parts apart.
    """
    if whole.spacing_class in _EVEN and not lying.is_doubled:
        return even_partings(lying, whole)
    found: list[tuple[tuple[bool, bool, bool, int, int, int], int, Parting]] = []
    seen: set[bytes] = set()
    # Two together make no fewer volumes than one that is enough.
    for ways in (_tags, _pairs, _structural, _finer):
        if ways is _finer and not (lying.is_doubled or whole.spacing_class is SpacingClass.IRREGULAR):
            continue
        if ways in (_pairs, _finer) and any(_is_enough(rank) for rank, *_ in found):
            continue
        for way in _new(ways(lying), seen):
            parts = _parts(lying, way.labels)
            if parts is not None and _are_volumes(lying, parts, whole):
                found.append((_rank(lying, parts, way.trust), len(found), Parting(way.names, parts)))
    return tuple(parting for _, _, parting in sorted(found, key=lambda one: one[:2])[:_MOST])


def even_partings(lying: Lying, whole: SpacingFit) -> tuple[Parting, ...]:
    """Ways to part an even series into even volumes that lie between one another all along.

    One volume may have been acquired in turns. Only a tag is evidence that it is several, unless SpacingBetweenSlices
    is the spacing of the whole; times and numbers are, where it is that of the parts.
    """
    if lying.states(whole.spacing_mm):
        return ()
    found: list[tuple[tuple[bool, int], int, Parting]] = []
    for way in _new(itertools.chain(_tags(lying), _structural(lying)), set()):
        parts = _parts(lying, way.labels)
        if parts is None or not 2 <= len(parts) <= _MOST_BETWEEN:
            continue
        spacing = parts[0].fit.spacing_mm
        is_stated = lying.states(spacing)
        if (way.trust > 0 or _TIMES & set(way.names)) and not is_stated:
            continue
        if _lie_between(lying, parts, whole, is_stated=is_stated):
            found.append(((not is_stated, way.trust), len(found), Parting(way.names, parts)))
    return tuple(parting for _, _, parting in sorted(found, key=lambda one: one[:2])[:_MOST])


def _lie_between(lying: Lying, parts: Sequence[Part], whole: SpacingFit, *, is_stated: bool) -> bool:
    """Whether each part is even, so many times as coarse as the whole as there are parts, over the same extent.

    Where positions are coarse that may be chance, but not if SpacingBetweenSlices says so (``is_stated``).
    """
    for part in parts:
        fit = part.fit
        times = fit.spacing_mm / whole.spacing_mm
        if (
            fit.spacing_class not in _EVEN
            or len(part.members) < _FEWEST_SLICES
            or abs(times - len(parts)) > len(parts) * (lying.tolerance + 2 * lying.rounding_mm / fit.spacing_mm)
        ):
            return False
    starts, stops = [part.start_mm for part in parts], [part.stop_mm for part in parts]
    # Half of the slices of each lie beside all others.
    beside = min(stops) - max(starts) >= (max(stops) - min(starts)) / 2
    return beside and (is_stated or _is_no_chance(lying, parts))


def _new(ways: Iterable[_Way], seen: set[bytes]) -> Iterator[_Way]:
    """Ways that make two parts or more, of two slices or more, and do not part the slices as another did."""
    for way in ways:
        if not 2 <= len(np.unique(way.labels)) <= len(way.labels) // 2:
            continue
        key = _canonical(way.labels).tobytes()
        if key not in seen:
            seen.add(key)
            yield way


def _tags(lying: Lying) -> Iterator[_Way]:
    for name, labels in _useful(lying).items():
        yield _Way((name,), labels, 0)


def _pairs(lying: Lying) -> Iterator[_Way]:
    for (one, first), (other, second) in itertools.combinations(_useful(lying).items(), 2):
        yield _Way((one, other), _joined(first, second), 1)


def _structural(lying: Lying) -> Iterator[_Way]:
    for name, part in STRUCTURAL.items():
        labels = part(lying)
        if labels is not None:
            yield _Way((name,), labels, 2)


def _finer(lying: Lying) -> Iterator[_Way]:
    """Volumes and passes within each value of a tag."""
    for name, values in _useful(lying).items():
        for inner in STRUCTURAL:
            labels = within(lying, values, inner)
            if labels is not None:
                yield _Way((name, inner), labels, 3)


def _useful(lying: Lying) -> dict[str, Integers]:
    """Values of tags as numbers, but for those that each slice has its own of."""
    codes = {name: _codes(values) for name, values in lying.tags.items()}
    return {name: labels for name, labels in codes.items() if 0 < labels.max() < len(labels) // 2}


def within(lying: Lying, labels: Integers, name: str) -> Integers | None:
    """The volumes or passes (a name of ``STRUCTURAL``) of each label by itself; None where one label has none."""
    found = np.zeros(len(labels), np.int64)
    is_any = False
    for members in members_of(lying, labels):
        numbers = None if lying.numbers is None else lying.numbers[members]
        some = Lying(lying.along_mm[members], lying.rounding_mm, numbers, lying.tolerance, lying.stated_mm)
        inner = STRUCTURAL[name](some)
        if inner is None:
            if some.is_doubled:
                return None
            continue
        found[members] = inner
        is_any = True
    return _joined(labels, found) if is_any else None


def _codes(values: Sequence[str]) -> Integers:
    codes: Integers = np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)
    return codes


def _joined(one: Integers, other: Integers) -> Integers:
    codes: Integers = np.unique(one * (int(other.max()) + 1) + other, return_inverse=True)[1].astype(np.int64)
    return codes


def _canonical(labels: Integers) -> Integers:
    """Labels numbered in the order in which they first come."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    codes: Integers = np.argsort(np.argsort(first))[inverse].astype(np.int64)
    return codes


def _parts(lying: Lying, labels: Integers) -> tuple[Part, ...] | None:
    """The parts, the first by number first; None where one is no stack with a slice at each place."""
    parts = []
    for members in members_of(lying, labels):
        part = lying.part(members)
        if part is None:
            return None
        parts.append(part)
    if lying.numbers is not None:
        numbers = lying.numbers
        parts.sort(key=lambda part: int(numbers[part.members].min()))
    return tuple(parts)


def _are_volumes(lying: Lying, parts: Sequence[Part], whole: SpacingFit) -> bool:
    # A slice of each part at each place: volumes, however they lie.
    if lying.is_doubled and all(len(part.members) == lying.place[-1] + 1 for part in parts):
        return True
    if any(part.fit.spacing_class not in _EVEN for part in parts):
        return False
    # Halves of one stack of changing spacing may look as if slices were missing in all of them.
    is_whole = any(part.fit.spacing_class is SpacingClass.UNIFORM for part in parts)
    return is_whole and (lying.is_doubled or _overlap(parts, whole)) and _is_no_chance(lying, parts)


def _overlap(parts: Sequence[Part], whole: SpacingFit) -> bool:
    """Whether a part begins before another ends; where nothing else explains the whole, nearer than half a spacing."""
    near = 0.5 if whole.spacing_class is SpacingClass.IRREGULAR else 0.0
    ordered = sorted(parts, key=lambda part: part.start_mm)
    stop = -math.inf
    for part in ordered:
        if part.start_mm < stop + near * min(one.fit.spacing_mm for one in parts):
            return True
        stop = max(stop, part.stop_mm)
    return False


def _is_no_chance(lying: Lying, parts: Sequence[Part]) -> bool:
    """Whether slices lie more evenly than chance would have it.

    Two slices of a part place its grid. Each further one lies on it by chance with the probability of the grid's width;
    so does the spacing of each further part, if all have one.
    """
    finest = min(part.fit.spacing_mm for part in parts)
    allowed = min(4 * (lying.rounding_mm / finest + lying.tolerance), 0.95)
    further = [len(part.members) - 2 for part in parts]
    slack = lying.tolerance + 2 * lying.rounding_mm / finest
    are_one = all(abs(part.fit.spacing_mm / parts[0].fit.spacing_mm - 1) <= slack for part in parts)
    if min(further) < 1 or (min(further) + are_one) * math.log(allowed) > math.log(_CHANCE_OF_ONE):
        return False
    return (sum(further) + are_one * (len(parts) - 1)) * math.log(allowed) <= math.log(_CHANCE)


def _rank(lying: Lying, parts: Sequence[Part], trust: int) -> tuple[bool, bool, bool, int, int, int]:
    """The smaller the better."""
    are_even = all(part.fit.spacing_class in _EVEN for part in parts)
    are_stated = all(lying.states(part.fit.spacing_mm) for part in parts)
    n_missing = sum(part.fit.n_output - len(part.members) for part in parts) if are_even else 0
    return (
        not are_even,
        not are_stated,
        not are_stated and _are_halves(lying, parts),
        len(parts),
        n_missing,
        trust,
    )


def _is_enough(rank: tuple[bool, bool, bool, int, int, int]) -> bool:
    """Whether parts are even, whole, and no halves of one stack."""
    uneven, _, halves, _, missing, _ = rank
    return not (uneven or halves or missing)


def _are_halves(lying: Lying, parts: Sequence[Part]) -> bool:
    """Whether the first two parts are a stack together that is twice as fine: the odd slices, then the even ones."""
    one, other = parts[:2]
    members = np.concatenate([one.members, other.members])
    both = lying.part(members[np.argsort(lying.along_mm[members], kind="stable")])
    if both is None or both.fit.spacing_class not in _EVEN:
        return False
    coarse = 2 * both.fit.spacing_mm
    return abs(one.fit.spacing_mm / coarse - 1) <= lying.tolerance + 2 * lying.rounding_mm / coarse
