"""Where the slices of a DICOM file are: one per file, or many frames in one.

Enhanced objects state it for each frame or for all frames (functional groups). A dose grid states offsets of its
planes, nuclear medicine one position and the distance of slices. Frames without any of these have no position.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpustitch.slices.dicom.values import Numbers, Values, cross_product, pair_of_spacings, unit_vectors
from gpustitch.slices.model import Code, SliceHeader

# Where a functional group holds a tag; a slash leads to a sequence in the first item of another.
_GROUPS = {
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "ImagePositionVolume": ("PlanePositionVolumeSequence",),
    "ImageOrientationVolume": ("PlaneOrientationVolumeSequence",),
    "PixelSpacing": ("PixelMeasuresSequence",),
    "SliceThickness": ("PixelMeasuresSequence",),
    "SpacingBetweenSlices": ("PixelMeasuresSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "StackID": ("FrameContentSequence",),
    "InStackPositionNumber": ("FrameContentSequence",),
    "TemporalPositionIndex": ("FrameContentSequence",),
    "FrameAcquisitionNumber": ("FrameContentSequence",),
    "EffectiveEchoTime": ("MREchoSequence",),
    "DiffusionBValue": ("MRDiffusionSequence",),
    "DiffusionGradientOrientation": ("MRDiffusionSequence/DiffusionGradientDirectionSequence",),
    "FrameAcquisitionDateTime": ("FrameContentSequence",),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence",),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence",),
    "FrameType": ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"),
}
# Tags by which a series may be split, by name of the split; the first that is there counts, of three that are one all.
SPLIT_TAGS: Mapping[str, tuple[str | tuple[str, ...], ...]] = {
    "acquisition": ("FrameAcquisitionNumber", "AcquisitionNumber"),
    "image type": ("FrameType", "ImageType"),
    "echo": ("EchoNumbers", "EffectiveEchoTime", "EchoTime"),
    "b-value": ("DiffusionBValue", "SiemensBValue", "GEBValue", "PhilipsBValue"),
    "gradient": (
        "DiffusionGradientOrientation",
        "SiemensGradient",
        ("GEGradientX", "GEGradientY", "GEGradientZ"),
        ("PhilipsGradientX", "PhilipsGradientY", "PhilipsGradientZ"),
    ),
    "time": ("TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime", "FrameReferenceTime"),
    "cardiac phase": ("NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime"),
    "acquisition time": ("FrameAcquisitionDateTime", "AcquisitionTime", "AcquisitionDateTime"),
    "inversion": ("InversionTime",),
    "repetition": ("RepetitionTime",),
    "flip angle": ("FlipAngle",),
    "kvp": ("KVP",),
    "kernel": ("ConvolutionKernel",),
    "contrast": ("ContrastBolusAgent",),
    "thickness": ("SliceThickness",),
    "stack": ("StackID",),
}
# Offsets of a dose grid are coordinates, not distances, if the first is the position's z within this many mm.
_SAME_MM = 1e-3


@dataclass(frozen=True)
class Slice:
    """A slice and what may tell it from others of its series.

    Attributes
    ----------
    header
        Geometry; its pixels are not described yet.
    slope, intercept
        Of its pixels.
    parts
        Value of each split that was asked for.
    is_localizer
        ImageType says so.
    """

    header: SliceHeader
    slope: float
    intercept: float
    parts: tuple[str, ...]
    is_localizer: bool


def slices_of(values: Values, header: SliceHeader, n_frames: int, split_by: tuple[str, ...]) -> list[Slice]:
    """The slices of a file.

    Parameters
    ----------
    values
        Tags of the file.
    header
        Path, shape and instance.
    n_frames
        How many slices are stored.
    split_by
        Keys of ``SPLIT_TAGS``.
    """
    if values.has("PerFrameFunctionalGroupsSequence") or values.has("SharedFunctionalGroupsSequence"):
        return _enhanced(values, header, n_frames, split_by)
    detector = [] if values.words("ImagePositionPatient") else values.items("DetectorInformationSequence")

    def find(name: str) -> Values:
        return detector[0] if len(detector) == 1 and detector[0].has(name) else values

    first = _slice(find, header, split_by)
    if n_frames == 1:
        return [first]
    frames = range(n_frames)
    headers = [dataclasses.replace(first.header, frame=i, number=i + 1) for i in frames]
    place = _dose_planes if values.has("GridFrameOffsetVector") else _equal_steps
    headers = place(values, headers)
    return [dataclasses.replace(first, header=one) for one in headers]


def _slice(find: Callable[[str], Values], header: SliceHeader, split_by: tuple[str, ...]) -> Slice:
    """Read one slice; ``find`` returns the values that hold a tag."""

    def scalar(name: str) -> float | None:
        return find(name).scalar(name)

    position, directions = _place(find)
    slope, intercept = scalar("RescaleSlope"), scalar("RescaleIntercept")
    if slope is None and find("DoseGridScaling").has("DoseGridScaling"):
        slope = scalar("DoseGridScaling")
    if not slope and find("RescaleSlope").words("RescaleSlope"):
        find("RescaleSlope").note(Code.TAG_BAD, "RescaleSlope", "is no factor; 1 is taken for it")
    if intercept is None and find("RescaleIntercept").words("RescaleIntercept"):
        find("RescaleIntercept").note(Code.TAG_BAD, "RescaleIntercept", "is no number; 0 is taken for it")
    types = [*find("ImageType").words("ImageType"), *find("FrameType").words("FrameType")]
    read = dataclasses.replace(
        header,
        position_mm=_triple(position.values) if position else None,
        quantum_mm=_triple(position.quanta) if position else (0.0, 0.0, 0.0),
        row_direction=directions[0] if directions else None,
        column_direction=directions[1] if directions else None,
        pixel_spacing_mm=pair_of_spacings(find),
        number=find("InstanceNumber").whole("InstanceNumber"),
        slice_location_mm=scalar("SliceLocation"),
        spacing_between_mm=scalar("SpacingBetweenSlices"),
        thickness_mm=scalar("SliceThickness"),
        tilt_deg=scalar("GantryDetectorTilt"),
        is_mosaic="MOSAIC" in types,
    )
    parts = tuple(_part(find, split) for split in split_by)
    return Slice(read, slope or 1.0, intercept or 0.0, parts, "LOCALIZER" in types)


def _place(
    find: Callable[[str], Values],
) -> tuple[Numbers | None, tuple[tuple[float, float, float], tuple[float, float, float]] | None]:
    """Position and directions in the body, else in the volume of an ultrasound probe, with a problem that says so."""
    frame = "Patient"
    if not find("ImagePositionPatient").has("ImagePositionPatient"):
        volume = find("ImagePositionVolume")
        if volume.has("ImagePositionVolume"):
            frame = "Volume"
            text = "is all that places slices: in the volume of the ultrasound probe, not in the body"
            volume.note(Code.VOLUME_FRAME, "ImagePositionVolume", text)
    position = find(f"ImagePosition{frame}").vector(f"ImagePosition{frame}", 3, Code.POSITION_BAD)
    return position, unit_vectors(find(f"ImageOrientation{frame}"), f"ImageOrientation{frame}")


def _part(find: Callable[[str], Values], split: str) -> str:
    for names in SPLIT_TAGS[split]:
        words = [word for name in ((names,) if isinstance(names, str) else names) for word in find(name).words(name)]
        if words:
            return "\\".join(words)
    return ""


def _enhanced(values: Values, header: SliceHeader, n_frames: int, split_by: tuple[str, ...]) -> list[Slice]:
    """Frames with functional groups: what a frame does not state, the shared groups or else the file may state."""
    shared = values.items("SharedFunctionalGroupsSequence")[:1]
    frames = values.items("PerFrameFunctionalGroupsSequence")
    if len(frames) != n_frames:
        text = f"describes {len(frames)} frames of {n_frames}"
        values.note(Code.TAG_BAD, "PerFrameFunctionalGroupsSequence", text)
    found = []
    numbers = []
    for i in range(n_frames):
        groups = [*frames[i : i + 1], *shared]

        def find(name: str, groups: list[Values] = groups) -> Values:
            return next((item for group in groups for item in _holders(group, name)), values)

        one = _slice(find, dataclasses.replace(header, frame=i), split_by)
        numbers.append(find("InStackPositionNumber").whole("InStackPositionNumber"))
        found.append(one)
    if None in numbers or len(set(numbers)) < n_frames:
        first = 1 + (values.whole("ConcatenationFrameOffsetNumber") or 0)
        numbers = list(range(first, first + n_frames))
    return [
        dataclasses.replace(one, header=dataclasses.replace(one.header, number=number))
        for one, number in zip(found, numbers, strict=True)
    ]


def _holders(group: Values, name: str) -> list[Values]:
    """Items of a functional group that hold a tag."""
    found = []
    for path in _GROUPS.get(name, ()):
        items = [group]
        for sequence in path.split("/"):
            items = [inner for item in items for inner in item.items(sequence)[:1]]
        found += [item for item in items if item.has(name)]
    return found


def _dose_planes(values: Values, headers: list[SliceHeader]) -> list[SliceHeader]:
    """Planes at offsets from the position along the normal, or, if the first offset is not 0, at z coordinates."""
    offsets = values.vector("GridFrameOffsetVector", len(headers), Code.POSITION_BAD)
    normal = _normal(headers[0])
    position = headers[0].position_mm
    if offsets is None or normal is None or position is None:
        return [dataclasses.replace(header, position_mm=None) for header in headers]
    first = offsets.values[0]
    if first != 0 and abs(first - position[2]) <= _SAME_MM and abs(normal[2]) > 1 - 1e-6:
        quanta = [(0.0, 0.0, quantum) for quantum in offsets.quanta]
        places = [(position[0], position[1], z) for z in offsets.values]
        return _placed(headers, places, quanta)
    if first != 0:
        text = f"begins with {first:g}, neither 0 nor the position's z ({position[2]:g}); taken as distances"
        values.note(Code.POSITION_BAD, "GridFrameOffsetVector", text)
    # The offset alone is rounded from plane to plane, and along the normal only.
    quanta = [_triple([abs(v) * quantum for v in normal]) for quantum in offsets.quanta]
    return _placed(headers, [_along(position, normal, offset) for offset in offsets.values], quanta)


def _equal_steps(values: Values, headers: list[SliceHeader]) -> list[SliceHeader]:
    """Frames one SpacingBetweenSlices apart, in the order of SliceVector if there is one; else without a position.

    The raw projections of a tomographic nuclear study are no slices.
    """
    step, normal, position = headers[0].spacing_between_mm, _normal(headers[0]), headers[0].position_mm
    types = values.words("ImageType")
    is_projection = values.word("Modality") == "NM" and len(types) > 2 and not types[2].startswith("RECON")
    if not step or normal is None or position is None or is_projection:
        return [dataclasses.replace(header, position_mm=None) for header in headers]
    vector: Numbers | None = values.vector("SliceVector", len(headers)) if values.words("SliceVector") else None
    index = [v - 1 for v in vector.values] if vector else [float(i) for i in range(len(headers))]
    places = [_along(position, normal, step * i) for i in index]
    return _placed(headers, places, [(0.0, 0.0, 0.0)] * len(headers))


def _placed(
    headers: list[SliceHeader], places: list[tuple[float, float, float]], quanta: list[tuple[float, float, float]]
) -> list[SliceHeader]:
    return [
        dataclasses.replace(header, position_mm=place, quantum_mm=quantum)
        for header, place, quantum in zip(headers, places, quanta, strict=True)
    ]


def _normal(header: SliceHeader) -> tuple[float, float, float] | None:
    """Unit vector, row direction x column direction; None if they are not stated."""
    row, column = header.row_direction, header.column_direction
    if row is None or column is None:
        return None
    cross = cross_product(row, column)
    length = float(sum(v * v for v in cross) ** 0.5)
    return _triple([v / length for v in cross])


def _along(
    start: tuple[float, float, float], direction: tuple[float, float, float], by: float
) -> tuple[float, float, float]:
    return _triple([a + by * b for a, b in zip(start, direction, strict=True)])


def _triple(values: tuple[float, ...] | list[float]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]
