"""Shows volumes in Neuroglancer, which reads them from this machine by itself: no more than a screen needs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from gpustitch.array import Device
from gpustitch.errors import MissingExtraError, ParameterError
from gpustitch.io.found import found_places
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes.format import StoredVolume
from gpustitch.io.volumes.ome_zarr import OmeZarrFormat, OmeZarrVolume
from gpustitch.io.volumes.opening import choices_at, open_volume, volumes_at
from gpustitch.io.volumes.precomputed import PrecomputedFormat, PrecomputedVolume
from gpustitch.model import Box, Spacing
from gpustitch.model.options import check_ranges, documented, option
from gpustitch.oblique.channels.file import channel_folders
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.pipeline.options import ALIGNMENT, VOLUME
from gpustitch.ops.contrast import shown_range
from gpustitch.running import options as shared
from gpustitch.show.server import FolderServer
from gpustitch.show.state import Shown, read_outlines, state_of

_LARGEST_SAMPLE = 1 << 22
_SHOWN = {"precomputed": PrecomputedFormat(), "ome-zarr": OmeZarrFormat()}  # formats that the client reads


@documented
@dataclass(frozen=True)
class ViewOptions:
    """Volumes to show as layers of one view, and where to serve them."""

    paths: Sequence[Path] = option(
        help="Precomputed or OME-Zarr volumes, or outputs of the pipeline, shown on top of each other.",
        is_argument=True,
        metavar="VOLUMES...",
    )
    address: str = option("127.0.0.1", help="Address to serve on; 0.0.0.0 lets other machines look.")
    port: int = option(0, at_least=0, at_most=(1 << 16) - 1, help="Port to serve on; 0: any that is free.")
    formats: tuple[str, ...] = option(
        (),
        flag="--format",
        metavar="NAME",
        help="Format to show of an output that holds several: precomputed or ome-zarr. May be given several "
        "times, for a layer of each.",
        shown="the first that it holds",
    )
    at: tuple[int, int, int] | None = option(
        None, text="xyz", help="Voxel x,y,z of the first volume to look at, counted from 0.", shown="its middle"
    )
    browser: bool = option(True, flag="--browser/--no-browser", help="Open the view in a browser.")
    device: str | Device = shared.idle_device()


@dataclass(frozen=True)
class ViewPlan:
    """Opened volumes with what is shown of each, and the folder of the Neuroglancer client."""

    options: ViewOptions
    shown: tuple[Shown, ...]
    client: Path


def plan(options: ViewOptions) -> ViewPlan:
    """Open the volumes and find their contrast.

    Raises
    ------
    MissingExtraError
        If Neuroglancer is not installed.
    InputMissingError, DamagedInputError
        If a volume is not there or cannot be opened.
    ParameterError
        If there is no volume, one is of a format that Neuroglancer does not read, or the port is out of range.
    """
    if not options.paths:
        raise ParameterError("no volume is given; at least one is needed")
    check_ranges(options)
    client = _client()
    found = [place for path in options.paths for place in found_places(path)]
    volumes = [volume for place in found for volume in _volumes(place, options.formats)]
    each = [(folder, choice) for folder in volumes for choice in _channels(folder)]
    shown = tuple(_shown(number, folder, choice) for number, (folder, choice) in enumerate(each))
    return ViewPlan(options, shown, client)


@dataclass(frozen=True)
class View:
    """A view that is being served; leaving its ``with`` block ends that."""

    url: str
    server: FolderServer

    @property
    def caution(self) -> str:
        """What to know of who can look; empty if only this machine can."""
        if self.server.is_local:
            return ""
        return "`address` lets other machines look: whoever has the link can read these volumes"

    def close(self) -> None:
        """Serve no more."""
        self.server.stop()

    def __enter__(self) -> View:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run(plan: ViewPlan) -> View:
    """Serve the volumes from threads of this process; the result has the address to open in a browser.

    Raises
    ------
    ParameterError
        If the address is not one of this machine, or the port is not free.
    """
    folders = [item.volume.path for item in plan.shown]
    state = functools.partial(state_of, plan.shown, at_px=plan.options.at)
    server = FolderServer(folders, plan.client, state, plan.options.address, plan.options.port)
    server.start()
    return View(server.url, server)


def _client() -> Path:
    """The folder of the client that the package of Neuroglancer brings along."""
    spec = find_spec("neuroglancer")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        client = Path(place) / "static" / "client"
        if (client / "index.html").is_file():
            return client
    raise MissingExtraError("viewing needs Neuroglancer: pip install 'gpustitch[view]'")


def _volumes(place: Path, formats: Sequence[str]) -> list[Path]:
    """The volumes to show of what lies at a path: itself, or those in an output, of each channel and format.

    Raises
    ------
    ParameterError
        If a format is not shown, or an output does not hold it.
    """
    unknown = [name for name in formats if name not in _SHOWN]
    if unknown:
        raise ParameterError(f"`formats` that are shown are {' and '.join(_SHOWN)}, not {', '.join(unknown)}")
    folders = channel_folders(place) or [place]
    if not formats:
        # The first one that can be shown; a folder without any is refused when it is opened.
        return [next((v for v in volumes_at(folder) if _kind(v)), folder) for folder in folders]
    found: list[Path] = []
    for name in dict.fromkeys(formats):
        there = [v for folder in folders for v in volumes_at(folder) if _kind(v) == name]
        # Channels may have been joined.
        there = there or [v for v in volumes_at(place) if _kind(v) == name]
        if not there:
            held = {_kind(v) for folder in (place, *folders) for v in volumes_at(folder)} - {""}
            raise ParameterError(
                f"{place} holds no volume of `formats` {name}, but {' and '.join(sorted(held)) or 'none that is shown'}"
            )
        found += there
    return found


def _kind(volume: Path) -> str:
    """The name of the format of a volume; empty if it is none that is shown."""
    return next((name for name, format in _SHOWN.items() if format.found_in(volume)), "")


def _channels(folder: Path) -> list[StackChoice | None]:
    """The choice of each channel of an image that has several; of others none, and so the one volume is shown."""
    choices = [choice for _, choice in choices_at(folder)] if _kind(folder) else []
    is_by_channel = len(choices) > 1 and all(c == StackChoice(stack_channel=c.stack_channel) for c in choices)
    return list(choices) if is_by_channel else [None]


def _shown(number: int, folder: Path, choice: StackChoice | None) -> Shown:
    """A volume, or a channel of an image, with its tiles and the links of its alignment."""
    # Formats that ask for a size are refused for another reason.
    volume = open_volume(folder, Spacing(1, 1, 1), choice=choice)
    if not isinstance(volume, PrecomputedVolume | OmeZarrVolume):
        raise ParameterError(
            f"{folder} is of a format that Neuroglancer does not read; precomputed and OME-Zarr volumes can be shown"
        )
    if isinstance(volume, OmeZarrVolume) and volume.reader != "tensorstore":  # such chunks would stay black
        raise ParameterError(f"{folder} is compressed in a way that Neuroglancer does not read; write it again")
    tiles, alignment = read_outlines(folder), folder.absolute().parent / ALIGNMENT
    links = read_alignment(alignment).links if tiles and alignment.is_file() else ()
    name = folder.absolute().parent.name if folder.name == VOLUME else folder.name
    if choice is not None and isinstance(volume, OmeZarrVolume):
        name = f"{name} {volume.channel or choice.stack_channel}"
    return Shown(f"{number} {name}", volume, _contrast(volume, choice), tiles, links)


def _contrast(volume: PrecomputedVolume | OmeZarrVolume, choice: StackChoice | None) -> tuple[float, float]:
    """Brightness (low, high) that a layer spans: percentiles of a coarse level's voxels with data."""
    coarse: StoredVolume = volume
    for level in range(1, volume.levels):
        if Box.of_shape(coarse.coverage.shape).size <= _LARGEST_SAMPLE:
            break
        coarse = open_volume(volume.path, volume.spacing, level=level, choice=choice)
    shape = coarse.coverage.shape
    box = Box.of_shape([min(n, 256) for n in shape])
    middle = [(n - m) // 2 for n, m in zip(shape, box.shape, strict=True)]
    return shown_range(coarse.read(box.shift(middle)))
