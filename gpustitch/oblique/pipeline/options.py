"""Options of the pipeline, and the names of what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpustitch.array import Device
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.align import ALIGNMENT as ALIGNMENT_PANEL
from gpustitch.oblique.align import YSize, allow_unaligned, stage_repeatability_um, y_size
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat.options import FLAT as FLAT_PANEL
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.fuse.options import VOLUME as VOLUME_PANEL
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.report.names import ALIGNMENT as ALIGNMENT
from gpustitch.oblique.report.names import FLAT as FLAT
from gpustitch.oblique.report.names import PROVENANCE as PROVENANCE
from gpustitch.oblique.report.names import TILES as TILES
from gpustitch.oblique.report.names import VOLUME as VOLUME
from gpustitch.running import options as shared

# More frames than this hardly move the percentile of a pixel.
FLAT_FRAMES = 2000

# Quarter turns and flip that put the frames of a known microscope upright.
ORIENTATIONS = {"plain": (0, False), "chunglab": (3, True)}
Preset = Literal["auto", "plain", "chunglab"]
_GEOMETRY = "Geometry"
_AS_NEEDED = "as the frames need"
# Options that the stages share: the pipeline fills them in.
_FILLED_IN = (
    "output",
    "n_workers",
    "n_writers",
    "overwrite",
    "restart",
    "device",
    "device_memory_bytes",
    "allow_missing",
    "on_error",
    "choice",
)
_FLAT_FILLED_IN = (*_FILLED_IN, "paths", "intermediate_output", "dark", "rotate_90", "flip_ud", "memory_bytes")


def beside(channel: Path, end: str) -> Path:
    """A path beside a channel's folder or file, of its name and ``end``."""
    place = channel if channel.name else channel.resolve()
    return place.with_name(place.name.removesuffix(".dcimg") + end)


@documented
@dataclass(frozen=True)
class PipelineOptions:
    """Which channel to stitch, and how: a folder of ``X/X_Y/Z.dcimg`` or ``X/X_Y/Z/*.tiff``, or one DCIMG file."""

    channel: Path = option(
        help="Folder CHANNEL/X/X_Y/Z.dcimg (tenths of a micron), or a DCIMG file.", is_argument=True, metavar="CHANNEL"
    )
    output: Path = option(
        None,
        flag="--output -o",
        help="Folder to create: volume/, flat.tiff, flat_residual.tiff, align.json, provenance.json, run.json, "
        "run.log, report.html, report.json.",
        shown="CHANNEL_stitched",
    )
    x_step_um: float = option(
        1.28,
        flag="--x-step-size",
        unit="um",
        env="X_STEP_SIZE",
        help="Stage step between frames, um.",
        panel=_GEOMETRY,
    )
    y_voxel_um: float = option(
        1.8,
        flag="--y-voxel-size",
        unit="um",
        env="Y_VOXEL_SIZE",
        help="Nominal camera pixel in the sample, um; the alignment measures it too.",
        panel=_GEOMETRY,
    )
    angle_deg: float = option(
        45.0, flag="--angle", help="Angle between the sheet and the stage's motion, degrees.", panel=_GEOMETRY
    )
    correction: Correction = nested(
        lambda: Correction("lightsheet", WaveletOptions(wavelet="db5")),
        dark={"flag": "--dark -d --background", "env": "BACKGROUND"},
        method={
            "env": "USE_WAVELETS",
            "env_means": "wavelet",
            "metavar": "METHOD",
            "help": "none, wavelet or lightsheet. lightsheet removes the background too, for counting cells; "
            "wavelet keeps tissue, by a filter that eight frames choose unless you state one.",
        },
    )
    flat: Path | None = option(
        None,
        flag="--illum-corr",
        env="ILLUM_CORR",
        help="Flat-field image to use.",
        shown="made from the frames",
        panel=FLAT_PANEL,
    )
    correct_flat: bool = option(True, flag="--flat/--no-flat", help="Correct the illumination.", panel=FLAT_PANEL)
    illumination: IlluminationOptions = nested(
        lambda: IlluminationOptions((), Path(FLAT), auto=True),
        without=(*_FLAT_FILLED_IN, "min_samples", "percentile", "model", "seed", "auto"),
        n_frames={"help": "Frames to make the flat from.", "shown": str(FLAT_FRAMES)},
        values_per_bin={"shown": _AS_NEEDED},
        background={
            "flag": "--flat-background",
            "help": "Counts below this are not tissue, for the flat.",
            "shown": _AS_NEEDED,
        },
    )
    align_file: Path | None = option(
        None, env="ALIGN_FILE", help="Alignment of another channel to use as it is.", panel=ALIGNMENT_PANEL
    )
    matching: MatchOptions = nested(
        lambda: MatchOptions(sample_count=100, largest_px=(51, 51, 51)),
        without=("sigma_um", "blob_window_px", "border_px", "min_correlation", "min_matches", "seed", "largest_px"),
        window_px={"shown": "51,51,51, smaller where the overlap is narrow"},
    )
    align_xz: bool = option(
        True,
        flag="--align-xz/--no-align-xz",
        env="ALIGN_XZ",
        help="Solve x and z, not only y.",
        panel=ALIGNMENT_PANEL,
    )
    allow_unaligned: bool = allow_unaligned()
    y_size: YSize = y_size()
    stage_repeatability_um: float | None = stage_repeatability_um()
    stitch: StitchOptions = nested(
        lambda: StitchOptions(Path(VOLUME), levels=7),
        without=(*_FILLED_IN, "size", "offset"),
        is_estimated={"help": "Even out the brightness of tiles along y at the overlaps."},
    )
    formats: tuple[str, ...] = option(
        (),
        flag="--format",
        metavar="NAME",
        help="Write the volume in this format too, beside volume/ (precomputed): ome-zarr gives volume.zarr, planes a "
        "folder of TIFFs, tiff and nifti one file. May be given several times.",
        panel=VOLUME_PANEL,
    )
    z_offset: int | None = option(
        None,
        env="Z_OFFSET",
        help="Voxels between tiles in z.",
        shown="from the names of the tiles",
        panel=_GEOMETRY,
    )
    negative_y: bool = option(
        False,
        flag="--negative-y/--no-negative-y",
        env="NEGATIVE_Y",
        help="The stage's y runs against the camera's.",
        panel=_GEOMETRY,
    )
    rotate_90: int | None = shared.rotate_90(None, shown="as `preset` says", panel=_GEOMETRY)
    flip_ud: bool | None = shared.flip_ud(
        None, flag="--flip-ud/--no-flip-ud", shown="as `preset` says", panel=_GEOMETRY
    )
    staged: bool = option(
        False,
        help="Write a volume of each tile first, then align and fuse these: slower, and takes more disk space.",
        panel=VOLUME_PANEL,
    )
    keep_tiles: bool = option(
        False, help="Keep the volumes of the single tiles, which are written as by `staged`.", panel=VOLUME_PANEL
    )
    memory_bytes: int | None = option(
        None,
        flag="--memory",
        text="bytes",
        help="Most memory of the run, such as 16G; if one pass needs more, it works in bands of rows, or writes "
        "volumes of the tiles first, as `staged` does.",
        shown="four fifths of what is free",
        panel=shared.RUNNING,
    )
    allow_missing: bool = shared.allow_missing()
    on_error: shared.OnError = shared.on_error()
    choice: StackChoice = shared.stack_choice(stack_channel={"flag": "--stack-channel"})
    n_workers: int | None = shared.n_workers()
    n_processes: int | None = option(
        None,
        flag="--processes",
        help="Number of processes that share these threads in one pass.",
        shown="one per thread, from 1 GB of frames on",
        panel=shared.RUNNING,
    )
    cluster: str | None = option(
        None,
        help="Fuse on dask workers that share the disk: local:N, slurm:N, or the address or file of a scheduler.",
        shown="this machine alone",
        panel=shared.RUNNING,
    )
    report: bool = option(
        True,
        flag="--report/--no-report",
        help="Check the written volume at the end, and show the checks in report.html. One that fails makes the exit "
        "code 22; the volume stays.",
        panel=VOLUME_PANEL,
    )
    overwrite: bool = shared.overwrite()
    dry_run: bool = option(
        False,
        help="Only say what the run will take: files, disk, memory, and time by a trial run of a few frames.",
        panel=shared.RUNNING,
    )
    restart: bool = shared.restart()
    device: str | Device = shared.device(" Several, cuda:0,cuda:1, share the volume: a process each.")
    device_memory_bytes: int | None = shared.device_memory()
    files_beside: bool = option(
        False,
        help="Write CHANNEL-align.json and CHANNEL-illuc.tiff beside the channel too, as spimstitch-pipeline.sh does.",
    )
    preset: Preset = option(
        "auto",
        help="Orientation of the frames: of a known microscope (chunglab turns them by 3 quarters and flips them), or "
        "auto, which finds the one that the frames and their overlaps fit.",
        panel=_GEOMETRY,
    )

    def __post_init__(self) -> None:
        if self.output is None:
            # A frozen dataclass takes values in no other way.
            object.__setattr__(self, "output", beside(Path(self.channel), "_stitched"))

    @property
    def writes_tiles(self) -> bool:
        """Whether a volume of each tile is written."""
        return self.staged or self.keep_tiles

    @property
    def implied(self) -> str:
        """What users should know that one option asks of another; empty if there is nothing."""
        is_implied = self.keep_tiles and not self.staged
        return "`keep_tiles` implies `staged`: a volume of each tile is written" if is_implied else ""

    @property
    def orientation(self) -> tuple[int, bool] | None:
        """Quarter turns of each frame, and whether to flip it then: as given, else as the preset says.

        None if nothing is given and the preset is ``auto``: the frames have to tell.
        """
        if self.preset == "auto" and self.rotate_90 is None and self.flip_ud is None:
            return None
        turns, is_flipped = ORIENTATIONS["plain" if self.preset == "auto" else self.preset]
        return (
            turns if self.rotate_90 is None else self.rotate_90 % 4,
            is_flipped if self.flip_ud is None else self.flip_ud,
        )
