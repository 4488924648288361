"""Options of a run over channels: one, or several of one specimen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpustitch.errors import ParameterError
from gpustitch.model.options import documented, nested, option, with_values
from gpustitch.oblique.align import ALIGNMENT
from gpustitch.oblique.pipeline.options import PipelineOptions

CHANNELS, JOINED, _JOINED_FORMAT = "channels.json", "volume.zarr", "ome-zarr"


@documented
@dataclass(frozen=True)
class ChannelsOptions:
    """Which channels to stitch, and how. ``of_channel`` has by a channel's name what differs for it."""

    channels: tuple[Path, ...] = option(
        help="Folder CHANNEL/X/X_Y/Z.dcimg (tenths of a micron), or a DCIMG file; several share one alignment.",
        is_argument=True,
        metavar="CHANNELS...",
    )
    output: Path | None = option(
        None,
        flag="--output -o",
        help="Folder to create: volume/, flat.tiff, flat_residual.tiff, align.json, provenance.json, run.json, "
        "run.log. Of several channels: a folder of these for each, and volume.zarr of all.",
        shown="CHANNEL_stitched",
    )
    align_on: str | None = option(
        None,
        help="Name of the channel whose tiles are aligned; the others take its positions.",
        shown="the one that links its tiles best",
        panel=ALIGNMENT,
    )
    each: PipelineOptions = nested(lambda: PipelineOptions(Path("CHANNEL")), without=("channel", "output"))
    of_channel: dict[str, dict[tuple[str, ...], Any]] = field(default_factory=dict)

    def section_names(self) -> tuple[str, ...]:
        """Names under which options may be stated for one channel."""
        return self.names

    def stated_for(self, name: str, values: dict[tuple[str, ...], Any]) -> None:
        """Take options of one channel, by the paths of their leaves.

        Raises
        ------
        ParameterError
            If an option is one of all channels.
        """
        for path in values:
            if path[0] != "each":
                raise ParameterError(f"`{path[-1]}` holds for all channels; it cannot be stated for {name}")
        self.of_channel[name] = {path[1:]: value for path, value in values.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels: those of their folders or files."""
        return tuple(channel.resolve().name.removesuffix(".dcimg") for channel in self.channels)

    @property
    def folder(self) -> Path:
        """The output of several channels."""
        if self.output is None:
            raise ParameterError("several channels need an `output`")
        return self.output

    @property
    def single(self) -> PipelineOptions:
        """The options of the only channel."""
        (channel,) = self.channels
        if self.align_on not in (None, self.names[0]):
            raise ParameterError(f"`align_on` is {self.align_on}, but the only channel is {self.names[0]}")
        own = self._own(self.names[0])
        return replace(own, channel=channel, output=self.output or PipelineOptions(channel).output)

    def of(self, name: str, align_file: Path | None) -> PipelineOptions:
        """The options of one of several channels, which lies in a folder of its own."""
        channel, own = self.channels[self.names.index(name)], self._own(name)
        formats = tuple(dict.fromkeys((*own.formats, _JOINED_FORMAT)))
        own = replace(own, channel=channel, output=self.folder / name, formats=formats)
        return own if align_file is None else replace(own, align_file=align_file)

    def _own(self, name: str) -> PipelineOptions:
        return with_values(self.each, self.of_channel.get(name, {}))
