"""How long after one another the volumes of a series were acquired."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from gpustitch.io.images.files import reading
from gpustitch.slices.model import SliceHeader

_TAGS = ("AcquisitionTime", "AcquisitionDateTime", "TemporalResolution", "RepetitionTime", "ScanningSequence")
_TIME = re.compile(r"(?:\d{8})?(\d{2})(\d{2})(\d{2}(?:\.\d+)?)")
# Steps are equal if none differs from the median by more than this part of it.
_EVEN = 0.05


def volume_step_s(headers: Sequence[SliceHeader]) -> tuple[float, str] | None:
    """Seconds from volume to volume, and the tag that says so; None if nothing does.

    AcquisitionTime counts if its steps are even. Without it, TemporalResolution does, or RepetitionTime of echo-planar
    series, where all slices are excited once in it.

    Parameters
    ----------
    headers
        A slice at one and the same place of each volume, in order; files of one slice each.

    Raises
    ------
    InputMissingError, DamagedInputError
        If a file cannot be read.
    """
    if len(headers) < 2 or any(header.frame for header in headers):
        return None
    found = [_tags(header) for header in headers]
    at = [_seconds(data) for data in found]
    if None not in at:
        steps = np.diff(np.array(at, np.float64))
        middle = float(np.median(steps))
        is_even = middle > 0 and bool((np.abs(steps - middle) <= _EVEN * middle).all())
        return (float(steps.mean()), "AcquisitionTime") if is_even else None
    for name, is_meant in (("TemporalResolution", True), ("RepetitionTime", _is_echo_planar(found[0]))):
        values = {_number(data, name) for data in found}
        value = values.pop()
        if is_meant and not values and value is not None and value > 0:
            return value / 1000, name
    return None


def _tags(header: SliceHeader) -> Dataset:
    with reading(header.path, "DICOM"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(header.path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)


def _seconds(data: Dataset) -> float | None:
    """Time of day."""
    for name in ("AcquisitionDateTime", "AcquisitionTime"):
        match = _TIME.match(str(data.get(name, "") or ""))
        if match is not None:
            return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    return None


def _number(data: Dataset, name: str) -> float | None:
    try:
        return float(data.get(name))
    except (TypeError, ValueError):
        return None


def _is_echo_planar(data: Dataset) -> bool:
    sequence = data.get("ScanningSequence") or ()
    return "EP" in ([sequence] if isinstance(sequence, str) else list(sequence))
