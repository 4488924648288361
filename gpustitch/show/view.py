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
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.opening import is_volume, open_volume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
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
    places = [folder for place in found for folder in channel_folders(place) or [place]]
    return ViewPlan(options, tuple(_shown(number, path) for number, path in enumerate(places)), client)


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


def _shown(number: int, path: Path) -> Shown:
    """The volume at a path, or the one in an output of the pipeline, with its tiles and the links of its alignment."""
    folder = path / VOLUME if not is_volume(path) and is_volume(path / VOLUME) else path
    volume = open_volume(folder, Spacing(1, 1, 1))  # formats that ask for a size are refused for another reason
    if not isinstance(volume, PrecomputedVolume | OmeZarrVolume):
        raise ParameterError(
            f"{folder} is of a format that Neuroglancer does not read; precomputed and OME-Zarr volumes can be shown"
        )
    if isinstance(volume, OmeZarrVolume) and volume.reader != "tensorstore":  # such chunks would stay black
        raise ParameterError(f"{folder} is compressed in a way that Neuroglancer does not read; write it again")
    tiles, alignment = read_outlines(folder), folder.absolute().parent / ALIGNMENT
    links = read_alignment(alignment).links if tiles and alignment.is_file() else ()
    name = folder.absolute().parent.name if folder.name == VOLUME else folder.name
    return Shown(f"{number} {name}", volume, _contrast(volume), tiles, links)


def _contrast(volume: PrecomputedVolume | OmeZarrVolume) -> tuple[float, float]:
    """Brightness (low, high) that a layer spans: percentiles of a coarse level's voxels with data."""
    coarse = volume
    for level in range(1, volume.levels):
        if Box.of_shape(coarse.shape).size <= _LARGEST_SAMPLE:
            break
        coarse = type(volume)(volume.path, level)
    box = Box.of_shape([min(n, 256) for n in coarse.shape])
    middle = [(n - m) // 2 for n, m in zip(coarse.shape, box.shape, strict=True)]
    return shown_range(coarse.read(box.shift(middle)))
