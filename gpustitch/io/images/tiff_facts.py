"""Voxel size, channels and times that a TIFF states, in ImageJ's or OME's description and in its tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from gpustitch.io.images.tiff_open import opened_tiff
from gpustitch.io.units import Resolution, length_of, spacing_of, tiff_resolution, um_per
from gpustitch.model import Spacing
from gpustitch.model.arrays import LengthsZYX

_UNSTATED: LengthsZYX = (None, None, None)


@dataclass(frozen=True)
class TiffFacts:
    """What a TIFF states of itself.

    Attributes
    ----------
    spacing
        Voxel spacing; None unless all three distances are stated.
    lengths
        Number of images along the axes Z, C and T.
    stated_um
        Distances (z, y, x) that ImageJ's or OME's description states; None for each unstated distance.
    source
        Author of the description: ``ImageJ``, ``OME`` or nothing.
    z_is_implied
        Whether ImageJ's description leaves out the distance of planes. ImageJ does so if the distance is one unit, and
        if no one ever set it.
    resolution
        XResolution and YResolution as any other program would understand them.
    """

    spacing: Spacing | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)
    stated_um: LengthsZYX = _UNSTATED
    source: str = ""
    z_is_implied: bool = False
    resolution: Resolution | None = None


def tiff_facts(path: Path) -> TiffFacts:
    """Read the description in a TIFF; a value that cannot be understood counts as not stated.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there is no such file, or the file is not a TIFF or ends early.
    """
    with opened_tiff(path) as tiff:
        return facts_of(tiff)


def facts_of(tiff: tifffile.TiffFile) -> TiffFacts:
    """Like :func:`tiff_facts`, for an open file."""
    tags = {tag.name: tag.value for tag in tiff.pages.first.tags}
    plain = _resolution(tags)
    if tiff.is_ome and tiff.ome_metadata:
        try:
            pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
        except ElementTree.ParseError:
            return TiffFacts(resolution=plain)
        return TiffFacts(resolution=plain) if pixels is None else _of_ome(pixels.attrib, plain)
    if tiff.is_imagej and tiff.imagej_metadata:
        return _of_imagej(tiff.imagej_metadata, tags, plain)
    return TiffFacts(resolution=plain)


def ome_um(stated: Mapping[str, str]) -> LengthsZYX:
    """PhysicalSizeZ, Y and X of an OME Pixels element, in um; the unit is um where none is given."""
    z, y, x = (length_of(stated.get(f"PhysicalSize{a}"), stated.get(f"PhysicalSize{a}Unit", "um")) for a in "ZYX")
    return z, y, x


def _of_ome(stated: Mapping[str, str], plain: Resolution | None) -> TiffFacts:
    lengths = {axis: _count(stated[f"Size{axis}"]) for axis in "ZCT" if f"Size{axis}" in stated}
    um = ome_um(stated)
    return TiffFacts(spacing_of(*um), lengths, um, "OME", resolution=plain)


def _of_imagej(stated: Mapping[str, Any], tags: Mapping[str, Any], plain: Resolution | None) -> TiffFacts:
    """Facts in ImageJ's description, which leaves out every 1: a distance of one unit, an axis of one image."""
    n_images = _count(stated.get("images", 1))
    lengths = {"C": _count(stated.get("channels", 1)), "T": _count(stated.get("frames", 1))}
    lengths["Z"] = _count(stated.get("slices", n_images // (lengths["C"] * lengths["T"])))
    unit = stated.get("unit")
    is_implied = um_per(unit) is not None and "spacing" not in stated and n_images > 1
    # ImageJ turns dots per inch into the unit inch; no one means planes an inch apart.
    z = stated.get("spacing", 1.0 if is_implied and um_per(unit) != um_per("inch") else None)
    z_um = length_of(z, stated.get("zunit", unit))
    y_um = length_of(_per_pixel(tags.get("YResolution")), stated.get("yunit", unit))
    x_um = length_of(_per_pixel(tags.get("XResolution")), unit)
    um = (z_um, y_um, x_um)
    return TiffFacts(spacing_of(*um), lengths, um, "ImageJ", is_implied, plain)


def _count(value: Any) -> int:
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        return 1


def _per_pixel(resolution: Any) -> float | None:
    """Units for each pixel, from a tag (pixels, units): 1 without the tag, None if the tag says nothing."""
    if resolution is None:
        return 1.0
    try:
        pixels, units = (float(v) for v in resolution)
    except (TypeError, ValueError):
        return None
    return units / pixels if pixels > 0 else None


def _resolution(tags: Mapping[str, Any]) -> Resolution | None:
    try:
        return tiff_resolution(tags["YResolution"], tags["XResolution"], int(tags.get("ResolutionUnit", 2)))
    except (KeyError, TypeError, ValueError, IndexError):
        return None
