"""The writers of a fused volume: of its own format, and of others beside it that get the same blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpustitch.array.transfer import where_it_lies
from gpustitch.io.journal import Journal
from gpustitch.io.write.fan_out import FanOut
from gpustitch.io.write.format import OutputFormat, VolumeOutput
from gpustitch.io.write.formats import OUTPUT_FORMATS, unordered_format
from gpustitch.io.write.opening import open_output
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.ops.pyramid import downsample
from gpustitch.running.foretold import Stored

if TYPE_CHECKING:
    from gpustitch.oblique.fuse.stage import StitchPlan


def outputs_of(options: StitchOptions) -> list[tuple[Path, OutputFormat, str | None]]:
    """The places of the volume, its own first, with their formats and codecs."""
    own = options.output
    found: list[tuple[Path, OutputFormat, str | None]] = [(own, unordered_format(own), options.codec)]
    for name in options.beside:
        format = OUTPUT_FORMATS.get(name)
        found.append((own.with_name(own.name + format.suffixes[0]), format, options.beside_codec))
    return found


def stored_of(plan: StitchPlan) -> list[Stored]:
    """What is stored of the volume in each of its formats."""
    options = plan.options
    about = options, plan.shape, plan.dtype, plan.spacing, plan.file_bytes
    return [Stored(path, format, *about) for path, format, _ in outputs_of(options)]


def opened(plan: StitchPlan, sidecar: Mapping[str, Any], journal: Journal | None = None) -> VolumeOutput:
    """The writer of the volume in all its formats; each holds ``sidecar`` as its record."""
    options = plan.options
    with contextlib.ExitStack() as stack:
        outputs: list[Any] = []
        for path, format, codec in outputs_of(options):
            output = open_output(
                path,
                plan.shape,
                plan.dtype,
                plan.spacing,
                downsample=where_it_lies(downsample, plan.device),
                format=format.name,
                levels=options.levels,
                chunk_shape=options.chunk_shape,
                shard_bytes=plan.file_bytes,
                codec=codec,
                writer=None if path != options.output else options.writer,
                sidecar=sidecar,
                overwrite=options.overwrite,
                n_writers=options.n_writers,
                write_empty=options.write_empty,
                journal=journal,
                channel=options.channel,
            )
            stack.push(output)
            outputs.append(output)
        stack.pop_all()
    return outputs[0] if len(outputs) == 1 else FanOut(outputs)
