"""Voxel sizes in what micro-CT scanners write beside their images: SkyScan, GE, Nikon and Zeiss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.units import mm_per
from gpustitch.model.arrays import LengthsZYX
from gpustitch.slices.found import LOG_SUFFIXES, slice_files
from gpustitch.slices.logs.text import LogText, read_log
from gpustitch.slices.logs.zeiss_txm import read_txm

Counts = tuple[int | None, int | None, int | None]
_UNKNOWN: Counts = (None, None, None)
_SAME = 1e-3  # numbers of one thing in a log differ by their decimals at most


@dataclass(frozen=True)
class ScannerLog:
    """What a log states.

    Attributes
    ----------
    path
        File.
    log_type
        Whose log it is and of what, for messages.
    spacing_mm
        (z, y, x) of the reconstruction; None for each that is not stated, or if it is no log of a reconstruction.
    shape
        (z, y, x) of the reconstruction; None for each that is not stated.
    quotes
        The lines that the numbers are from, and how z follows from them.
    projections
        (number, rows, columns) of the projections: images of this size are no slices.
    sections
        First and last number, and step, of the slices' names; None if not stated.
    prefix
        How the slices' names begin; empty if not stated.
    is_reconstruction
        False for a log of an acquisition, whose voxel size is that of a reconstruction without binning.
    problems
        What contradicts itself or is missing.
    """

    path: Path
    log_type: str
    spacing_mm: LengthsZYX
    shape: Counts = _UNKNOWN
    quotes: tuple[str, ...] = ()
    projections: Counts = _UNKNOWN
    sections: tuple[int, int, int] | None = None
    prefix: str = ""
    is_reconstruction: bool = True
    problems: tuple[str, ...] = ()


def read_scanner_log(path: str | Path) -> ScannerLog:
    """Read a scanner's log, told by its suffix.

    SkyScan ``.log`` (NRecon's ``_rec.log``: [Reconstruction]; that of projections states no voxel size), GE phoenix
    ``.pcr`` ([VolumeData]) and ``.pca`` ([Geometry]), Nikon ``.xtekct`` ([XTekCT]), Zeiss ``.txm`` and ``.txrm``.

    Raises
    ------
    InputMissingError
        If there is no such file.
    ParameterError
        If the suffix is of no log.
    DamagedInputError
        If a size is missing, not above 0, no number, or there with several values; the text names file and key.
    MissingExtraError
        For a Zeiss file without olefile.
    """
    path = Path(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ParameterError(f"{path} is no scanner's log; known are {', '.join(LOG_SUFFIXES)}")
    return read(path)


def find_logs(folder: Path) -> list[Path]:
    """Files in a folder that are scanner logs: by suffix, and ``.log`` of other programs left out.

    Raises
    ------
    InputMissingError
        If the folder cannot be read.
    """
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in LOG_SUFFIXES and file.is_file()]
    except OSError as error:
        raise InputMissingError(f"folder {folder} cannot be read: {error.strerror}") from error
    return list(slice_files(file for file in files if not file.name.startswith(".")).logs)


def _skyscan(path: Path) -> ScannerLog:
    """What a log of SkyScan (Bruker) says: of a reconstruction, or of projections alone."""
    log, section, acquired = read_log(path), "Reconstruction", "Acquisition"
    names = ("Number Of Files", "Number Of Rows", "Number Of Columns")
    files, rows, columns = (log.count(acquired, name) for name in names)
    projections = (files, rows, columns)
    if not log.has(section):
        if not log.has(acquired):
            raise DamagedInputError(f"{path} has neither [Reconstruction] nor [Acquisition]: it is no SkyScan log")
        said = f"{path} is the log of the projections; the voxel size is in that of the reconstruction (_rec.log)"
        return ScannerLog(path, "SkyScan projections", (None,) * 3, projections=projections, problems=(said,))
    pixel = log.needed(section, "Pixel Size (um)")
    step = log.length(section, "Section to Section Step")
    quotes = [log.quote(section, "Pixel Size (um)")]
    quotes += [log.quote(section, "Section to Section Step")] if step is not None else []
    problems = () if step is not None else (f"{path}: [Reconstruction] has no Section to Section Step",)
    count, sections, contradiction = _skyscan_sections(log)
    shape = (count, *(log.count(section, f"Result Image {side} (pixels)") for side in ("Height", "Width")))
    undersampled = _undersampling(log, pixel)
    return ScannerLog(
        path=path,
        log_type="SkyScan reconstruction",
        spacing_mm=(None if step is None else pixel * step / 1e3, pixel / 1e3, pixel / 1e3),
        shape=(shape[0], shape[1], shape[2]),
        quotes=tuple(quotes),
        projections=projections,
        sections=sections,
        prefix=log.text("File name convention", "Filename Prefix") or "",
        problems=(*problems, *contradiction, *undersampled),
    )


def _skyscan_sections(log: LogText) -> tuple[int | None, tuple[int, int, int] | None, tuple[str, ...]]:
    """How many sections; first, last and step; what contradicts itself there."""
    names = ("Sections Count", "First Section", "Last Section", "Section to Section Step")
    count, first, last, step = (log.count("Reconstruction", name) for name in names)
    if first is None or last is None or not step:
        return count, None, ()
    by_numbers = abs(last - first) // step + 1
    numbers = (min(first, last), max(first, last), step)
    if count is None or count == by_numbers:
        return by_numbers, numbers, ()
    said = f"Sections Count={count}, but sections {first} to {last} in steps of {step} are {by_numbers}"
    return None, numbers, (f"{log.path} contradicts itself: [Reconstruction] {said}",)


def _undersampling(log: LogText, pixel_um: float) -> tuple[str, ...]:
    """Whether the pixel size may be that before undersampling: it is that of the projections all the same."""
    factor = log.number("Reconstruction", "Undersampling factor")
    taken = log.number("Acquisition", "Image Pixel Size (um)")
    if not factor or factor == 1 or not taken or abs(pixel_um / taken - 1) > _SAME:
        return ()
    said = f"Undersampling factor={factor:g}, but Pixel Size (um) is that of the projections"
    return (f"{log.path}: [Reconstruction] {said}; voxels may be {factor:g} times as large",)


def _ge_volume(path: Path) -> ScannerLog:
    log = read_log(path)
    section = log.section_with("VoxelSizeRec") or "VolumeData"
    size = log.needed(section, "VoxelSizeRec")
    z, y, x = (log.count(section, f"Volume_Size{axis}") for axis in "ZYX")
    quotes = (log.quote(section, "VoxelSizeRec"), "its voxels are cubes")
    return ScannerLog(path, "GE reconstruction", (size,) * 3, (z, y, x), quotes)


def _ge_acquisition(path: Path) -> ScannerLog:
    """A .pca states no distance of slices; voxels of its reconstructions are cubes: their .pcr states one size."""
    log, section = read_log(path), "Geometry"
    x, y = (log.needed(section, f"VoxelSize{axis}") for axis in "XY")
    quotes = [log.quote(section, f"VoxelSize{axis}") for axis in "XY"]
    is_cube = math.isclose(x, y, rel_tol=_SAME)
    quotes += ["no distance of slices is stated; voxels of reconstructions are cubes"] if is_cube else []
    problems = () if is_cube else (f"{path}: [Geometry] VoxelSizeX and VoxelSizeY differ, so z is not known from them",)
    projections = (log.count("CT", "NumberImages"), *(log.count("Image", f"Dim{axis}") for axis in "YX"))
    return ScannerLog(
        path, "GE acquisition", (x if is_cube else None, y, x), quotes=tuple(quotes),
        projections=(projections[0], projections[1], projections[2]), is_reconstruction=False, problems=problems,
    )  # fmt: skip


def _nikon(path: Path) -> ScannerLog:
    """What a log of Nikon (X-Tek) says of a reconstruction; its unit is stated, or mm."""
    log, section = read_log(path), "XTekCT"
    unit = log.text(section, "Units") or "mm"
    in_mm = mm_per(unit)
    if in_mm is None:
        raise DamagedInputError(f"{path}: [XTekCT] Units is {unit!r}, which is no length")
    y, x = (log.needed(section, f"VoxelSize{axis}") for axis in "YX")
    z = log.length(section, "VoxelSizeZ")
    quotes = [log.quote(section, f"VoxelSize{axis}") for axis in ("XYZ" if z is not None else "XY")]
    quotes += [log.quote(section, "Units")] if in_mm != 1 else []
    problems = () if z is not None else (f"{path}: [XTekCT] has no VoxelSizeZ",)
    counts = [log.count(section, f"Voxels{axis}") for axis in "ZYX"]
    taken = [log.count(section, name) for name in ("Projections", "DetectorPixelsY", "DetectorPixelsX")]
    return ScannerLog(
        path, "Nikon reconstruction", (None if z is None else z * in_mm, y * in_mm, x * in_mm),
        (counts[0], counts[1], counts[2]), tuple(quotes), (taken[0], taken[1], taken[2]), problems=problems,
    )  # fmt: skip


def _zeiss(path: Path) -> ScannerLog:
    """What the header of a Zeiss file says: voxels are cubes of the stated pixel's size."""
    header = read_txm(path)
    um = header.pixel_um
    if um is None or not math.isfinite(um) or um <= 0:
        said = "is not there" if um is None else f"is {um:g}; a length above 0 was expected"
        raise DamagedInputError(f"{path}: ImageInfo/PixelSize {said}")
    spacing, quotes = (um / 1e3,) * 3, (f"ImageInfo/PixelSize={um:.7g} um", "its voxels are cubes")
    if path.suffix.lower() == ".txm":
        return ScannerLog(path, "Zeiss reconstruction", spacing, header.shape, quotes)
    return ScannerLog(
        path, "Zeiss projections", spacing, quotes=(*quotes, "at the axis, for a reconstruction without binning"),
        projections=header.shape, is_reconstruction=False,
    )  # fmt: skip


_READERS: dict[str, Callable[[Path], ScannerLog]] = {
    ".log": _skyscan,
    ".pcr": _ge_volume,
    ".pca": _ge_acquisition,
    ".xtekct": _nikon,
    ".txm": _zeiss,
    ".txrm": _zeiss,
}
