"""What lies at paths where slices are looked for: DICOM files, images, scanner logs, and the rest."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gpustitch.io.found import found_files, path_key
from gpustitch.io.images.files import TIFF_SUFFIXES
from gpustitch.slices.model import Code, Note

IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp")
LOG_SUFFIXES = (".log", ".pca", ".pcr", ".xtekct", ".txm", ".txrm")
# Files of these names are meant to be DICOM: damaged ones go to the reader, which says what is wrong with them.
_DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
_LITTER = ("thumbs.db", "desktop.ini")
_SKYSCAN_SECTIONS = re.compile(r"^\s*\[(Acquisition|Reconstruction)\]\s*$", re.IGNORECASE | re.MULTILINE)
_LOG_HEAD_BYTES = 1 << 16
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_FIRST_GROUPS = (0x0002, 0x0008)


@dataclass(frozen=True)
class SliceFiles:
    """Files by kind, each in natural order of their paths.

    Attributes
    ----------
    dicom
        DICOM by content, and files named as DICOM whatever they hold.
    images
        TIFF, PNG, JPEG and BMP, by suffix.
    logs
        What scanners write beside their images (SkyScan, GE, Nikon, Zeiss).
    others
        Everything else, also indexes (DICOMDIR) and previews (SkyScan's ``_spr``); no hidden files.
    notes
        Folders and files that could not be opened.
    """

    dicom: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()
    logs: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    notes: tuple[Note, ...] = ()


def slice_files(paths: Iterable[str | Path]) -> SliceFiles:
    """Tell apart the files at paths: files, folders (with all folders in them) and globs (``**`` too).

    Hidden files and folders are left out unless they are named themselves. A file reached twice counts once.

    Parameters
    ----------
    paths
        Where to look.

    Raises
    ------
    InputMissingError
        If nothing is at one of the paths, or it cannot be looked at.
    """
    notes: list[Note] = []

    def failed(error: OSError) -> None:
        notes.append(Note(Code.UNREADABLE_FILE, f"folder {error.filename} cannot be opened: {error.strerror}"))

    found: dict[str, Path] = {}
    for path in paths:
        for file in found_files(path, below=True, failed=failed):
            found.setdefault(os.path.abspath(file), file)  # noqa: PTH100 (links stay as they are named)
    files = sorted(found.values(), key=path_key)
    names = {(file.parent, file.name.lower()) for file in files}
    kinds: dict[str, list[Path]] = {"dicom": [], "images": [], "logs": [], "others": []}
    for file in files:
        try:
            kinds["others" if _is_preview(file, names) else _kind(file)].append(file)
        except OSError as error:
            notes.append(Note(Code.UNREADABLE_FILE, f"{file} cannot be opened: {error.strerror or error}"))
    dicom, images, logs, others = (tuple(kinds[kind]) for kind in ("dicom", "images", "logs", "others"))
    return SliceFiles(dicom, images, logs, others, tuple(notes))


def _kind(file: Path) -> str:
    """What a file is read as: ``dicom``, ``images``, ``logs`` or ``others``, by its name and first bytes."""
    suffix, name = file.suffix.lower(), file.name.lower()
    if name in _LITTER or name == "dicomdir":
        return "others"
    if not file.is_file():
        return "others"
    with file.open("rb") as stream:
        head = stream.read(136)
    is_tiff = suffix in TIFF_SUFFIXES and head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if not is_tiff and (suffix in _DICOM_SUFFIXES or _is_dicom(head, file)):  # whole slides are both at once
        return "dicom"
    if suffix in IMAGE_SUFFIXES:
        return "images"
    if suffix in LOG_SUFFIXES and (suffix != ".log" or _is_skyscan(file)):
        return "logs"
    return "others"


def _is_dicom(head: bytes, file: Path) -> bool:
    """Whether a file begins as DICOM does: with a preamble, or without one at an element of group 2 or 8."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group not in _FIRST_GROUPS or element > 0x2FFF:
            continue
        if head[4:6] in _VRS:
            return True
        (length,) = struct.unpack(f"{order}I", head[4:8])
        # Implicit VR: the value fits in the file, and the element after it belongs to a group that may follow.
        if length % 2 == 0 and 8 + length <= file.stat().st_size:
            after = head[8 + length : 12 + length]
            return len(after) < 4 or struct.unpack(f"{order}HH", after) > (group, element)
    return False


def _is_skyscan(file: Path) -> bool:
    with file.open("rb") as stream:
        head = stream.read(_LOG_HEAD_BYTES)
    return _SKYSCAN_SECTIONS.search(head.replace(b"\0", b"").decode("latin-1").replace("\r", "\n")) is not None


def _is_preview(file: Path, names: set[tuple[Path, str]]) -> bool:
    """Whether it is SkyScan's picture of a projection: ``a_rec_spr.bmp`` beside the section ``a_rec0001.bmp``."""
    stem = file.stem.lower()
    if not stem.endswith("_spr") or file.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    section = re.compile(re.escape(stem.removesuffix("_spr")) + r"_?\d+\.\w+")
    return any(parent == file.parent and section.fullmatch(name) is not None for parent, name in names)
