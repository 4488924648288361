"""A fused volume to write: in its own format, and in others beside it that get the same blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import Device
from gpustitch.array.transfer import where_it_lies
from gpustitch.io.journal import Journal
from gpustitch.io.write.fan_out import FanOut
from gpustitch.io.write.format import OutputFormat, VolumeOutput
from gpustitch.io.write.formats import OUTPUT_FORMATS, unordered_format
from gpustitch.io.write.opening import open_as
from gpustitch.io.write.storing import writing_of
from gpustitch.model import ZYX, Spacing
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.ops.pyramid import downsample
from gpustitch.running.foretold import Stored


@dataclass(frozen=True)
class FusedVolume:
    """A volume to write: where and how, its shape (z, y, x), and the device that its blocks are made on.

    ``file_bytes`` is the size of a file of chunks.
    """

    options: StitchOptions
    shape: ZYX
    dtype: np.dtype[Any]
    spacing: Spacing
    file_bytes: int
    device: Device

    @property
    def stored(self) -> list[Stored]:
        """What is stored in each of its formats, its own first."""
        about = self.options, self.shape, self.dtype, self.spacing, self.file_bytes
        return [Stored(path, format, *about) for path, format in self._places()]

    def opened(self, sidecar: Mapping[str, Any], journal: Journal | None = None) -> VolumeOutput:
        """The writer of all its formats; each holds ``sidecar`` as its record."""
        options = self.options
        own = writing_of(options, where_it_lies(downsample, self.device), self.file_bytes, sidecar)
        own = replace(own, journal=journal, channel=options.channel)
        beside = replace(own, codec=options.beside_codec, writer=None)
        with contextlib.ExitStack() as stack:
            outputs: list[Any] = []
            for path, format in self._places():
                writing = own if path == options.output else beside
                output = open_as(path, self.shape, self.dtype, self.spacing, writing, format=format.name)
                stack.push(output)
                outputs.append(output)
            stack.pop_all()
        return outputs[0] if len(outputs) == 1 else FanOut(outputs)

    def _places(self) -> Iterator[tuple[Path, OutputFormat]]:
        """The path of each format, its own first."""
        own = self.options.output
        yield own, unordered_format(own)
        for name in self.options.beside:
            format = OUTPUT_FORMATS.get(name)
            yield own.with_name(own.name + format.suffixes[0]), format
