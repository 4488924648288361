"""What a TIFF says of itself in ImageJ's or OME's description: voxel size, number of channels and times."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gpustitch.io.tiff_open import opened_tiff
from gpustitch.io.units import spacing_of, um_per
from gpustitch.model import Spacing


@dataclass(frozen=True)
class TiffFacts:
    """``spacing`` is None unless all three distances are stated; ``lengths`` are those of the axes Z, C and T."""

    spacing: Spacing | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)


def tiff_facts(path: Path) -> TiffFacts:
    """Read the description in a TIFF; what cannot be understood counts as not stated.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there is no such file, or it is not a TIFF or ends early.
    """
    with opened_tiff(path) as tiff:
        if tiff.is_ome and tiff.ome_metadata:
            with contextlib.suppress(ElementTree.ParseError, ValueError):
                return _of_ome(tiff.ome_metadata)
        if tiff.is_imagej and tiff.imagej_metadata:
            tags = {tag.name: tag.value for tag in tiff.pages.first.tags}
            with contextlib.suppress(TypeError, ValueError):
                return _of_imagej(tiff.imagej_metadata, tags)
    return TiffFacts()


def _of_ome(text: str) -> TiffFacts:
    pixels = ElementTree.fromstring(text).find(".//{*}Pixels")
    if pixels is None:
        return TiffFacts()
    stated = pixels.attrib
    lengths = {axis: int(stated[f"Size{axis}"]) for axis in "ZCT" if f"Size{axis}" in stated}
    return TiffFacts(spacing_of(*(_ome_um(stated, axis) for axis in "ZYX")), lengths)


def _ome_um(stated: Mapping[str, str], axis: str) -> float | None:
    name = f"PhysicalSize{axis}"
    um = um_per(stated.get(f"{name}Unit", "µm"))
    return float(stated[name]) * um if name in stated and um is not None else None


def _of_imagej(stated: Mapping[str, Any], tags: Mapping[str, Any]) -> TiffFacts:
    """ImageJ leaves out what is 1: a distance of one unit, an axis of one image."""
    n_images = int(stated.get("images", 1))
    lengths = {"C": int(stated.get("channels", 1)), "T": int(stated.get("frames", 1))}
    lengths["Z"] = int(stated.get("slices", n_images // max(1, lengths["C"] * lengths["T"])))
    unit = um_per(stated.get("unit"))
    if unit is None:
        return TiffFacts(None, lengths)
    z = stated.get("spacing", 1.0 if n_images > 1 else None)
    units = {axis: um_per(stated[f"{axis}unit"]) if f"{axis}unit" in stated else unit for axis in "zy"}
    z_um = None if z is None or units["z"] is None else abs(float(z)) * units["z"]
    y = _per_pixel(tags.get("YResolution"))
    y_um = None if y is None or units["y"] is None else y * units["y"]
    x = _per_pixel(tags.get("XResolution"))
    return TiffFacts(spacing_of(z_um, y_um, None if x is None else x * unit), lengths)


def _per_pixel(resolution: Any) -> float | None:
    """Units for each pixel, of a tag (pixels, units); None if it says nothing."""
    if resolution is None:
        return 1.0
    pixels, units = (float(v) for v in resolution)
    return units / pixels if pixels > 0 else None
