"""A simulated series of sections with known positions and faults."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gpustitch.demo.series.camera import DAMAGES, damage, ellipse, expose
from gpustitch.demo.series.texture import LayeredTexture
from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.faults.find import SectionFault

Planes = npt.NDArray[np.uint16] | npt.NDArray[np.float32]

# Counts of the background without tissue, as a fraction of the mean counts.
_BARE = 0.2
# Steps per section in the sum over the changing correlation length.
_WARP_STEPS = 16
# Least brightness and contrast of a section, relative to the usual: a normal distribution may fall below 0.
_LEAST_LIGHT = 0.2
# Shares of a section that a region of NaN may cover.
_NAN_SHARE = (0.05, 0.2)
# Streams of random numbers, one for each kind of decision: no stream depends on how many numbers another took.
_EVENTS, _PLACES, _LIGHT, _DAMAGE, _NOISE, _NAN_REGION, _NAN_SECTIONS, _SPACINGS = range(8)
# Separates these streams from the texture's streams, which have the same seed.
_SIMULATION = 37


@dataclass(frozen=True)
class SimulationOptions:
    """Options of a simulated series of sections; lengths along z are in nominal spacings.

    Parameters
    ----------
    number, rows, columns
        Number of sections and their size.
    seed
        Seed of all random numbers.
    correlation_px
        Distance within a section at which the texture's correlation has fallen to 1/e, in pixels.
    correlation_z
        Distance along z at which the texture's correlation has fallen to 1/e.
    components
        (share of the variance, length in multiples of ``correlation_z``). Several give a curve with a longer tail.
    correlation_change, change_period
        The length along z changes as ``correlation_z * (1 + correlation_change * sin(2 pi z / change_period))``.
    spacing_cv
        Standard deviation of the spacing; spacings are gamma distributed with mean 1.
    gaps, gap_sections
        Number of gaps, and (least, most) sections missing in each.
    duplicates, near_duplicates
        Number of sections recorded twice: with the same pixels, or with other noise and brightness at the same place.
    swaps, block_swaps, block
        Number of neighbours, and of neighbouring blocks of ``block`` sections, recorded in the wrong order.
    damaged, damages
        Number of damaged sections, and the types of damage, taken in turn.
    constant
        Number of sections with one value for all pixels.
    nan_sections
        Number of sections with a region of NaN; planes are then float32. Such a region is no fault.
    apart
        Number of sound sections between two faults, and at either end.
    mean, contrast
        Mean counts, and the texture's standard deviation as a fraction of the mean.
    brightness_cv, contrast_cv
        Relative standard deviation of brightness and of contrast from section to section.
    counts_per_electron, read_noise
        Photon noise has the variance ``counts * counts_per_electron``; ``read_noise`` is in counts.
    """

    number: int = 100
    rows: int = 256
    columns: int = 256
    seed: int = 0
    correlation_px: float = 4.0
    correlation_z: float = 10.0
    components: tuple[tuple[float, float], ...] = ((0.5, 0.7), (0.5, 1.7))
    correlation_change: float = 0.0
    change_period: float = 100.0
    spacing_cv: float = 0.0
    gaps: int = 0
    gap_sections: tuple[int, int] = (1, 3)
    duplicates: int = 0
    near_duplicates: int = 0
    swaps: int = 0
    block_swaps: int = 0
    block: int = 2
    damaged: int = 0
    damages: tuple[str, ...] = DAMAGES
    constant: int = 0
    nan_sections: int = 0
    apart: int = 4
    mean: float = 4000.0
    contrast: float = 0.2
    brightness_cv: float = 0.0
    contrast_cv: float = 0.0
    counts_per_electron: float = 8.0
    read_noise: float = 20.0

    def __post_init__(self) -> None:
        counts = (self.gaps, self.duplicates, self.near_duplicates, self.swaps, self.block_swaps, self.damaged)
        if self.number < 1 or self.rows < 1 or self.columns < 1 or min(*counts, self.constant, self.nan_sections) < 0:
            raise ParameterError("a series needs at least one section of one pixel, and no negative number of faults")
        if self.apart < 1 or self.block < 1 or not 1 <= self.gap_sections[0] <= self.gap_sections[1]:
            raise ParameterError("`apart`, `block` and `gap_sections` must be at least 1 and in order")
        if self.correlation_px < 0 or self.correlation_z <= 0 or not 0 <= self.correlation_change < 1:
            raise ParameterError("correlation lengths must be above 0 and their change within 0 and 1")
        if min(self.spacing_cv, self.brightness_cv, self.contrast_cv, self.read_noise, self.counts_per_electron) < 0:
            raise ParameterError("standard deviations and noise cannot be negative")
        if unknown := set(self.damages) - set(DAMAGES):
            raise ParameterError(f"damage is one of {', '.join(DAMAGES)}, not {', '.join(sorted(unknown))}")
        if self.nan_sections > self.number or (self.damaged and not self.damages):
            raise ParameterError("there are more sections with NaN than sections, or no type for damaged sections")


@dataclass(frozen=True)
class SimulatedSeries:
    """A simulated series; planes are made on demand, and do not depend on earlier requests.

    Attributes
    ----------
    options
        Options that the series was made from.
    positions
        float64 (n,): true position of each section in the order of recording, in nominal spacings; the lowest is 0.
    rank
        int64 (n,): number of each section in the true order. Duplicates are in the order of recording.
    faults
        All faults, sorted by the first section, with confidence 1.
    damages
        Type of damage of each damaged section.
    nan_sections
        Sections that have a region of NaN.
    """

    options: SimulationOptions
    positions: Floats
    rank: Integers
    faults: tuple[SectionFault, ...]
    damages: dict[int, str]
    nan_sections: tuple[int, ...]
    _copied_from: dict[int, int] = field(repr=False)
    _depths: Floats = field(repr=False)
    _texture: LayeredTexture = field(repr=False)

    def __len__(self) -> int:
        return self.options.number

    @property
    def shape(self) -> tuple[int, int, int]:
        """(sections, rows, columns)."""
        return self.options.number, self.options.rows, self.options.columns

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.float32]:
        """uint16, or float32 if there are NaN."""
        return np.dtype(np.float32) if self.nan_sections else np.dtype(np.uint16)

    def planes(self, start: int = 0, stop: int | None = None) -> Planes:
        """Sections ``start`` to ``stop`` (the last one by default) in the order of recording: (m, rows, columns)."""
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise ParameterError(f"sections {start} to {stop} are not within 0 to {len(self)}")
        out: Planes = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for i in range(start, stop):
            out[i - start] = self._plane(i)
            if i in self.nan_sections:
                out[i - start][ellipse(self.shape[1:], _stream(self.options, _NAN_REGION, i), _NAN_SHARE)] = np.nan
        return out

    def chunks(self, size: int) -> Iterator[Planes]:
        """All sections, ``size`` at a time."""
        if size < 1:
            raise ParameterError(f"a chunk holds at least one section, not {size}")
        for start in range(0, len(self), size):
            yield self.planes(start, min(start + size, len(self)))

    def correlation(self, distance: npt.ArrayLike) -> Floats:
        """Expected correlation of the texture, without noise, of sections at a distance in nominal spacings."""
        return self._texture.correlation(distance)

    def faulty(self, fault_type: str) -> set[int]:
        """All sections that have a fault of this type."""
        return {i for fault in self.faults if fault.fault_type == fault_type for i in fault.sections}

    def _plane(self, section: int) -> npt.NDArray[np.uint16]:
        """Camera counts (rows, columns) of a section, before any region of NaN."""
        o = self.options
        source = self._copied_from.get(section, section)
        rng = _stream(o, _LIGHT, source)
        brightness, contrast = 1 + np.array([o.brightness_cv, o.contrast_cv]) * rng.standard_normal(2)
        level = o.mean * max(brightness, _LEAST_LIGHT)
        if any(f.fault_type == "constant" and source in f.sections for f in self.faults):
            return np.full(self.shape[1:], round(min(level, 65535)), np.uint16)
        image = self._texture.at(float(self._depths[source]))
        image *= np.float32(level * o.contrast * max(contrast, _LEAST_LIGHT))
        image += np.float32(level)
        if source in self.damages:
            image = damage(image, self.damages[source], _stream(o, _DAMAGE, source), _BARE * level)
        return expose(image, _stream(o, _NOISE, source), o.counts_per_electron, o.read_noise)


@dataclass(frozen=True)
class _Event:
    """A fault to make, of ``length`` sections in a row.

    ``detail`` is the number of missing sections, "exact" or "near" of a duplicate, or the type of damage.
    """

    fault_type: str
    length: int
    detail: str = ""


def simulate_series(options: SimulationOptions) -> SimulatedSeries:
    """A series of sections with known positions and faults.

    Raises
    ------
    ParameterError
        If the faults do not fit into the series with ``options.apart`` sound sections between them.

    Notes
    -----
    Only positions are made here. Pixels are made on demand, in about 60 ms for a section of 1024x1024.
    """
    o = options
    events = _events(o)
    spacing, order = _spacings(o), np.arange(o.number)
    copied: dict[int, int] = {}
    faults, damages = [], {}
    for event, first in zip(events, _places(o, events), strict=True):
        sections = tuple(range(first, first + event.length))
        n_missing = int(event.detail) if event.fault_type == "missing" else 0
        match event.fault_type:
            case "missing":
                spacing[first] += n_missing
            case "duplicate":
                spacing[first] = 0
                if event.detail == "exact":
                    copied[first + 1] = first
            case "swapped":
                order[list(sections)] = np.roll(sections, event.length // 2)
            case "damaged":
                damages[first] = event.detail
        faults.append(SectionFault(event.fault_type, sections, 1.0, n_missing))
    place = np.concatenate([[0.0], np.cumsum(spacing)])
    nan = _stream(o, _NAN_SECTIONS).choice(o.number, o.nan_sections, replace=False)
    return SimulatedSeries(
        options=o,
        positions=place[order],
        rank=order,
        faults=tuple(sorted(faults, key=lambda fault: fault.sections)),
        damages=damages,
        nan_sections=tuple(sorted(int(i) for i in nan)),
        _copied_from=copied,
        _depths=_warped(o, place[order]),
        _texture=texture_of(o),
    )


def texture_of(options: SimulationOptions) -> LayeredTexture:
    """The texture of a series; its length along z is ``correlation_z`` at every depth.

    A position in nominal spacings equals a depth in the texture, unless ``correlation_change`` warps the depths.
    """
    return LayeredTexture(
        (options.rows, options.columns),
        options.seed,
        options.correlation_px,
        tuple((share, length * options.correlation_z) for share, length in options.components),
    )


def _stream(options: SimulationOptions, *key: int) -> np.random.Generator:
    """The random numbers of one kind of decision (and of one section)."""
    return np.random.default_rng([options.seed, _SIMULATION, *key])


def _events(o: SimulationOptions) -> list[_Event]:
    """All faults of the series, in random order."""
    rng = _stream(o, _EVENTS)
    low, high = o.gap_sections
    events = [_Event("missing", 2, str(rng.integers(low, high + 1))) for _ in range(o.gaps)]
    events += [_Event("duplicate", 2, "exact")] * o.duplicates
    events += [_Event("duplicate", 2, "near")] * o.near_duplicates
    events += [_Event("swapped", 2)] * o.swaps
    events += [_Event("swapped", 2 * o.block)] * o.block_swaps
    events += [_Event("damaged", 1, o.damages[i % len(o.damages)]) for i in range(o.damaged)]
    events += [_Event("constant", 1)] * o.constant
    return [events[i] for i in rng.permutation(len(events))]


def _places(o: SimulationOptions, events: list[_Event]) -> list[int]:
    """First section of each event; the spare sections of the series are spread between events at random."""
    slack = o.number - sum(event.length + o.apart for event in events) - o.apart
    if events and slack < 0:
        raise ParameterError(f"{len(events)} faults need {o.number - slack} sections, the series has {o.number}")
    rng = _stream(o, _PLACES)
    before = np.sort(rng.integers(0, slack + 1, len(events))) if events else np.empty(0, np.int64)
    lengths = np.cumsum([0] + [event.length + o.apart for event in events])[:-1]
    return [int(a + b) + o.apart for a, b in zip(before, lengths, strict=True)]


def _spacings(o: SimulationOptions) -> Floats:
    """Distances (number - 1,) of neighbours in their true order, without faults, in nominal spacings."""
    if o.spacing_cv == 0 or o.number == 1:
        return np.ones(o.number - 1)
    rng = _stream(o, _SPACINGS)
    return np.asarray(rng.gamma(o.spacing_cv**-2, o.spacing_cv**2, o.number - 1))


def _warped(o: SimulationOptions, positions: Floats) -> Floats:
    """Depths in the texture, with one length along z, for positions in the series, where the length changes."""
    if o.correlation_change == 0:
        return positions
    steps = np.linspace(0, positions.max(), max(2, math.ceil(positions.max() * _WARP_STEPS)))
    stretch = 1 / (1 + o.correlation_change * np.sin(2 * np.pi * steps / o.change_period))
    depth = np.concatenate([[0.0], np.cumsum((stretch[1:] + stretch[:-1]) / 2 * np.diff(steps))])
    return np.asarray(np.interp(positions, steps, depth))
