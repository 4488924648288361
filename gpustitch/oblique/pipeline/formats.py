"""The formats that the volume is written in besides its own: in the same pass, or from the finished volume.

Formats of chunks get the blocks of the pass itself. Files of planes are written from the first plane to the last, which
is not the order of the pass: they are made of the finished volume, which is read once for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from gpustitch.convert import stage as convert
from gpustitch.convert.options import ConvertOptions
from gpustitch.errors import ParameterError
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.formats import OUTPUT_FORMATS, format_for
from gpustitch.io.write.planes import PLANES
from gpustitch.model import ZYX
from gpustitch.oblique.pipeline import shares
from gpustitch.oblique.pipeline.options import VOLUME, PipelineOptions
from gpustitch.oblique.pipeline.work import Work
from gpustitch.running.memory import SPARE_BYTES, held_bytes, most_bytes
from gpustitch.running.parts import Parts
from gpustitch.running.progress import size_text

_MOST_BYTES = 1 << 31  # more makes it no faster
# Of whole planes a few are on their way, and the writer's and the reader's share.
_PLANES_AT_ONCE, _LEAST_BYTES = 8, 1 << 29


def settled(options: PipelineOptions) -> PipelineOptions:
    """The options with the formats sorted out: those of the pass go to the fusion, with the codec that they know.

    Raises
    ------
    ParameterError
        If there is no such format, or none of those asked for has the codec.
    """
    own = format_for(VOLUME)
    asked = {name: OUTPUT_FORMATS.get(name, "formats") for name in options.formats}
    names = tuple(name for name, format in asked.items() if format is not own)
    others = [asked[name] for name in names]
    in_pass = [format for format in others if not format.in_order]
    stitch, codec = options.stitch, options.stitch.codec
    knowing = [format.name for format in (own, *others) if codec in format.codecs]
    if codec is not None and not knowing:
        codecs = "; ".join(f"{format.title}: {', '.join(format.codecs)}" for format in (own, *others) if format.codecs)
        raise ParameterError(f"`codec` is one of {codecs}, not {codec}")
    stitch = replace(
        stitch,
        beside=tuple(format.name for format in in_pass),
        codec=codec if own.name in knowing else None,
        beside_codec=codec if any(format.name in knowing for format in in_pass) else None,
        later_codec=codec if any(format.name in knowing for format in others if format.in_order) else None,
        channel=options.channel.name,
    )
    return replace(options, formats=names, stitch=stitch)


def in_order(options: PipelineOptions) -> list[OutputFormat]:
    """The formats that are made of the finished volume."""
    found = (OUTPUT_FORMATS.get(name) for name in options.formats)
    return [format for format in found if format.in_order]


def name_of(format: OutputFormat) -> str:
    """What a format's file or folder is called in the output."""
    return PLANES if format.name == PLANES else f"{VOLUME}{format.suffixes[0]}"


def check_types(options: PipelineOptions, dtype: np.dtype[Any]) -> None:
    """Raise ParameterError if a format does not hold the volume's type of voxels."""
    for name in options.formats:
        format = OUTPUT_FORMATS.get(name)
        types = format.types_of(_codec(options, format))
        if dtype.name not in types:
            raise ParameterError(
                f"the volume holds {dtype}, and {format.title} {', '.join(types)}; leave out `formats` {name}"
            )


def _codec(options: PipelineOptions, format: OutputFormat) -> str | None:
    """How a format that is made of the finished volume is compressed; None for its default."""
    codec = options.stitch.later_codec
    return codec if format.in_order and codec in format.codecs else None


def more_bytes(options: PipelineOptions, shape: ZYX, dtype: np.dtype[Any]) -> int:
    """Bytes of the files that are made of the finished volume."""
    return len(in_order(options)) * math.prod(shape) * dtype.itemsize


def memory_bytes(options: PipelineOptions, shape: ZYX, dtype: np.dtype[Any]) -> int:
    """Bytes that are held while files are made of the finished volume, beside what the program holds."""
    plane = shape[1] * shape[2] * dtype.itemsize
    return _PLANES_AT_ONCE * plane + _LEAST_BYTES if in_order(options) else 0


def n_files(options: PipelineOptions, shape: ZYX) -> int:
    """Number of these files."""
    return sum(shape[0] if format.name == PLANES else 1 for format in in_order(options))


def lines(options: PipelineOptions, shape: ZYX, dtype: np.dtype[Any]) -> Iterator[str]:
    """What is made of the finished volume, in lines for people."""
    size = size_text(math.prod(shape) * dtype.itemsize)
    for format in in_order(options):
        count = f"{shape[0]:,} files" if format.name == PLANES else "1 file"
        yield f"then    {name_of(format)}: {format.title}, {size}, {count}, made of the finished volume"


def made(work: Work, progress: Parts) -> None:
    """Make what is made of the finished volume; what an earlier run has finished stays.

    Raises
    ------
    DamagedInputError, OutputError
        If the volume cannot be read, or a file cannot be written.
    """
    formats, options = in_order(work.options), work.options
    if not formats:
        return
    volume = open_volume(work.run.folder / VOLUME)
    least = held_bytes() + SPARE_BYTES + memory_bytes(options, volume.coverage.shape, np.dtype(volume.dtype))
    most = max(least, min(most_bytes(options.memory_bytes) or _MOST_BYTES, _MOST_BYTES))
    units = {format.name: f"format/{format.name}" for format in formats}
    with progress.part(shares.FORMATS, is_kept=all(map(work.run.has, units.values()))):
        for format in formats:

            def write(format: OutputFormat = format) -> dict[str, Any]:
                asked = ConvertOptions(
                    work.run.folder / VOLUME,
                    work.run.folder / name_of(format),
                    format=format.name,
                    codec=_codec(options, format),
                    channel_name=options.channel.name,
                    memory_bytes=most,
                    n_workers=options.n_workers,
                    overwrite=True,
                    device=options.device,
                )
                journal = work.run.journal if format.resumes else None
                result = convert.write_at(convert.plan(asked), asked.output, journal, progress)
                return {"n_boxes": result.n_boxes}

            work.run.once(units[format.name], write)
