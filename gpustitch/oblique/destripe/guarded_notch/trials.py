"""The notches that are tried on frames, from the mildest on, and which of them is taken."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gpustitch.oblique.destripe.guarded_notch.evidence import Likeness, Windows
from gpustitch.oblique.destripe.guarded_notch.notch import LENGTHS_PX, Notch

# Few levels leave wide structures alone.
LEAST_LEVEL, MOST_LEVEL = 4, 7
# A notch of so many rows' lengths weighs all of a row alike.
_WHOLE_ROWS = 8
# A milder notch may leave so much more of the stripes' energy, and so much of the light at most, which hardly shows.
_TIE, _UNSEEN = 0.05, 0.015
# Gains that vary by more than so many times the stripes' energy take more from the tissue than the stripes do.
_MOST_TAKEN = 2.0
# That light rows stay as they are is worth a notch so many times shorter, but no more.
_LIGHT_ROWS = 2
# A running median of fewer than a quarter of the rows tells stripes from tissue.
_LEAST_ROWS = 8
# Where the coarsest level is surely stripes, one of about half of the rows does.
_LEAST_ROWS_OF_WIDE = 4
# Rows of stripes more skewed than this may be shadows among rows of full light.
_SKEWED = -0.5
# Digits of strengths: further ones differ from processor to processor.
_DIGITS = 3


@dataclass(frozen=True)
class Trial:
    """One notch, what it leaves of the stripes and the standard deviation of its gains, as fractions of the light."""

    notch: Notch
    stripes_left: float
    gain_spread: float


def most_level(rows: int, *, is_wide: bool = False) -> int:
    """The most levels that fit frames of ``rows`` rows; one more where stripes are wide, if a running median does."""
    fits = (rows // (_LEAST_ROWS_OF_WIDE if is_wide else _LEAST_ROWS)).bit_length() - 1
    return max(LEAST_LEVEL, min(MOST_LEVEL, fits))


def levels_tried(most: int) -> list[int]:
    """Numbers of levels that are tried: the least, and the two most."""
    return sorted({LEAST_LEVEL, max(LEAST_LEVEL, most - 1), most})


def tried(windows: Windows, likeness: Likeness, wavelet: str, *, lines_end: bool) -> Iterator[Trial]:
    """All notches on the windows, judged by their likeness at the most levels.

    Where lines end within the frames, only what all of a row holds is a stripe, and what is alike over half of it.
    """
    most = len(likeness.rows)
    for notch in _whole_rows(windows, likeness, wavelet) if lines_end else _notches(windows, likeness, wavelet):
        if any(notch.strengths):
            rows, spread = windows.after(notch, most, whole_rows=lines_end)
            yield Trial(notch, likeness.found_stripes(rows) ** 0.5, spread)


def mildest(trials: Sequence[Trial], stripes: float) -> Notch | None:
    """The mildest notch that leaves hardly more than the best: one for shadows if such a one does.

    A few deep shadows among stripes of both kinds are as skewed, but there a notch for shadows leaves the bright ones.
    ``stripes`` is the energy of all stripes. None is taken if all take more from the tissue than stripes do.
    """
    fair = [t for t in trials if t.gain_spread**2 <= _MOST_TAKEN * stripes]
    if not fair:
        return None
    bound = min(t.stripes_left for t in fair) ** 2 + min(_TIE * stripes, _UNSEEN**2)
    enough = [t for t in fair if t.stripes_left**2 <= bound]
    longest = max((t.notch.length_px for t in enough if not t.notch.shadows), default=0.0)
    mild = (t for t in enough if not t.notch.shadows or _LIGHT_ROWS * t.notch.length_px >= longest)
    return min(mild, key=_harshness).notch


def _whole_rows(windows: Windows, likeness: Likeness, wavelet: str) -> list[Notch]:
    """Notches that weigh all of a row alike."""
    strengths = _rounded(likeness, np.inf)
    length = float(_WHOLE_ROWS * windows.columns)
    return [Notch(length, level, wavelet, strengths[:level]) for level in levels_tried(len(likeness.rows))]


def _notches(windows: Windows, likeness: Likeness, wavelet: str) -> list[Notch]:
    """Notches of all lengths; those for shadows too if the rows are as skewed as shadows are."""
    strengths, levels = {length: _rounded(likeness, length) for length in LENGTHS_PX}, levels_tried(len(likeness.rows))
    pairs = itertools.product(levels, LENGTHS_PX)
    notches = [Notch(length, level, wavelet, strengths[length][:level]) for level, length in pairs]
    dark = {length: _rounded(likeness, length, shadows=True) for length in LENGTHS_PX}
    shadows = [Notch(length, levels[-1], wavelet, dark[length], shadows=True) for length in LENGTHS_PX]
    # Skewed with a level more or without it, which may be tissue alone and hide shadows.
    whole = replace(shadows[0], shadows=False)
    if min(windows.skewness(replace(whole, strengths=of)) for of in _sure_or_more(likeness)) < _SKEWED:
        notches += shadows
    return notches


def _rounded(likeness: Likeness, length_px: float, *, shadows: bool = False) -> tuple[float, ...]:
    return tuple(round(strength, _DIGITS) for strength in likeness.parts(length_px, shadows=shadows))


def _sure_or_more(likeness: Likeness) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Strengths of the levels that are sure, and with one level more, of which as much is taken."""
    sure = likeness.strengths
    last = max((level for level, strength in enumerate(sure) if strength), default=0)
    return sure, (*sure[: last + 1], *(sure[last] for _ in sure[last + 1 : last + 2]), *sure[last + 2 :])


def _harshness(trial: Trial) -> tuple[bool, float, float]:
    return not trial.notch.shadows, -trial.notch.length_px, trial.notch.level
