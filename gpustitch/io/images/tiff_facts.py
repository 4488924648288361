"""Voxel size, channels and times that a TIFF states, in ImageJ's or OME's description and in its tags."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from gpustitch.io.images.tiff_meaning import turned
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
    origin_um
        Where the first voxel is (z, y, x), um; None unless all three numbers are stated, with a unit of length.
    """

    spacing: Spacing | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)
    stated_um: LengthsZYX = _UNSTATED
    source: str = ""
    z_is_implied: bool = False
    resolution: Resolution | None = None
    origin_um: tuple[float, float, float] | None = None


def tiff_facts(path: Path, image: int | None = None) -> TiffFacts:
    """Read the description in a TIFF; a value that cannot be understood counts as not stated.

    Of several images that OME describes, ``image`` is the number of the one that is meant, from 0. If it is None, a
    distance counts as stated that all of them share.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there is no such file, or the file is not a TIFF or ends early.
    """
    with opened_tiff(path) as tiff:
        return facts_of(tiff, image)


def facts_of(tiff: tifffile.TiffFile, image: int | None = None) -> TiffFacts:
    """Like :func:`tiff_facts`, for an open file."""
    tags = {tag.name: tag.value for tag in tiff.pages.first.tags}
    plain = _resolution(tags, tiff.pages.first)
    if tiff.is_ome and tiff.ome_metadata:
        try:
            images = ElementTree.fromstring(tiff.ome_metadata).findall(".//{*}Pixels")
        except ElementTree.ParseError:
            return TiffFacts(resolution=plain)
        if not images:
            return TiffFacts(resolution=plain)
        if image is None and len(images) > 1:
            return _of_any(images, plain)
        if not 0 <= (image or 0) < len(images):
            return TiffFacts(resolution=plain)
        one = images[image or 0]
        return dataclasses.replace(_of_ome(one.attrib, plain), origin_um=_ome_place(one))
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


def _of_any(images: Sequence[ElementTree.Element], plain: Resolution | None) -> TiffFacts:
    """What OME states of each of several images alike; nobody knows here which one is read."""
    facts = [_of_ome(image.attrib, plain) for image in images]
    z, y, x = (um[0] if len(set(um)) == 1 else None for um in zip(*(one.stated_um for one in facts), strict=True))
    return dataclasses.replace(facts[0], spacing=spacing_of(z, y, x), stated_um=(z, y, x))


def _ome_place(pixels: ElementTree.Element) -> tuple[float, float, float] | None:
    """Where the first plane is, as OME states it for each plane."""
    planes = [plane.attrib for plane in pixels.findall("{*}Plane")]
    first = next((plane for plane in planes if all(plane.get(f"The{axis}") == "0" for axis in "ZCT")), {})
    return _place([(first.get(f"Position{axis}"), um_per(first.get(f"Position{axis}Unit"))) for axis in "ZYX"])


def _place(stated: Sequence[tuple[object, float | None]]) -> tuple[float, float, float] | None:
    """Three numbers in um, each with its unit; None unless all are finite and known."""
    found = []
    for value, um in stated:
        try:
            found.append(float(value) * um)  # type: ignore[arg-type, operator]
        except (TypeError, ValueError):
            return None
    z, y, x = found
    return (z, y, x) if all(map(math.isfinite, found)) else None


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
    # ImageJ's origin is the voxel that lies at 0, and is 0 where it is not stated.
    voxels = [stated.get(f"{axis}origin", 0.0) for axis in "zyx"]
    place = _place(list(zip(voxels, um, strict=True))) if any(f"{axis}origin" in stated for axis in "zyx") else None
    origin = None if place is None else (0.0 - place[0], 0.0 - place[1], 0.0 - place[2])
    return TiffFacts(spacing_of(*um), lengths, um, "ImageJ", is_implied, plain, origin)


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


def _resolution(tags: Mapping[str, Any], page: Any) -> Resolution | None:
    try:
        y, x = turned(page, tags["YResolution"], tags["XResolution"])
        return tiff_resolution(y, x, int(tags.get("ResolutionUnit", 2)))
    except (KeyError, TypeError, ValueError, IndexError):
        return None
