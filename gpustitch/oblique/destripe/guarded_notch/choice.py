"""Choose the guarded filter from the frames: about ten notches judged on a few frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.evidence import Likeness, Windows
from gpustitch.oblique.destripe.guarded_notch.notch import Notch
from gpustitch.oblique.destripe.guarded_notch.window_grid import WINDOW_PX

N_FRAMES = 8
# The mildest notch comes first: a long one takes least of the tissue, few levels leave wide structures alone.
LENGTHS_PX = (2048.0, 1024.0, 512.0, 256.0)
LEAST_LEVEL, MOST_LEVEL = 4, 7
# A milder notch may leave so much more of the stripes' energy, and so much of the light at most, which hardly shows.
_TIE, _UNSEEN = 0.05, 0.015
# A running median of fewer than a quarter of the rows tells stripes from tissue.
_LEAST_ROWS = 8
# Stripes are found at neighbouring levels.
_LEAST_COMPARED = 2
# Rows of stripes more skewed than this may be shadows among rows of full light.
_SKEWED = -0.5
# Lines that lean and hold at least this part of the energy of all lines are stripes.
_LEAST_LEANING = 0.5
# Digits of fractions in a record: further ones differ from processor to processor.
_DIGITS = 5
# Stripes weaker than this, as a fraction of the light, are none.
_NO_STRIPES = 1e-3


@dataclass(frozen=True)
class Trial:
    """One notch, what it leaves of the stripes and the standard deviation of its gains, as fractions of the light."""

    notch: Notch
    stripes_left: float
    gain_spread: float


@dataclass(frozen=True)
class Choice:
    """The notch chosen, None if the frames hold no stripes, and all that were tried.

    ``stripes`` is the standard deviation of the stripes in the frames, as a fraction of the light. ``is_too_small``
    says that such frames cannot tell stripes from tissue. ``lines_end`` says that most lines along the rows end within
    half a frame, which are left, and ``takes_ends`` that some do, which the notch takes. ``lean_deg`` is the angle of
    lines that go on but lean, positive where they run down to the right.
    """

    notch: Notch | None
    stripes: float
    trials: tuple[Trial, ...]
    n_frames: int
    is_too_small: bool = False
    lines_end: bool = False
    takes_ends: bool = False
    lean_deg: float = 0.0

    def correction(self, correction: Correction) -> Correction:
        """The correction with the chosen filter."""
        if self.notch is None:
            return replace(correction, method="none")
        chosen = self.notch
        wavelet = replace(
            correction.wavelet,
            notch_length_px=chosen.length_px,
            level=chosen.level,
            strengths=chosen.strengths,
            shadows=chosen.shadows,
        )
        return replace(correction, wavelet=wavelet)

    @property
    def lines(self) -> tuple[str, ...]:
        """The table of trials and the choice, for people."""
        looked_at = f"{self.n_frames} frame{'s' if self.n_frames > 1 else ''}"
        if self.is_too_small:
            return ()
        if not self.trials:
            unsure = f" beyond what tissue may be ({100 * self.stripes:.2f} %)" if self.stripes >= _NO_STRIPES else ""
            return (f"destriping: no stripes along the rows in {looked_at}{unsure}, none are removed",)
        head = f"destriping, chosen on {looked_at} with stripes of {100 * self.stripes:.2f} %:"
        rows = [
            f"  notch {t.notch.length_px:5.0f} px, {t.notch.level} levels{', shadows' if t.notch.shadows else ''}: "
            f"stripes left {100 * t.stripes_left:5.2f} %, "
            f"gains {100 * t.gain_spread:5.2f} %{'  <- chosen' if t.notch == self.notch else ''}"
            for t in self.trials
        ]
        if self.takes_ends:
            rows.append(
                "  some lines end within the frames or bend: streaks, or tissue along the rows. This notch takes them, "
                f"`notch_length_px` {LENGTHS_PX[0]:.0f} leaves them"
            )
        return (head, *rows)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What users should be warned of."""
        return tuple(self._cautions())

    def _cautions(self) -> Iterator[str]:
        if self.is_too_small:
            yield (
                "the frames are too small to tell stripes from tissue, for which short wavelets need "
                f"{2 * WINDOW_PX} rows and columns, so no stripes are removed: give `notch_length_px` to remove them "
                "all the same"
            )
        if self.lines_end:
            yield (
                "lines along the rows end within the frames, as vessels, fibres and bent streaks do: they are left as "
                f"they are; give `notch_length_px`, such as {LENGTHS_PX[-1]:.0f}, to remove them too"
            )
        if self.lean_deg:
            lean, side = abs(self.lean_deg), "counter-clockwise" if self.lean_deg > 0 else "clockwise"
            yield (
                f"stripes lean {lean:.1f} degrees against the rows, along which they are removed: more of them goes if "
                f"the frames are turned by {lean:.1f} degrees {side}"
            )

    @property
    def record(self) -> dict[str, Any]:
        """What provenance keeps."""
        return {
            "frames": self.n_frames,
            "stripes": round(self.stripes, _DIGITS),
            "lines_end": self.lines_end,
            "takes_lines_that_end": self.takes_ends,
            "lean_deg": round(self.lean_deg, 3),
            "notch": None if self.notch is None else _notch_record(self.notch),
            "trials": [
                _notch_record(t.notch)
                | {"stripes_left": round(t.stripes_left, _DIGITS), "gain_spread": round(t.gain_spread, _DIGITS)}
                for t in self.trials
            ],
        }


def check_open(correction: Correction) -> None:
    """Raise ParameterError unless the correction leaves it to the frames how to destripe."""
    if correction.method != "wavelet":
        raise ParameterError(f"`auto` chooses a filter of `method` wavelet, not of {correction.method}")
    if not correction.wavelet.is_open:
        raise ParameterError(
            "`auto` chooses the filter, but `sigma1`, `sigma2`, `level`, `notch_length_px`, `threshold`, `crossover` "
            "or `compat` is given too: give one or the other"
        )


def choose_notch(frames: Sequence[HostArray], correction: Correction) -> Choice:
    """Choose the notch that leaves hardly more stripes than the best one, and of such the mildest.

    Parameters
    ----------
    frames
        Raw frames (rows, columns), all of one shape, upright: stripes lie along the rows.
    correction
        Gives the dark offset, the value of one count, and the wavelet.

    Raises
    ------
    ParameterError
        If there are no frames.
    """
    if not frames:
        raise ParameterError("`frames` is empty: without frames no filter can be chosen")
    unit = correction.wavelet.one_count
    counts = [frame if unit == 1 else frame.astype(np.float32) / np.float32(unit) for frame in frames]
    windows, wavelet = Windows(counts, correction.dark / unit), correction.wavelet.wavelet
    levels = _levels(frames[0].shape[0])
    whole = windows.likeness(levels[-1], wavelet)
    is_too_small = whole.n_levels < _LEAST_COMPARED
    lines_end, lean_deg = _ends_or_leans(windows, whole, wavelet)
    if lines_end:
        whole = windows.likeness(levels[-1], wavelet, far=True)
    stripes = whole.stripes()
    trials = tuple(_trials(windows, whole, levels, wavelet, far=lines_end)) if stripes**0.5 >= _NO_STRIPES else ()
    chosen = _mildest(trials, stripes)
    takes_ends = False
    if chosen is not None and chosen.length_px < LENGTHS_PX[0] and not (lines_end or lean_deg):
        takes_ends = windows.lines_end(whole, wavelet, replace(chosen, length_px=LENGTHS_PX[0]))
    return Choice(chosen, stripes**0.5, trials, len(frames), is_too_small, lines_end, takes_ends, lean_deg)


def _ends_or_leans(windows: Windows, whole: Likeness, wavelet: str) -> tuple[bool, float]:
    """Whether most lines surely end within half a frame, and the angle of lines that only leave their row."""
    if not (any(whole.strengths) and windows.lines_end(whole, wavelet)):
        return False, 0.0
    lean = windows.lean(len(whole.rows))
    goes_on = lean.covariance >= _LEAST_LEANING * whole.stripes()
    return not goes_on, lean.degrees if goes_on else 0.0


def _trials(windows: Windows, whole: Likeness, levels: Sequence[int], wavelet: str, *, far: bool) -> Iterator[Trial]:
    """All notches on the windows; those for shadows only if the rows are as skewed as shadows are.

    With ``far``, what is alike over half a frame is stripes, and a notch is as long as the frame if one is.
    """
    strengths = tuple(round(strength, 3) for strength in whole.strengths)
    whole_rows = tuple(length for length in LENGTHS_PX if length >= windows.columns) or LENGTHS_PX[:1]
    lengths = whole_rows if far else LENGTHS_PX
    notches = [Notch(length, level, wavelet, strengths[:level]) for level, length in itertools.product(levels, lengths)]
    deeper = _one_more(strengths)
    shadows = [Notch(length, levels[-1], wavelet, deeper, shadows=True) for length in lengths]
    # Tissue that ends within the frame may be as skewed as shadows are.
    if not far and windows.skewness(replace(shadows[0], shadows=False)) < _SKEWED:
        notches += shadows
    for notch in notches:
        if any(notch.strengths):
            rows, spread = windows.after(notch, levels[-1], far=far)
            yield Trial(notch, whole.stripes(rows) ** 0.5, spread)


def _mildest(trials: Sequence[Trial], stripes: float) -> Notch | None:
    """The mildest notch that leaves hardly more than the best: one for shadows if such a one does.

    A few deep shadows among stripes of both kinds are as skewed, but there a notch for shadows leaves the bright ones.
    """
    if not trials:
        return None
    bound = min(t.stripes_left for t in trials) ** 2 + min(_TIE * stripes, _UNSEEN**2)
    return min((t for t in trials if t.stripes_left**2 <= bound), key=_harshness).notch


def _levels(rows: int) -> list[int]:
    """Numbers of levels that are tried on frames of ``rows`` rows: the least, and the two most that fit."""
    most = max(LEAST_LEVEL, min(MOST_LEVEL, (rows // _LEAST_ROWS).bit_length() - 1))
    return sorted({LEAST_LEVEL, max(LEAST_LEVEL, most - 1), most})


def _one_more(strengths: tuple[float, ...]) -> tuple[float, ...]:
    """Strengths with one level more: a shadow's depth reaches down to levels at which little of it is left to find."""
    last = max((level for level, strength in enumerate(strengths) if strength), default=0)
    return (*strengths[: last + 1], strengths[last], *strengths[last + 2 :])[: len(strengths)]


def _harshness(trial: Trial) -> tuple[bool, float, float]:
    return not trial.notch.shadows, -trial.notch.length_px, trial.notch.level


def _notch_record(notch: Notch) -> dict[str, Any]:
    return {
        "notch_length_px": notch.length_px,
        "level": notch.level,
        "strengths": list(notch.strengths),
        "shadows": notch.shadows,
    }
