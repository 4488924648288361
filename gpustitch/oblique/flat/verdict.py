"""What to make of a flat: whether it is used, what users are warned of, and what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpustitch.oblique.flat.fit import FlatFit, FlatOptions
from gpustitch.oblique.flat.judge import Judged
from gpustitch.oblique.flat.look import Look

# Errors of a flat, as fractions of the light, from which users are warned. Twice the scatter may well be the error.
_SURE_MISFIT, _SCATTER, _CHANGE = 0.015, 0.015, 0.02
# What noise may hide: of a flat that seems to err by this, and of any.
_SEEMING_MISFIT, _HIDDEN_MISFIT, _HIDDEN_AT_ALL = 0.022, 0.042, 0.08
_OFFSET, _UNKNOWN_OFFSET = 0.01, 0.03
# A flat that errs less than this harms nobody, even where the light is more even still.
_HARMLESS = 0.02
# Flats of the first and last frames differ surely where they differ by so many times their scatter.
_SURELY_CHANGED = 2.0
# Part of the frame without tissue, or saturated, from which users are warned.
_UNSEEN = 0.05
# The background lies between these: standard deviations above the offset, and part of the brightness of tissue.
_BACKGROUND_SIGMAS, _BACKGROUND_SHARE = 3.0, 0.3
# Part of the values that count and would not in half of the light: the flat is then too even.
_NEAR_BACKGROUND = 0.1


@dataclass(frozen=True)
class Verdict:
    """The judgement of a flat, beside that of others and of no flat at all.

    Attributes
    ----------
    judged
        The flat.
    others
        All flats that were to choose from.
    none
        The judgement of frames without a flat.
    look
        What a few frames showed.
    options
        How the flat was fitted.
    trends
        By how much bright spots deny the flat, as `gpustitch.oblique.flat.spots.Spots.trends` has it.
    is_auto, allows_poor
        Whether the choice was automatic, and whether the flat is then used even if it is worse than none.
    saturated
        Part of the frame whose percentiles are those of saturated pixels.
    unable
        Why the flat cannot be judged; empty if it can.
    has_more_frames
        Whether there are more frames than were taken.
    said
        Warnings that users have read already.
    """

    judged: Judged
    others: Sequence[Judged]
    none: Judged
    look: Look
    options: FlatOptions
    trends: Mapping[str, float]
    is_auto: bool
    allows_poor: bool
    saturated: float = 0.0
    unable: str = ""
    has_more_frames: bool = False
    said: tuple[str, ...] = ()

    @property
    def fit(self) -> FlatFit:
        """The flat."""
        assert self.judged.fit is not None
        return self.judged.fit

    @property
    def is_refused(self) -> bool:
        """Whether the flat must not be used."""
        return self.is_harmful and self.is_auto and not self.allows_poor

    @property
    def is_harmful(self) -> bool:
        """Whether the flat errs, and no less than frames without one."""
        return self.judged.misfit >= max(self.none.misfit, _HARMLESS)

    @property
    def is_useful(self) -> bool:
        """Whether frames are better with the flat; False if it cannot be checked."""
        return self.judged.is_better_than(self.none) and self.judged.is_surely_uneven

    @property
    def refusal(self) -> str:
        """Why frames are not better with the flat, or why that is unknown; empty if they are."""
        if self.is_useful:
            return ""
        if np.isnan(self.judged.misfit):
            return f"the flat cannot be checked: {self.unable or 'its frames show too little tissue'}"
        if self.judged.is_better_than(self.none):
            return (
                f"the flat is not surely better than none: it differs from even light by "
                f"{_percent(self.judged.unevenness)}, and other frames would change it by "
                f"{_percent(self.judged.scatter)}; {self._instead}"
            )
        return (
            f"the flat is not better than none: it errs by {_percent(self.judged.misfit)}, and without one the light "
            f"seems uneven by {_percent(self.none.misfit)}; {self._instead}"
        )

    @property
    def _instead(self) -> str:
        if not self.is_auto:
            return "do without it, or try `auto`, which chooses a model"
        if self.allows_poor:
            return "it is used all the same, as `allow_poor_flat` says"
        return f"{self._more_frames}, or use it all the same with `allow_poor_flat`"

    @property
    def choice(self) -> str:
        """The figures in one line for people."""
        models = ", ".join(f"{one.fit.model} {_percent(one.misfit)}" for one in self.others if one.fit)
        return (
            f"misfit of flats, measured on halves of the frames: none {_percent(self.none.misfit)}, {models}; "
            f"{self.fit.model} is taken, its scatter is {_percent(self.judged.scatter)}"
        )

    def cautions(self) -> Iterator[str]:
        """Warnings about the flat."""
        judged, none, more = self.judged, self.none, self._more_frames
        if self.refusal:
            yield self.refusal
        if judged.sure_misfit > _SURE_MISFIT and not (self.refusal and self.is_auto):
            yield (
                f"the flat may be wrong: the {self.fit.model} model misses {_percent(judged.misfit)} of the light "
                f"(no flat: {_percent(none.misfit)}); {self._remedy}"
            )
        elif self._is_unclear and not self.refusal:
            yield (
                f"the flat may be right or wrong: it seems to miss {_percent(judged.misfit)} of the light, and noise "
                f"hides up to {_percent(judged.possible_misfit)}; {more}"
            )
        if judged.scatter > _SCATTER:
            yield (
                f"the flat is uncertain by {_percent(judged.scatter)}: parts of the frames give different ones; {more}"
            )
        if judged.change > max(_CHANGE, _SURELY_CHANGED * judged.scatter):
            yield (
                f"the light, or where tissue lies in the frame, changed meanwhile: flats of the first and of the last "
                f"half of the frames differ by {_percent(2 * judged.change)}; make a flat for each part of the tiles"
            )
        if self.saturated > _UNSEEN:
            yield (f"{100 * self.saturated:.0f} % of the frame {self._too_bright}")
        if (unseen := 1 - self.fit.used_pixels - self.saturated) > _UNSEEN:
            yield (
                f"{100 * unseen:.0f} % of the frame showed no tissue that can be used: there the flat is a guess from "
                f"the rest; {more}"
            )
        for name, trend in self.trends.items():
            yield (
                f"the flat may be wrong: once it is divided out, bright spots are {_percent(abs(trend))} "
                f"{'brighter' if trend > 0 else 'dimmer'} in the second half of the camera's {name} than in the first; "
                "perhaps it is tissue, not light, that differs there"
            )
        yield from self._about_the_offset()
        yield from self._about_the_background()

    @property
    def _more_frames(self) -> str:
        return "take more `n_frames`" if self.has_more_frames else "frames with more tissue would tell"

    @property
    def _remedy(self) -> str:
        if self.is_auto:
            return "look at the picture of the residual: what is smooth there is left in the frames, dirt is no fault"
        return "try another `model`, or `auto`, which chooses one"

    @property
    def _is_unclear(self) -> bool:
        judged = self.judged
        limit = _HIDDEN_MISFIT if judged.misfit > _SEEMING_MISFIT else _HIDDEN_AT_ALL
        return judged.possible_misfit > limit

    @property
    def _too_bright(self) -> str:
        if self.look.saturation is None:
            return "reaches the last bin: there the flat is a guess from the rest; raise `values_per_bin`"
        return (
            f"is saturated, at {self.look.saturation} counts: there the flat is a guess from the rest; only frames of "
            "a lower exposure help"
        )

    def _about_the_offset(self) -> Iterator[str]:
        """Warnings of a ``dark`` that the camera's offset contradicts."""
        offset, least = self.look.offset, self.look.least
        if offset is None:
            if least < self.options.dark and (change := self._moved_by(least)) > _OFFSET:
                yield (
                    f"`dark` is {self.options.dark:g}, but values go down to {least:.0f} counts: the offset is less, "
                    f"which moves the flat by {_percent(change)} or more; give a lower `dark`"
                )
            if self.options.dark == 0 and (change := self._moved_by(least)) > _UNKNOWN_OFFSET:
                yield (
                    f"`dark` is 0, but no value is below {least:.0f} counts: if that is the camera's offset, the flat "
                    f"is wrong by {_percent(change)}; give `dark`"
                )
        elif (change := self._moved_by(offset.value)) > _OFFSET:
            yield (
                f"the camera's offset seems to be {offset.value:.0f} counts, but `dark` is {self.options.dark:g}: that "
                f"moves the flat by {_percent(change)}; give {offset.value:.0f} for `dark`"
            )

    def _moved_by(self, offset: float) -> float:
        """How much the flat would differ with another offset, as a fraction of the light."""
        light = self.fit.counts.astype(np.float64)
        true = np.maximum(light + (self.options.dark - offset), 1.0)
        return float((light / light.mean() / (true / true.mean())).std())

    def _about_the_background(self) -> Iterator[str]:
        """What to say of a background that does not part tissue from its surroundings."""
        look, background = self.look, self.options.background
        other = "or leave it out" if self.is_auto else "or `auto`"
        if look.offset and background < look.offset.value + _BACKGROUND_SIGMAS * look.offset.sigma:
            yield (
                f"`background` {background} is too low: pixels without light, at {look.offset.value:.0f} counts, pass "
                f"for tissue; give about {look.background}, {other}"
            )
        elif background - look.floor > _BACKGROUND_SHARE * look.bright > 0:
            yield (
                f"`background` {background} is too high for tissue of about {look.floor + look.bright:.0f} counts: dim "
                f"tissue is not counted; give about {look.background}, {other}"
            )
        elif (near := look.near(background)) > _NEAR_BACKGROUND:
            yield (
                f"the flat may be too even: {100 * near:.0f} % of the values that count would be below `background` in "
                "half of the light, and not count there; tissue much brighter than the camera's noise would tell"
            )

    def record(self, *, is_used: bool) -> dict[str, Any]:
        """The figures for a record of provenance."""
        offset = self.look.offset
        return {
            "model": self.fit.model,
            "misfit_percent": {one.fit.model: 100 * one.misfit for one in self.others if one.fit},
            "misfit_without_flat_percent": 100 * self.none.misfit,
            "sure_misfit_percent": 100 * self.judged.sure_misfit,
            "possible_misfit_percent": 100 * self.judged.possible_misfit,
            "scatter_percent": 100 * self.judged.scatter,
            "change_percent": 100 * self.judged.change,
            "used_pixels_percent": 100 * self.fit.used_pixels,
            "n_bins": self.options.n_bins,
            "values_per_bin": self.options.values_per_bin,
            "background": self.options.background,
            "dark": self.options.dark,
            "noticed_offset": offset and {"counts": offset.value, "sigma": offset.sigma},
            "spots_deny_percent": {name: 100 * trend for name, trend in self.trends.items()},
            "saturated_percent": 100 * self.saturated,
            "is_used": is_used,
            "refused": "" if is_used else self.refusal,
            "warnings": [*self.said, *self.cautions()],
        }


def _percent(part: float) -> str:
    return "unknown" if np.isnan(part) else f"{100 * part:.1f} %"
