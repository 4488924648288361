"""Options of `destripe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.flat.file import flat_file
from gpustitch.running import options as shared
from gpustitch.running.finished import skip_existing


@documented
@dataclass(frozen=True, kw_only=True)
class DestripeOptions:
    """What to correct, how, and where to write the result.

    Frames of a DCIMG file become ``img_%05d.tiff`` in a folder for each file. With ``zstep_um`` they lie beside each
    other, named after their position in tenths of a micron. The DCIMG file's name is the position of the first frame.
    """

    input: Path = option(flag="--input -i", help="Image, folder of images (and all below it) or DCIMG file.")
    output: Path | None = option(None, flag="--output -o", help="TIFF or folder.", shown="INPUT_destriped")
    correction: Correction = nested(lambda: Correction("wavelet"), level={"flag": "--level -l"})
    auto: bool = option(
        False,
        flag="--auto",
        help="Choose the guarded wavelet filter from the images: about ten settings are judged on eight of them.",
        panel=DESTRIPING,
    )
    rotate: bool = option(False, flag="--rotate -r", help="First turn images by 90 degrees counter-clockwise.")
    compression: int = option(1, flag="--compression -c", help="Level of zlib, 0 for none.")
    zstep_um: float | None = option(
        None,
        flag="--zstep -z",
        unit="um",
        help="Distance between DCIMG frames, um; names TIFFs after their position.",
    )
    allow_missing: bool = shared.allow_missing()
    on_error: shared.OnError = shared.on_error("What to do about a damaged file or frame: stop, or skip it.")
    n_workers: int | None = shared.n_workers(flag="--workers -n --n-workers")
    overwrite: bool = shared.overwrite()
    skip_existing: bool = skip_existing()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    flat: Path | None = flat_file(DESTRIPING)
