"""Whether pixels of a judged series can be read: what a volume would fail on is said with the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpustitch.errors import GpustitchError, MissingExtraError
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.images.pixels import ImageSlices
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries, SliceStack
from gpustitch.slices.verdict.split import part_of
from gpustitch.slices.verdict.text import listed, plural, slice_name

SlicePlanes = DicomPlanes | ImageSlices


def alike_planes(stacks: Sequence[SliceStack]) -> list[SlicePlanes]:
    """The slices of each in order along the normal, all of one type; raises what :func:`slice_planes` raises."""
    found = [slice_planes(stack) for stack in stacks]
    if len({planes.dtype for planes in found}) == 1:
        return found
    return [slice_planes(stack, np.float32) for stack in stacks]


def slice_planes(stack: SliceStack, dtype: npt.DTypeLike | None = None) -> SlicePlanes:
    """The slices in order along the normal; ``dtype`` is what DICOM is read as, None for what its headers promise.

    Raises
    ------
    ParameterError, MissingExtraError
        If pixels of a kind are not read.
    InputMissingError, DamagedInputError
        If pixels cannot be read.
    """
    if stack.series.source_format == "dicom":
        return DicomPlanes(stack.series, stack.order, dtype=dtype)
    return ImageSlices([stack.series.headers[k] for k in stack.order.tolist()], stack.series.name)


def with_pixels(stack: SliceStack) -> SliceStack:
    """The verdict, with a note on pixels of which no volume can be made, or on colors.

    DICOM is judged by its headers; of images some are decoded.
    """
    if not stack.is_usable or not _has_files(stack):
        return stack
    cut = [header for header in _kept(stack) if not header.is_whole]
    if cut:
        named = listed([slice_name(header) for header in cut])
        text = f"pixels of {plural(len(cut), 'slice')} are not all there: {named}"
        advice = "Fetch such files again, or let these slices count as missing (`on_error` skip)."
        return _refused(stack, text, advice)
    try:
        planes = slice_planes(stack)
    except GpustitchError as error:
        what = "Install what reads the pixels" if isinstance(error, MissingExtraError) else "Convert the pixels"
        return _refused(stack, str(error), f"{what} first, or choose another series: no volume can be made of these.")
    if None in stack.spacing_mm[1:]:
        advice = f"{stack.advice} Give the size of pixels too (`pixel_spacing_mm`)."
        stack = dataclasses.replace(stack, advice=advice)
    if planes.samples == 1:
        return stack
    text = "pixels are colors, which NIfTI and TIFF hold; other formats of volumes do not"
    return dataclasses.replace(stack, notes=(*stack.notes, Note(Code.COLOR_PIXELS, text)))


def without_damaged(series: Sequence[SliceSeries]) -> list[SliceSeries]:
    """The series without slices whose pixels are not all there, and a note that says which were left out.

    A series that would have no slice left stays as it is.
    """
    return [_without_damaged(one) for one in series]


def _without_damaged(series: SliceSeries) -> SliceSeries:
    cut = [header for header in series.headers if not header.is_whole]
    whole = [k for k, header in enumerate(series.headers) if header.is_whole]
    if not cut or not whole:
        return series
    named = listed([slice_name(header) for header in cut])
    text = f"{plural(len(cut), 'slice')} with pixels that are not all there left out as missing: {named}"
    return dataclasses.replace(part_of(series, whole), notes=(*series.notes, Note(Code.DAMAGED_LEFT_OUT, text)))


def _kept(stack: SliceStack) -> list[SliceHeader]:
    return [stack.series.headers[k] for k in stack.order.tolist()]


def _has_files(stack: SliceStack) -> bool:
    """Whether there are slices; a scanner's log may speak of images that are not there."""
    if stack.series.source_format == "dicom":
        return all(header.pixels is not None for header in _kept(stack))
    return all(path.is_file() for path in _paths(stack)) and stack.series.source_format != "scanner log"


def _paths(stack: SliceStack) -> set[Path]:
    return {header.path for header in stack.series.headers}


def _refused(stack: SliceStack, text: str, advice: str) -> SliceStack:
    notes = (Note(Code.PIXELS_REFUSED, text), *stack.notes)
    return dataclasses.replace(stack, notes=notes, advice=advice)
