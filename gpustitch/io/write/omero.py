"""The ``omero`` block of an OME-Zarr image: how its channel is called, coloured, and how bright it is shown.

Excitation and emission stand in the channel's name, as microscopes write it: ``Ex_488_Em_525``.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

WHITE = "FFFFFF"
# The number that follows "em" or "emission", as a word of its own; in 525_50 the second number is the width.
_EMISSION = re.compile(r"(?:^|[^a-z])em(?:ission)?[ _-]?(\d{3})(?!\d)", re.IGNORECASE)
_EXCITATION = re.compile(r"(?:^|[^a-z])ex(?:citation)?[ _-]?(\d{3})(?!\d)", re.IGNORECASE)
# Where a name numbers its filters (Ex_488_Em_1), light is taken to be so much longer than what excites it: common dyes
# emit 20 to 40 nm above.
_STOKES_NM = 30
# Pure hues (red, green, blue) at wavelengths, nm, and straight lines between them: Dan Bruton, "Approximate RGB values
# for visible wavelengths" (1996). His fall-off towards both ends is left out, so that every channel is bright.
_HUES = (
    (380, (1, 0, 1)), (440, (0, 0, 1)), (490, (0, 1, 1)), (510, (0, 1, 0)), (580, (1, 1, 0)), (645, (1, 0, 0)),
    (780, (1, 0, 0)),
)  # fmt: skip


def emission_nm(name: str) -> int | None:
    """The wavelength that a channel's name states after ``Em``, nm; None if it states none."""
    found = _EMISSION.search(name)
    return None if found is None else int(found[1])


def likely_emission_nm(name: str) -> int | None:
    """The wavelength that is emitted, nm: as stated, or about that by the excitation; None if neither is stated."""
    stated, excitation = emission_nm(name), _EXCITATION.search(name)
    return stated if stated is not None or excitation is None else int(excitation[1]) + _STOKES_NM


def colour_of(wavelength_nm: float | None) -> str:
    """The colour of light as six hexadecimal digits; white if it is not known or not visible (380 to 780 nm)."""
    known = [at for at, _ in _HUES]
    if wavelength_nm is None or not known[0] <= wavelength_nm <= known[-1]:
        return WHITE
    parts = [np.interp(wavelength_nm, known, [hue[part] for _, hue in _HUES]) for part in range(3)]
    return "".join(f"{round(255 * float(part)):02X}" for part in parts)


def omero(name: str, dtype: np.dtype[Any], shown: tuple[float, float], least: float, most: float) -> dict[str, Any]:
    """The block of an image of one channel.

    Parameters
    ----------
    name
        The channel's name, which may state its emission.
    dtype
        Type of the voxels; whole numbers have the limits of their type, others ``least`` and ``most``.
    shown
        Values that are shown black and bright.
    least, most
        Values of the voxels that were looked at.
    """
    if dtype.kind in "ui":
        least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    window = {"min": min(least, shown[0]), "max": max(most, shown[1]), "start": shown[0], "end": shown[1]}
    channel = {
        "label": name,
        "color": colour_of(likely_emission_nm(name)),
        "active": True,
        "coefficient": 1,
        "family": "linear",
        "inverted": False,
        "window": window,
    }
    return {"name": name, "channels": [channel], "rdefs": {"model": "color"}}
