"""The registry of formats that volumes are written in, and questions to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpustitch.errors import ParameterError
from gpustitch.io.registry import Registry, either
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.nifti import NiftiOutput
from gpustitch.io.write.ome_zarr import OmeZarrOutput
from gpustitch.io.write.planes import PlanesOutput
from gpustitch.io.write.precomputed import PrecomputedOutput
from gpustitch.io.write.tiff import TiffOutput

OUTPUT_FORMATS: Registry[OutputFormat] = Registry(
    "volumes to write",
    "gpustitch.outputs",
    (PrecomputedOutput(), OmeZarrOutput(), TiffOutput(), NiftiOutput(), PlanesOutput()),
)
# Suffixes of files that other programs read or write, which a folder without a suffix must not pretend to be:
# volumes, images, packed files, tables and texts.
_OTHERS = (
    ".h5", ".hdf5", ".ims", ".n5", ".nrrd", ".nhdr", ".mha", ".mhd", ".mrc", ".czi", ".lif", ".nd2", ".vtk", ".npy",
    ".npz", ".raw", ".dcm", ".dicom", ".ima", ".img", ".hdr", ".mgh", ".mgz", ".mnc", ".vti", ".vol", ".am", ".klb",
    ".b3d", ".lsm", ".oib", ".oif", ".vsi", ".svs", ".mat", ".txm", ".txrm",
    ".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".jpx", ".bmp", ".gif", ".webp", ".avi", ".mp4",
    ".zip", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".br", ".7z", ".tar", ".tgz",
    ".json", ".csv", ".tsv", ".txt", ".xml", ".toml", ".html", ".pdf", ".md", ".log",
)  # fmt: skip
# Ends of messages about formats that lack a parameter.
_LACKS = {
    "levels": "have one level",
    "chunk_shape": "have no chunks",
    "shard_bytes": "have no shards",
    "codec": "have no chunks to compress",
    "writer": "are written in one way",
    "version": "have no versions",
    "compression": "are written without compression",
    "flush": "always wait for the disk",
    "write_empty": "hold every voxel in any case",
    "samples": "hold no colors",
    "n_volumes": "hold one volume",
}


def format_for(path: str | Path, format: str | None = None) -> OutputFormat:
    """The format named ``format``; by default the format with the longest suffix that the name of ``path`` ends in.

    Raises
    ------
    ParameterError
        If there is no such format, or the name is that of a format which is not written.
    """
    if format is not None:
        return OUTPUT_FORMATS.get(format)
    suffix = volume_suffix(path)
    # A blank behind a suffix is a slip of the hand.
    name = Path(path).name.lower().rstrip()
    if not suffix and (name.endswith(_OTHERS) or volume_suffix(name)):
        raise ParameterError(
            f"`output` {path} is named as a format in which no volume is written; formats by name: {names_of_outputs()}"
        )
    return next(format for format in OUTPUT_FORMATS if suffix in (format.suffixes or ("",)))


def format_of(path: str | Path) -> str:
    """The name of the format that a file name asks for: ``ome-zarr`` for ``v.zarr``."""
    return format_for(path).name


def unordered_format(path: str | Path) -> OutputFormat:
    """The format that a file name asks for; ParameterError if that format takes blocks only in order."""
    format = format_for(path)
    if format.in_order:
        others = either(f"*{other.suffixes[0]}" for other in OUTPUT_FORMATS if not other.in_order and other.suffixes)
        raise ParameterError(
            f"`output` {path} is named as {format.title}, which is written from the first plane to the last; give "
            f"`output` a name in {others}, or a name without a suffix"
        )
    return format


def volume_suffix(path: str | Path) -> str:
    """The longest suffix of a format that a file name ends in; empty if no suffix fits."""
    name = Path(path).name.lower()
    known = (suffix for format in OUTPUT_FORMATS for suffix in format.suffixes)
    return max((suffix for suffix in known if name.endswith(suffix)), key=len, default="")


def check_takes(format: OutputFormat, given: Mapping[str, Any]) -> None:
    """Raise ParameterError for a given parameter that the format lacks, rather than ignore the parameter.

    ``given`` maps parameters in :attr:`OutputFormat.takes` to values; None stands for "not given".
    """
    nothing = {"levels": 1, "compression": 0, "flush": True, "write_empty": False, "samples": 1, "n_volumes": 1}
    for parameter, value in given.items():
        if value is None or parameter in format.takes or value == nothing.get(parameter):
            continue
        raise ParameterError(
            f"{format.title} volumes {_LACKS[parameter]}; leave out `{parameter}`, which is for "
            f"{titles(parameter)}, or choose another `format`"
        )


def titles(parameter: str, *, with_it: bool = True) -> str:
    """Titles of the formats with (or without) a parameter of :attr:`OutputFormat.takes`, for messages and help."""
    return either(format.title for format in OUTPUT_FORMATS if (parameter in format.takes) == with_it)


def names_of_outputs(*, in_order: bool = True) -> str:
    """Which file name asks for which format, for messages and help: ``*.zarr OME-Zarr, other names precomputed``.

    ``in_order`` includes the formats that are written from the first plane to the last.
    """
    formats = [format for format in OUTPUT_FORMATS if in_order or not format.in_order]
    named = [f"*{format.suffixes[0]} {format.title}" for format in formats if format.suffixes]
    return ", ".join([*named, *(f"other names {format.title}" for format in formats if not format.suffixes)])


def codecs_text() -> str:
    """The codecs of each format, for messages and help: ``none, gzip (precomputed); zstd, lz4 (OME-Zarr)``."""
    return "; ".join(f"{', '.join(format.codecs)} ({format.title})" for format in OUTPUT_FORMATS if format.codecs)


def defaults_of(parameter: str) -> str:
    """The formats' defaults of a parameter, for messages and help: ``5; TIFF, NIfTI: 1``.

    ``parameter`` is ``levels``, ``chunk_shape`` or ``compression``. The first format needs no name.
    """
    alike: dict[str, list[str]] = {}
    for format in OUTPUT_FORMATS:
        alike.setdefault(format.default_of(parameter), []).append(format.title)
    (first, _), *others = alike.items()
    return "; ".join([first, *(f"{', '.join(names)}: {text}" for text, names in others)])
