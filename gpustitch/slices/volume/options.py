"""Options of resampling a series of slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.io.planes.format import Planes
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.formats import format_for
from gpustitch.model import ZYX
from gpustitch.model.options import documented, nested, option
from gpustitch.regrid import options as volume_options
from gpustitch.running import options as shared
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict.stage import JudgeOptions


@documented
@dataclass(frozen=True)
class ResampleOptions:
    """What is resampled, and how.

    ``inputs`` is a path or several. A program may give the series judged already as ``stack``, and its slices in the
    order of ``stack.order`` as ``planes``; then nothing is read at ``inputs``.
    """

    inputs: Path | tuple[Path, ...] = option(
        is_argument=True,
        metavar="PATH",
        help="A folder, file or glob of DICOM or image slices, or a TIFF of pages.",
    )
    output: Path = volume_options.output()
    spacing_mm: float | None = option(
        None,
        flag="--spacing",
        unit="mm",
        help="Distance of the planes, mm.",
        shown="that of the slices; the finest, if it varies",
    )
    series: str | None = option(
        None,
        metavar="N|UID",
        help="Which of several series: number in the list, or beginning or end of the SeriesInstanceUID.",
        shown="the only one",
    )
    fill_gaps: bool = option(
        False, help="Interpolate where slices are missing; by default these planes are background."
    )
    stretches: bool = option(
        False,
        flag="--stretches --runs",
        help="Write each stretch of equally spaced slices as a volume of its own too: OUT_run1 and so on.",
    )
    unshear: bool = option(
        False,
        flag="--unshear/--keep-shear",
        help="Straighten stacks of a tilted gantry, in a wider volume; or keep them sheared, as the affine of "
        "NIfTI and of the sidecar says.",
    )
    nearest: bool = option(False, help="Take the nearer slice, unchanged; else two are interpolated.")
    background: float | None = option(
        None,
        help="Value of voxels without data; for CT in HU perhaps -1024.",
        shown="PixelPaddingValue if files state it, else 0",
    )
    pixel_spacing_mm: tuple[float, float] | None = option(
        None, flag="--pixel-spacing", text="positive xy", help="Size of a pixel, mm.", shown="what the files state"
    )
    judge: JudgeOptions = nested(JudgeOptions, without=("keep_going",))
    format: str | None = volume_options.volume_format()
    levels: int | None = volume_options.levels()
    chunk_shape: ZYX | None = volume_options.chunk_shape()
    shard_bytes: int | None = shared.shard_bytes()
    codec: str | None = shared.codec()
    writer: shared.Writer | None = shared.writer()
    write_empty: bool = shared.write_empty()
    compression: int | None = volume_options.compression()
    memory_bytes: int = shared.memory(1 << 30, "Most memory for slices, such as 4G.")
    n_workers: int | None = shared.n_workers()
    n_writers: int = shared.n_writers()
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    stack: SliceStack | None = None
    planes: Planes | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The inputs, one or several."""
        return (Path(self.inputs),) if isinstance(self.inputs, str | Path) else tuple(map(Path, self.inputs))

    @property
    def output_format(self) -> OutputFormat:
        """Format asked for, or that of the output's name; ParameterError if there is none."""
        return format_for(self.output, self.format)
