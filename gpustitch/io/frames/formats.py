"""The registry of formats of frames, and questions to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpustitch.errors import InputMissingError, ParameterError
from gpustitch.io.found import found_files
from gpustitch.io.frames.dcimg import DcimgFormat
from gpustitch.io.frames.format import Files, FrameFormat
from gpustitch.io.frames.jp2 import Jp2Format
from gpustitch.io.frames.png import PngFormat
from gpustitch.io.frames.tiff import TiffFormat
from gpustitch.io.registry import Registry, either

FRAME_FORMATS: Registry[FrameFormat] = Registry(
    "frames", "gpustitch.frames", (DcimgFormat(), TiffFormat(), Jp2Format(), PngFormat())
)


def frame_format(file: Path) -> FrameFormat | None:
    """The format of a file, by its name or else its first bytes; None if no format fits."""
    named = (format for format in FRAME_FORMATS if format.has_suffix(file))
    begun = (format for format in FRAME_FORMATS if file.is_file() and format.recognises(file))
    return next(named, None) or next(begun, None)


def frame_files(place: str | Path) -> list[Path]:
    """The files of frames at a path, in order; an existing file is taken whatever its name.

    Raises
    ------
    InputMissingError
        If there are no files of frames.
    """
    if Path(place).is_file():
        return [Path(place)]
    files = [file for file in found_files(place) if any(format.has_suffix(file) for format in FRAME_FORMATS)]
    if not files:
        raise InputMissingError(f"{place}: no {frame_suffixes()} file there")
    return files


def common_format(place: str | Path, files: Sequence[Path]) -> FrameFormat | None:
    """The one format of the files found at ``place``; None for a file of no known format.

    Raises
    ------
    ParameterError
        If the files have several formats, or are several of a format with one file for each stack.
    """
    formats = {format.name: format for file in files if (format := frame_format(file)) is not None}
    if len(formats) > 1:
        found = ", ".join(sorted({file.suffix.lower() for file in files}))
        raise ParameterError(f"{place} holds files of several kinds ({found}); name the files to read")
    format = next(iter(formats.values()), None)
    if format is not None and format.files is Files.ONE and len(files) > 1:
        raise ParameterError(f"{place} holds {len(files)} {format.name} files; name one of them")
    return format


def raw_suffixes(*, one: bool) -> tuple[str, ...]:
    """Suffixes of raw tiles: of tiles in one file each (``one``), or of the files of tiles in a folder each."""
    formats = (format for format in FRAME_FORMATS if format.is_raw and (format.files is Files.ONE) == one)
    return tuple(suffix for format in formats for suffix in format.suffixes)


def frame_suffixes() -> str:
    """The suffixes of all formats, for messages and help."""
    return either(suffix for format in FRAME_FORMATS for suffix in format.suffixes)


def frame_names() -> str:
    """The names of all formats, for messages and help."""
    return either(FRAME_FORMATS.names)


def frames_help() -> str:
    """Which files frames are read from, for the help of options."""
    one = either(format.name for format in FRAME_FORMATS if format.files is not Files.EACH)
    each = either(format.name for format in FRAME_FORMATS if format.files is not Files.ONE)
    return f"A {one} file; also a folder or quoted glob of {each} files."
