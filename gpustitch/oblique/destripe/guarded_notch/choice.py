"""Choose the guarded filter from the frames: about ten notches judged on a few frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.evidence import Likeness, Windows
from gpustitch.oblique.destripe.guarded_notch.notch import LENGTHS_PX, Notch
from gpustitch.oblique.destripe.guarded_notch.trials import Trial, mildest, most_level, tried
from gpustitch.oblique.destripe.guarded_notch.window_grid import WINDOW_PX

N_FRAMES = 8
# Stripes are found at neighbouring levels.
_LEAST_COMPARED = 2
# Lines that go on where they lean, with at least this part of the energy of those that end on a row, are stripes.
_LEAST_LEANING = 0.5
# Digits of fractions in a record: further ones differ from processor to processor.
_DIGITS = 5
# Stripes weaker than this, as a fraction of the light, are none.
_NO_STRIPES = 1e-3
# What users who see stripes all the same can do.
TO_REMOVE = f"give `notch_length_px`, such as {LENGTHS_PX[-2]:.0f}, to remove them"
_LEFT = f"lines that are seen are left: {TO_REMOVE}"


@dataclass(frozen=True)
class Lines:
    """How lines along the rows go on.

    Attributes
    ----------
    ending
        Standard deviation of the lines that end within the frames, as a fraction of the light; 0 if none matter.
    lean_deg
        Angle of lines that go on but lean, positive where they run down to the right.
    streaks
        Standard deviation of lines that end but are streaks of light, which are taken; 0 if there are none.
    bright
        Standard deviation of lines that are not seen to end, but are bright among dark, which are taken; 0 if none are.
    """

    ending: float = 0.0
    lean_deg: float = 0.0
    streaks: float = 0.0
    bright: float = 0.0

    def cautions(self) -> Iterator[str]:
        """What users should be warned of."""
        if self.ending:
            yield (
                f"lines along the rows, of {100 * self.ending:.1f} % of the light, end within the frames, as vessels, "
                f"fibres and some streaks of light do: they are left as they are; give `notch_length_px`, such as "
                f"{LENGTHS_PX[-1]:.0f}, to remove them too"
            )
        if self.streaks:
            yield (
                f"lines along the rows, of {100 * self.streaks:.1f} % of the light, end within the frames, light and "
                f"dark ones alike, as streaks of light do: they are removed; look whether any were vessels or fibres"
            )
        if self.bright:
            yield (
                f"lines along the rows, of {100 * self.bright:.1f} % of the light, are bright among dark, as fibres "
                f"are, but are not seen to end within the frames: they are removed; look whether any were fibres"
            )
        if self.lean_deg:
            lean, side = abs(self.lean_deg), "counter-clockwise" if self.lean_deg > 0 else "clockwise"
            yield (
                f"stripes lean {lean:.1f} degrees against the rows, along which they are removed: more of them goes if "
                f"the frames are turned by {lean:.1f} degrees {side}"
            )


@dataclass(frozen=True)
class Choice:
    """The notch chosen, None if the frames hold no stripes, and all that were tried.

    ``stripes`` is the standard deviation of the stripes in the frames, as a fraction of the light. ``is_too_small``
    says that such frames cannot tell stripes from tissue, ``is_narrow`` that they cannot tell them from short vessels.
    """

    notch: Notch | None
    stripes: float
    trials: tuple[Trial, ...]
    n_frames: int
    lines_along: Lines = Lines()
    is_too_small: bool = False
    is_narrow: bool = False

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
            return (self._no_stripes(looked_at),)
        none = "" if self.notch else f", none chosen: all take more from the tissue; {_LEFT}"
        head = f"destriping, chosen on {looked_at} with stripes of {100 * self.stripes:.2f} %{none}:"
        return (head, *(self._row(trial) for trial in self.trials))

    def _no_stripes(self, looked_at: str) -> str:
        """That none are removed, and whether there may be some all the same."""
        rows = "all of the rows" if self.lines_along.ending else "the rows"
        none = f"destriping: no stripes along {rows} in {looked_at}"
        if self.stripes < _NO_STRIPES:
            return f"{none}, none are removed"
        return f"{none} beyond what tissue may be ({100 * self.stripes:.2f} %), none are removed; {_LEFT}"

    def _row(self, trial: Trial) -> str:
        notch = trial.notch
        return (
            f"  notch {notch.length_px:5.0f} px, {notch.level} levels{', shadows' if notch.shadows else ''}: "
            f"stripes left {100 * trial.stripes_left:5.2f} %, "
            f"gains {100 * trial.gain_spread:5.2f} %{'  <- chosen' if notch == self.notch else ''}"
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """What users should be warned of."""
        too_small = (
            "the frames are too small to tell stripes from tissue, for which short wavelets need "
            f"{2 * WINDOW_PX} rows and columns, so no stripes are removed: give `notch_length_px` to remove them all "
            "the same"
        )
        narrow = (
            "the frames have too few columns to see whether lines along the rows go on as stripes do: they are "
            "removed; look whether any were vessels or fibres"
        )
        said = [too_small] if self.is_too_small else [narrow] if self.is_narrow and self.notch else []
        return (*said, *self.lines_along.cautions())

    @property
    def gain_spread(self) -> float:
        """Standard deviation of the gains of the chosen notch, as a fraction of the light; 0 if none is chosen."""
        return next((trial.gain_spread for trial in self.trials if trial.notch == self.notch), 0.0)

    @property
    def is_none_told(self) -> bool:
        """Whether none is removed, and no caution says so yet."""
        return self.notch is None and not self.is_too_small and not self.lines_along.ending

    @property
    def record(self) -> dict[str, Any]:
        """What provenance keeps."""
        return {
            "frames": self.n_frames,
            "stripes": round(self.stripes, _DIGITS),
            "lines_end": self.lines_along.ending > 0,
            "ending": round(self.lines_along.ending, _DIGITS),
            "streaks": round(self.lines_along.streaks, _DIGITS),
            "bright": round(self.lines_along.bright, _DIGITS),
            "lean_deg": round(self.lines_along.lean_deg, 3),
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
    windows, wavelet = _windows_of(frames, correction), correction.wavelet.wavelet
    near = _likeness(windows, wavelet)
    level = len(near.rows)
    lines = _lines_along(windows, near)
    lines_end = lines.ending > 0
    if lines_end:
        likeness = windows.likeness_of_whole_rows(level, wavelet)
    else:
        likeness = near.nearby if lines.lean_deg or lines.streaks else near.going_on
    stripes = likeness.stripes()
    trials = tuple(tried(windows, likeness, wavelet, lines_end=lines_end)) if stripes**0.5 >= _NO_STRIPES else ()
    chosen = mildest(trials, stripes)
    if chosen is None and lines.streaks:
        lines = Lines(ending=lines.streaks)
    if chosen is None and lines.bright:
        lines = Lines()
    too_small = near.n_levels < _LEAST_COMPARED
    return Choice(chosen, stripes**0.5, trials, len(frames), lines, too_small, windows.is_narrow)


def _windows_of(frames: Sequence[HostArray], correction: Correction) -> Windows:
    """The frames' windows, in counts."""
    unit = correction.wavelet.one_count
    counts = [frame if unit == 1 else frame.astype(np.float32) / np.float32(unit) for frame in frames]
    return Windows(counts, correction.dark / unit)


def _likeness(windows: Windows, wavelet: str) -> Likeness:
    """What rows have in common; at a level more where the coarsest one and this are surely stripes that go on."""
    near = windows.likeness(most_level(windows.rows), wavelet)
    is_wide = near.going_on.strengths[-1] and near.far is not None and near.far.found(near.rows)[-1]
    if is_wide and most_level(windows.rows, is_wide=True) > len(near.rows):
        wide = windows.likeness(len(near.rows) + 1, wavelet)
        if all(wide.going_on.strengths[-2:]):
            return wide
    return near


def _lines_along(windows: Windows, near: Likeness) -> Lines:
    """Whether lines end within the frames, or only leave their row because they lean."""
    if not any(near.strengths):
        return Lines()
    length, ending = windows.length(), windows.ending()
    if length.is_short:
        return Lines(ending=length.near**0.5)
    if not ending.matters:
        return Lines(bright=windows.bright_lines() ** 0.5)
    lean = windows.lean()
    if lean.covariance - lean.along_rows >= _LEAST_LEANING * ending.energy:
        return Lines(lean_deg=lean.degrees)
    if windows.are_streaks(ending):
        return Lines(streaks=ending.energy**0.5)
    return Lines(ending=ending.energy**0.5)


def _notch_record(notch: Notch) -> dict[str, Any]:
    return {
        "notch_length_px": notch.length_px,
        "level": notch.level,
        "strengths": list(notch.strengths),
        "shadows": notch.shadows,
    }
