"""Series of slices as scanners write them, and what is found out about their spacing.

Positions and directions are those of DICOM: mm, x to the patient's left, y to the back, z to the head (LPS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from gpustitch.model.arrays import Floats, Integers, LengthsZYX


class SpacingClass(StrEnum):
    """How the slices of a series lie along their normal; the first that fits."""

    UNIFORM = "UNIFORM"  # equally spaced
    MISSING = "MISSING"  # equally spaced, but a few slices are not there
    RUNS_WITH_GAPS = "RUNS_WITH_GAPS"  # stretches of one spacing with gaps between them
    VARIABLE = "VARIABLE"  # stretches of different spacings
    IRREGULAR = "IRREGULAR"  # none of these
    SINGLE = "SINGLE"  # one slice
    UNKNOWN = "UNKNOWN"  # nothing says where the slices are


class Code(StrEnum):
    """What a warning is about."""

    FILE_ORDER = "FILE_ORDER"  # names of the files do not follow the positions
    POSITIONS_ROUNDED = "POSITIONS_ROUNDED"  # positions are even but for the decimals they were written with
    SLICES_MISSING = "SLICES_MISSING"  # holes of a few slices
    FILES_LOST = "FILES_LOST"  # the instance numbers skip what the positions skip
    NEVER_ACQUIRED = "NEVER_ACQUIRED"  # the instance numbers run on across a hole
    GAPS = "GAPS"
    VARIABLE_SPACING = "VARIABLE_SPACING"
    IRREGULAR_SPACING = "IRREGULAR_SPACING"
    SAME_INSTANCE = "SAME_INSTANCE"  # one SOP instance more than once; the copy was dropped
    SAME_SLICE = "SAME_SLICE"  # slices at one position with equal pixels; the copy was dropped
    SLICES_CONFLICT = "SLICES_CONFLICT"  # slices at one position with different pixels (unusable)
    NAMES_CONTRADICT = "NAMES_CONTRADICT"  # two numbers in file names put slices in different orders (unusable)
    SLICES_DROPPED = "SLICES_DROPPED"  # of those, all or all but one were left out, as asked
    MULTI_VOLUME = "MULTI_VOLUME"  # several volumes: at the same positions, or between one another
    VOLUMES_DIFFER = "VOLUMES_DIFFER"  # they differ in spacing or extent, and which is meant is not said (unusable)
    PERHAPS_SEVERAL = "PERHAPS_SEVERAL"  # evenly spaced, but a tag parts it into even volumes of wider spacing
    TOO_UNEVEN = "TOO_UNEVEN"  # an even volume would hold far more planes than there are slices (unusable)
    SHEARED = "SHEARED"  # slices move sideways: gantry tilt
    SPACING_TAG_MISMATCH = "SPACING_TAG_MISMATCH"  # SpacingBetweenSlices is not the spacing
    SPACING_TAG_ALONG_BED = "SPACING_TAG_ALONG_BED"  # SpacingBetweenSlices is measured along the tilted bed
    SPACING_TAG_NEGATIVE = "SPACING_TAG_NEGATIVE"
    SLICE_LOCATION_MISMATCH = "SLICE_LOCATION_MISMATCH"  # SliceLocation contradicts ImagePositionPatient, which counts
    FRAMES_OF_REFERENCE = "FRAMES_OF_REFERENCE"  # one series has several: their positions need not fit together
    SCALE_DOUBTFUL = "SCALE_DOUBTFUL"  # lengths look like those of another unit; they are not converted
    USER_SPACING_USED = "USER_SPACING_USED"
    SLICE_LOCATION_USED = "SLICE_LOCATION_USED"
    SPACING_TAG_USED = "SPACING_TAG_USED"
    THICKNESS_USED = "THICKNESS_USED"
    NO_SPACING = "NO_SPACING"  # nothing states where slices are (unusable)
    NO_PIXEL_SPACING = "NO_PIXEL_SPACING"
    VOLUME_FRAME = "VOLUME_FRAME"  # positions are those in the volume of an ultrasound probe, not in the body
    DETECTOR_SPACING = "DETECTOR_SPACING"  # only ImagerPixelSpacing: at the detector, not in the body
    RESOLUTION_IS_DEFAULT = "RESOLUTION_IS_DEFAULT"  # 1/1 of tifffile, 96 dpi of a BMP: what programs write unasked
    SCANNER_LOG_USED = "SCANNER_LOG_USED"  # spacing of an image stack from the log of its reconstruction
    SCANNER_LOG_MISMATCH = "SCANNER_LOG_MISMATCH"  # a log beside the images is not of them, or contradicts itself
    SINGLE_SLICE = "SINGLE_SLICE"
    MOSAIC = "MOSAIC"  # each image is many slices side by side, which are not taken apart (unusable)
    ORIENTATION_BAD = "ORIENTATION_BAD"
    POSITION_BAD = "POSITION_BAD"
    TAG_BAD = "TAG_BAD"  # a tag does not hold what it should; taken as missing
    RESCALE_VARIES = "RESCALE_VARIES"
    UNREADABLE_FILE = "UNREADABLE_FILE"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"  # DICOM without pixels: a directory, a report, a presentation state; passed over
    UNREADABLE_PIXELS = "UNREADABLE_PIXELS"
    PIXELS_REFUSED = "PIXELS_REFUSED"  # pixels that no volume is made of: of a kind not read, or cut (unusable)
    COLOR_PIXELS = "COLOR_PIXELS"  # red, green and blue, which not every format of volumes holds
    DAMAGED_LEFT_OUT = "DAMAGED_LEFT_OUT"  # slices whose pixels are not all there, counted as missing as was asked
    INVERTED_GREY = "INVERTED_GREY"  # MONOCHROME1: low values are meant to be bright; pixels are left as stored
    SERIES_SCATTERED = "SERIES_SCATTERED"  # many series of one slice each that agree in all else
    SERIES_MERGED = "SERIES_MERGED"  # series that agree in all else were joined as was asked
    FIRST_FILES_LOST = "FIRST_FILES_LOST"  # instance numbers begin late, those of other series of the study do not
    SERIES_SPLIT = "SERIES_SPLIT"  # one SeriesInstanceUID holds slices of different size, spacing or orientation
    EVEN_TOGETHER = "EVEN_TOGETHER"  # such parts lie between one another and are even together, by their places
    SERIES_JOINED = "SERIES_JOINED"  # that differed by less than a pixel, and slices are even together (no warning)


# Of series that no volume can be made of.
UNUSABLE = frozenset(
    (
        Code.SLICES_CONFLICT, Code.NAMES_CONTRADICT, Code.VOLUMES_DIFFER, Code.TOO_UNEVEN, Code.MOSAIC,
        Code.NO_SPACING, Code.PIXELS_REFUSED,
    )
)  # fmt: skip


@dataclass(frozen=True)
class Note:
    """Something to know about a series: a code for programs and a sentence for people."""

    code: Code
    text: str


@dataclass(frozen=True)
class StoredPixels:
    """How a DICOM file stores the pixels of a slice.

    Attributes
    ----------
    syntax
        TransferSyntaxUID; empty if the file does not state it.
    stored_as
        NumPy type with byte order, such as ``<u2``; empty for types that must be decoded.
    offset
        Where the slice's pixels begin in the file, in bytes; None where they must be decoded.
    bits_stored, high_bit
        BitsStored, HighBit.
    is_signed
        PixelRepresentation.
    photometric
        PhotometricInterpretation.
    slope, intercept
        Value = slope x stored + intercept.
    items
        Where the items of compressed pixels begin in the file, in bytes; None for pixels that are not in items.
    n_frames
        Slices in the file.
    has_table
        Whether a ModalityLUTSequence gives the values instead of slope and intercept.
    n_bits
        BitsAllocated: of one sample of a pixel.
    samples
        SamplesPerPixel.
    is_whole
        False if the file ends before the slice's pixels do, as far as that shows without decoding them.
    padding
        PixelPaddingValue, as stored: outside of what was imaged.
    padding_limit
        PixelPaddingRangeLimit, as stored: all from ``padding`` to this is outside; None for ``padding`` alone.
    """

    syntax: str
    stored_as: str
    offset: int | None
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric: str = "MONOCHROME2"
    slope: float = 1.0
    intercept: float = 0.0
    items: int | None = None
    n_frames: int = 1
    has_table: bool = False
    n_bits: int = 16
    samples: int = 1
    is_whole: bool = True
    padding: float | None = None
    padding_limit: float | None = None


@dataclass(frozen=True)
class SliceHeader:
    """What a file states about one slice; None where it states nothing (usable).

    Attributes
    ----------
    path, frame
        File, and the number of the slice in it.
    shape
        Rows and columns.
    position_mm
        ImagePositionPatient: center of the first pixel (x, y, z). Of planes in a TIFF 0, 0 and PositionZ.
    quantum_mm
        Value of the last decimal that each of the three was written with; 0 for binary numbers.
    row_direction, column_direction
        ImageOrientationPatient: unit vectors along a row (to higher columns) and along a column (to higher rows).
    pixel_spacing_mm
        (y, x): distance of rows, distance of columns; PixelSpacing is in this order.
    number
        InstanceNumber.
    instance
        SOPInstanceUID; with ``frame`` the name of a slice.
    slice_location_mm, spacing_between_mm, thickness_mm, tilt_deg
        The tags SliceLocation, SpacingBetweenSlices, SliceThickness, GantryDetectorTilt.
    is_mosaic
        ImageType says that the image is many slices side by side.
    pixels
        How they are stored; None for what is not DICOM.
    """

    path: Path
    frame: int
    shape: tuple[int, int]
    position_mm: tuple[float, float, float] | None = None
    quantum_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    row_direction: tuple[float, float, float] | None = None
    column_direction: tuple[float, float, float] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    number: int | None = None
    instance: str = ""
    slice_location_mm: float | None = None
    spacing_between_mm: float | None = None
    thickness_mm: float | None = None
    tilt_deg: float | None = None
    is_mosaic: bool = False
    pixels: StoredPixels | None = None

    @property
    def is_whole(self) -> bool:
        """Whether its pixels are all in the file, as far as that is known without decoding them."""
        return self.pixels is None or self.pixels.is_whole


@dataclass(frozen=True)
class SliceSeries:
    """Slices that belong together, in the order of their files' names, and what was noticed while they were read.

    Attributes
    ----------
    name
        What messages call it: the series' description and number, or the file.
    source_format
        ``dicom``, ``tiff``, ``image`` or ``scanner log``.
    key
        Tags by which it was told from others (SeriesInstanceUID ...), for the report.
    headers
        One for each slice; empty for files that could not be read, which the notes name.
    notes
        What was noticed.
    spacing_mm
        (z, y, x) where a file states it outright (TIFF, scanner log); None for DICOM. Positions of headers count more.
    numbers_apart
        Instance numbers of slices that were taken for another series though their SeriesInstanceUID is this one's.
    role
        ``localizer`` or ``secondary capture``: what lies beside the volumes of a study and is meant to be none. Empty
        for every other series.
    tags
        What else each slice states, by the name of the split: those values alone that are not the same in all.
    """

    name: str
    source_format: str
    headers: tuple[SliceHeader, ...]
    notes: tuple[Note, ...] = ()
    key: Mapping[str, str] = field(default_factory=dict)
    spacing_mm: LengthsZYX | None = None
    numbers_apart: frozenset[int] = frozenset()
    role: str = ""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stretch:
    """Equally spaced slices in a row: ``first <= k < stop`` in the order along the normal.

    A slice that belongs to no other is a stretch by itself; its spacing is NaN where stretches have different ones.
    """

    first: int
    stop: int
    spacing_mm: float

    @property
    def n_slices(self) -> int:
        """Number of its slices."""
        return self.stop - self.first


@dataclass(frozen=True)
class SpacingFit:
    """Positions along the normal, explained.

    Attributes
    ----------
    spacing_class
        How the slices lie.
    spacing_mm, uncertainty_mm
        Distance of neighbours (VARIABLE: of the finest stretch; IRREGULAR: the median) and how far it may be off:
        2 e / (n - 1) or the standard error of the fit, whichever is more. e is ``rounding_mm``, or the mean of the ends
        where positions were written with a count of digits; n the planes of the grid (RUNS_WITH_GAPS: the slices of the
        longest stretch, VARIABLE: of the finest). IRREGULAR: the standard deviation of the intervals. NaN where nothing
        is known.
    origin_mm
        Where slice 0 of the fitted grid is, along the normal; the first position where there is no grid.
    steps
        int64 (n,): number in the fitted grid of each slice in order, 0 first; 0 .. n - 1 for classes without such a
        grid: RUNS_WITH_GAPS, VARIABLE, IRREGULAR.
    residual_mm
        Greatest distance of a slice from the grid, or from that of its stretch (IRREGULAR: from the straight line).
    rounding_mm
        e: greatest error along the normal from the decimals of the positions.
    is_rounded
        The positions fit only because they are rounded.
    by_number
        Positions are coarser than the spacing; the order is that of the instance numbers.
    stretches
        All slices, cut at the holes (MISSING: all of one spacing), at the gaps or where the spacing changes; one for
        UNIFORM, none for IRREGULAR, SINGLE and UNKNOWN.
    n_output
        Planes of an even volume over all slices; 0 for UNKNOWN.
    """

    spacing_class: SpacingClass
    spacing_mm: float
    uncertainty_mm: float
    origin_mm: float
    steps: Integers
    residual_mm: float
    rounding_mm: float
    is_rounded: bool
    by_number: bool
    stretches: tuple[Stretch, ...]
    n_output: int


@dataclass(frozen=True)
class Part:
    """Slices of a series that may be a volume by themselves.

    Attributes
    ----------
    members
        int64 (n,): their numbers in ``series.headers``, along the normal.
    start_mm, stop_mm
        Where the first and the last of them are along the normal.
    fit
        How they lie.
    """

    members: Integers
    start_mm: float
    stop_mm: float
    fit: SpacingFit


@dataclass(frozen=True)
class Parting:
    """A way to tell the volumes of one series apart: names of what its slices are split by, and the volumes."""

    names: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class SliceStack:
    """A series judged: its slices in order along the normal, where they are, and all that was found.

    Attributes
    ----------
    series
        What was judged.
    order
        int64 (n,): numbers in ``series.headers`` of the slices kept, along the normal.
    positions_mm
        float64 (n,): where they are along the normal, as written (ascending).
    fit
        The explanation.
    spacing_mm
        (z, y, x) of the even volume; None where unknown.
    uncertainty_mm
        How far each may be off (only z is known); None where unknown.
    origin_mm, directions
        Center of the first voxel of the even volume (x, y, z, LPS); unit vectors (3, 3), in rows, of its axes z, y, x.
        None where the series does not state them.
    shear
        (y, x): mm that slices move along columns and along rows for each mm along the normal; 0, 0 for upright stacks.
    notes
        Warnings, in order of weight.
    evidence
        Sentences of what was measured.
    others_mm
        Slice spacing that common programs would have taken, mm, by program; None for refusing. SliceThickness, which
        some take, is among them under its own name.
    advice
        What to do, a sentence or two.
    partings
        Ways to tell several volumes in the series apart, the best first; none where it is taken for one volume.
    """

    series: SliceSeries
    order: Integers
    positions_mm: Floats
    fit: SpacingFit
    spacing_mm: LengthsZYX
    uncertainty_mm: LengthsZYX
    origin_mm: tuple[float, float, float] | None
    directions: Floats | None
    shear: tuple[float, float]
    notes: tuple[Note, ...]
    evidence: tuple[str, ...]
    others_mm: Mapping[str, float | None]
    advice: str
    partings: tuple[Parting, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether a volume can be made of it."""
        return len(self.order) > 1 and not UNUSABLE & {note.code for note in self.notes}
