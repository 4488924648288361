"""Values of DICOM tags as they are written: decimals kept, nonsense told from absence.

pydicom finds the elements, and this module reads their bytes. A malformed value must neither stop the reading nor pass
for a number. A float would lose the count of decimals.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset

from gpustitch.slices.dicom.scan import ScannedSet
from gpustitch.slices.model import Code, Note

# Tag and its encoding by the standard, which files of implicit VR leave out. Those that begin with a maker are private.
TAGS: dict[str, tuple[int, str]] = {
    "MediaStorageSOPClassUID": (0x00020002, "UI"),
    "TransferSyntaxUID": (0x00020010, "UI"),
    "SpecificCharacterSet": (0x00080005, "CS"),
    "ImageType": (0x00080008, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "AcquisitionDateTime": (0x0008002A, "DT"),
    "AcquisitionTime": (0x00080032, "TM"),
    "Modality": (0x00080060, "CS"),
    "SeriesDescription": (0x0008103E, "LO"),
    "FrameType": (0x00089007, "CS"),
    "ContrastBolusAgent": (0x00180010, "LO"),
    "SliceThickness": (0x00180050, "DS"),
    "KVP": (0x00180060, "DS"),
    "RepetitionTime": (0x00180080, "DS"),
    "EchoTime": (0x00180081, "DS"),
    "InversionTime": (0x00180082, "DS"),
    "EchoNumbers": (0x00180086, "IS"),
    "SpacingBetweenSlices": (0x00180088, "DS"),
    "TriggerTime": (0x00181060, "DS"),
    "GantryDetectorTilt": (0x00181120, "DS"),
    "ImagerPixelSpacing": (0x00181164, "DS"),
    "ConvolutionKernel": (0x00181210, "SH"),
    "FlipAngle": (0x00181314, "DS"),
    "NominalScannedPixelSpacing": (0x00182010, "DS"),
    "FrameAcquisitionDateTime": (0x00189074, "DT"),
    "DiffusionGradientDirectionSequence": (0x00189076, "SQ"),
    "EffectiveEchoTime": (0x00189082, "FD"),
    "DiffusionBValue": (0x00189087, "FD"),
    "DiffusionGradientOrientation": (0x00189089, "FD"),
    "MREchoSequence": (0x00189114, "SQ"),
    "MRDiffusionSequence": (0x00189117, "SQ"),
    "CardiacSynchronizationSequence": (0x00189118, "SQ"),
    "MRImageFrameTypeSequence": (0x00189226, "SQ"),
    "CTImageFrameTypeSequence": (0x00189329, "SQ"),
    "PETFrameTypeSequence": (0x00189751, "SQ"),
    "SiemensBValue": (0x0019100C, "IS"),
    "SiemensGradient": (0x0019100E, "FD"),
    "GEGradientX": (0x001910BB, "DS"),
    "GEGradientY": (0x001910BC, "DS"),
    "GEGradientZ": (0x001910BD, "DS"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "FrameOfReferenceUID": (0x00200052, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SeriesNumber": (0x00200011, "IS"),
    "AcquisitionNumber": (0x00200012, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
    "ImagePositionPatient": (0x00200032, "DS"),
    "ImageOrientationPatient": (0x00200037, "DS"),
    "TemporalPositionIdentifier": (0x00200100, "IS"),
    "SliceLocation": (0x00201041, "DS"),
    "StackID": (0x00209056, "SH"),
    "InStackPositionNumber": (0x00209057, "UL"),
    "FrameContentSequence": (0x00209111, "SQ"),
    "PlanePositionSequence": (0x00209113, "SQ"),
    "PlaneOrientationSequence": (0x00209116, "SQ"),
    "TemporalPositionIndex": (0x00209128, "UL"),
    "NominalCardiacTriggerDelayTime": (0x00209153, "FD"),
    "FrameAcquisitionNumber": (0x00209156, "US"),
    "ConcatenationUID": (0x00209161, "UI"),
    "ConcatenationFrameOffsetNumber": (0x00209228, "UL"),
    "NominalPercentageOfCardiacPhase": (0x00209241, "FL"),
    "ImagePositionVolume": (0x00209301, "FD"),
    "ImageOrientationVolume": (0x00209302, "FD"),
    "PlanePositionVolumeSequence": (0x0020930E, "SQ"),
    "PlaneOrientationVolumeSequence": (0x0020930F, "SQ"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "PixelSpacing": (0x00280030, "DS"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "PixelPaddingValue": (0x00280120, "US"),
    "PixelPaddingRangeLimit": (0x00280121, "US"),
    "FloatPixelPaddingValue": (0x00280122, "FL"),
    "DoubleFloatPixelPaddingValue": (0x00280123, "FD"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
    "ModalityLUTSequence": (0x00283000, "SQ"),
    "PixelMeasuresSequence": (0x00289110, "SQ"),
    "PixelValueTransformationSequence": (0x00289145, "SQ"),
    "GEBValue": (0x00431039, "IS"),
    "DetectorInformationSequence": (0x00540022, "SQ"),
    "SliceVector": (0x00540080, "US"),
    "FrameReferenceTime": (0x00541300, "DS"),
    "PhilipsBValue": (0x20011003, "FL"),
    "PhilipsGradientX": (0x200510B0, "FL"),
    "PhilipsGradientY": (0x200510B1, "FL"),
    "PhilipsGradientZ": (0x200510B2, "FL"),
    "GridFrameOffsetVector": (0x3004000C, "DS"),
    "DoseGridScaling": (0x3004000E, "DS"),
    "SharedFunctionalGroupsSequence": (0x52009229, "SQ"),
    "PerFrameFunctionalGroupsSequence": (0x52009230, "SQ"),
}
_BINARY = {"FD": "d", "FL": "f", "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}
_TEXT = frozenset({"DS", "IS", "CS", "LO", "SH", "ST", "LT", "UI", "UC", "UT", "DA", "TM", "DT", "AS", "PN"})
_NUMBER = re.compile(r"[+-]?(?:\d+\.?(\d*)|\.(\d+))(?:[eE]([+-]?\d{1,3}))?")
# Some programs write the decimal comma of their user's language. Values are told apart by backslashes.
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d{1,3})?")
# Characters of a wrong value that are shown.
_SHOWN = 60


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file: which tag (or empty), and a clause that follows its name."""

    code: Code
    tag: str
    text: str

    def note(self, path: Path, n_files: int = 1) -> Note:
        """As a sentence about the first of ``n_files`` files that have it."""
        more = f" (and {n_files - 1} more like it)" if n_files > 1 else ""
        return Note(self.code, f"{path}: {label(self.tag) + ' ' if self.tag else ''}{self.text}{more}")


@dataclass(frozen=True)
class Numbers:
    """Values, and what the last decimal of each is worth (0 for binary numbers)."""

    values: tuple[float, ...]
    quanta: tuple[float, ...]


@dataclass
class Values:
    """Tags of a data set or of an item of a sequence; what is wrong with them is collected in ``problems``."""

    data: Dataset | ScannedSet
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        # By plain numbers: pydicom's look-ups cost more than all the rest.
        self._elements: dict[int, Any] = {int(tag): element for tag, element in self.data.items()}

    def has(self, name: str) -> bool:
        """Whether the tag is there (perhaps empty)."""
        return TAGS[name][0] in self._elements

    def words(self, name: str) -> list[str]:
        """The values as text without padding; none if the tag is missing, empty or unreadable."""
        return _words(*self._raw(name)) if TAGS[name][0] in self._elements else []

    def word(self, name: str) -> str:
        """The first value as text; empty if there is none."""
        return next(iter(self.words(name)), "")

    def text(self, name: str) -> str:
        """Text in the character set of the data set."""
        return _printable(self._decoded(name))

    def _decoded(self, name: str) -> str:
        raw, _, _ = self._raw(name)
        if not raw or raw.isascii():
            return self.word(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return decode_bytes(raw, convert_encodings(self._character_sets()), {0x5C}).strip(" \0")
            except (LookupError, ValueError):
                return raw.decode("latin-1").strip(" \0")

    def _character_sets(self) -> list[str]:
        """pydicom has decoded these already where it has read a file."""
        element = None if isinstance(self.data, ScannedSet) else self.data.get("SpecificCharacterSet")
        if element is None or isinstance(element, bytes):
            return self.words("SpecificCharacterSet")
        return [element] if isinstance(element, str) else [str(word) for word in element]

    def numbers(self, name: str, code: Code = Code.TAG_BAD) -> Numbers | None:
        """All values as finite numbers; None if the tag is missing or empty, and with a problem if it is malformed."""
        raw, vr, order = self._raw(name)
        if vr in _BINARY:
            found = _unpacked(raw, vr, order) if raw else ()
            if found is None or not all(abs(number) < float("inf") for number in found):
                self._wrong(name, "is not made of finite numbers", code)
                return None
            return Numbers(tuple(found), (0.0,) * len(found)) if found else None
        words = _words(raw, vr, order)
        if not words:
            return None
        if vr == "DS" and any(_WITH_COMMA.fullmatch(word) for word in words):
            self._wrong(name, f"is {_shown(words)}, with decimal commas; they are read as points", Code.TAG_BAD)
            words = [word.replace(",", ".") if _WITH_COMMA.fullmatch(word) else word for word in words]
        matches = [_NUMBER.fullmatch(word) for word in words]
        values = tuple(float(match[0]) if match else float("inf") for match in matches)
        if not all(abs(value) < float("inf") for value in values):
            self._wrong(name, f"is not made of finite numbers but {_shown(words)}", code)
            return None
        return Numbers(values, tuple(_quantum(match) for match in matches if match))

    def vector(self, name: str, count: int, code: Code = Code.TAG_BAD) -> Numbers | None:
        """``count`` numbers; None if the tag is missing or empty, and with a problem if it holds anything else."""
        found = self.numbers(name, code)
        if found is not None and len(found.values) != count:
            self._wrong(name, f"holds {_shown(self.words(name))}; {count} numbers were expected", code)
            return None
        return found

    def scalar(self, name: str, code: Code = Code.TAG_BAD) -> float | None:
        """One number; None if the tag is missing or empty, and with a problem if it holds anything else."""
        found = self.vector(name, 1, code)
        return None if found is None else found.values[0]

    def whole(self, name: str) -> int | None:
        """One whole number; None as above."""
        found = self.scalar(name)
        if found is not None and found != int(found):
            self._wrong(name, f"is {found:g}; a whole number was expected", Code.TAG_BAD)
            return None
        return None if found is None else int(found)

    def items(self, name: str) -> list[Values]:
        """Items of a sequence; none if it is missing or unreadable."""
        if not self.has(name) or isinstance(self.data, ScannedSet):
            return []
        try:
            sequence = self.data[TAGS[name][0]].value
            return [Values(item, self.problems) for item in sequence or ()]
        except Exception as error:  # pydicom raises many types on broken sequences
            self._wrong(name, f"cannot be read: {error}", Code.TAG_BAD)
            return []

    def note(self, code: Code, name: str, text: str) -> None:
        """Collect a problem."""
        self.problems.append(Problem(code, name, text))

    def _wrong(self, name: str, text: str, code: Code) -> None:
        self.note(code, name, text)

    def _raw(self, name: str) -> tuple[bytes, str, str]:
        """Bytes (empty if missing), encoding and byte order."""
        tag, usual = TAGS[name]
        element = self._elements.get(tag)
        if element is None:
            return b"", usual, "<"
        value, vr = element.value, element.VR
        order = "<" if getattr(element, "is_little_endian", True) else ">"
        return (value if isinstance(value, bytes) else b""), vr if vr in _BINARY or vr in _TEXT else usual, order


def _words(raw: bytes, vr: str, order: str) -> list[str]:
    if not raw:
        return []
    if vr in _BINARY:
        return [f"{number:.12g}" for number in _unpacked(raw, vr, order) or ()]
    words = [word.strip(" \0\r\n\t") for word in raw.decode("latin-1").split("\\")]
    return words if any(words) else []


def label(name: str) -> str:
    """Keyword and number of a tag, as people look it up."""
    tag = TAGS[name][0]
    return f"{name} ({tag >> 16:04x},{tag & 0xFFFF:04x})"


def unit_vectors(
    values: Values, name: str = "ImageOrientationPatient"
) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """Row and column direction made unit vectors; None with a problem unless they are orthonormal within 1 %."""
    found = values.vector(name, 6, Code.ORIENTATION_BAD)
    if found is None:
        return None
    row, column = found.values[:3], found.values[3:]
    lengths = [sum(v * v for v in vector) ** 0.5 for vector in (row, column)]
    across = abs(sum(a * b for a, b in zip(row, column, strict=True)))
    if any(abs(length - 1) > 0.01 for length in lengths) or across > 0.01:
        text = f"is {_shown(values.words(name))}; two unit vectors at right angles were expected"
        values.note(Code.ORIENTATION_BAD, name, text)
        return None
    return _scaled(row, lengths[0]), _scaled(column, lengths[1])


def pair_of_spacings(find: Callable[[str], Values]) -> tuple[float, float] | None:
    """(y, x) in mm from PixelSpacing; with a problem, the spacing at the detector or on the film; None without any.

    ``find`` returns the values that hold a tag.
    """
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = find(name)
        found = _two_numbers(values, name)
        if found is None:
            continue
        if min(found.values) <= 0:
            text = f"is {_shown(values.words(name))}; two positive numbers were expected"
            values.note(Code.NO_PIXEL_SPACING, name, text)
            continue
        if name != "PixelSpacing":
            values.note(
                Code.DETECTOR_SPACING, name, "is all that states the size of a pixel; it is not that in the body"
            )
        return found.values[0], found.values[1]
    values = find("PixelSpacing")
    if not values.has("PixelSpacing") or not values.words("PixelSpacing"):
        values.note(Code.NO_PIXEL_SPACING, "PixelSpacing", "is missing")
    return None


def _two_numbers(values: Values, name: str) -> Numbers | None:
    """Two numbers; one alone counts twice, with a problem. ``1,1`` may be one number or two, and is none."""
    words = values.words(name)
    if len(words) != 1 or "," in words[0]:
        return values.vector(name, 2, Code.NO_PIXEL_SPACING)
    found = values.numbers(name, Code.NO_PIXEL_SPACING)
    if found is None:
        return None
    values.note(Code.TAG_BAD, name, f"is {_shown(words)} alone; it was taken for rows and columns")
    return Numbers(found.values * 2, found.quanta * 2)


def _printable(text: str) -> str:
    """Text on one line; control characters would move the cursor of a terminal or color it."""
    if text.isprintable():
        return text.strip()
    return "".join(character if character.isprintable() else " " for character in text).strip()


def cross_product(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Of two vectors (x, y, z); for single slices, where arrays would cost more than they save."""
    x, y, z = (one[i - 2] * other[i - 1] - one[i - 1] * other[i - 2] for i in range(3))
    return x, y, z


def _scaled(vector: tuple[float, ...], length: float) -> tuple[float, float, float]:
    return vector[0] / length, vector[1] / length, vector[2] / length


def _unpacked(raw: bytes, vr: str, order: str) -> tuple[float, ...] | None:
    """Binary numbers; None if the bytes are not a whole number of them."""
    size = struct.calcsize(_BINARY[vr])
    if len(raw) % size:
        return None
    return struct.unpack(f"{order}{len(raw) // size}{_BINARY[vr]}", raw)


def _quantum(match: re.Match[str]) -> float:
    decimals = len(match[1] or match[2] or "")
    return float(10.0 ** (int(match[3] or 0) - decimals))


def _shown(words: list[str]) -> str:
    text = "\\".join(words)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
