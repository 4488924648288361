"""The flat field of a camera, estimated from the frames themselves."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device, choose_device, empty, on, to_device, to_host
from gpustitch.errors import DamagedInputError, InputMissingError, MosaicError, ParameterError
from gpustitch.io.atomic import check_apart, check_file_output
from gpustitch.io.frames.formats import frame_files
from gpustitch.io.frames.opening import cautions, open_frames
from gpustitch.io.frames.readable import Lost, Readable
from gpustitch.io.images.files import TIFF_SUFFIXES, write_tiff
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model import Frames
from gpustitch.model.arrays import Integers32
from gpustitch.model.options import check_ranges, documented, option
from gpustitch.oblique.flat.fit import FlatFit, FlatModel, FlatOptions, fit_flat
from gpustitch.oblique.flat.histogram import check_bins, count_between, percentile_bin
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import checked_workers, ordered_map

FLAT = "Flat field"  # heading of the options

# The seed of spimstitch, so that both take the same frames.
_FRAME_SEED = 1234
_FRAMES_PER_READ = 32
_COMPRESSION = 3
# Step between frames checked for values beyond the bins, and the part of the tissue beyond that raises a warning.
_FRAMES_SAMPLED, _TOO_BRIGHT = 8, 0.02
# Bands this thin make many small reads of one frame's bytes.
_THIN_BAND_ROWS = 8
# Bytes of a pixel while the model is fitted: about ten float64 images.
_FIT_BYTES_PER_PIXEL = 96


@documented
@dataclass(frozen=True)
class IlluminationOptions:
    """Frames to estimate a flat from, and how; see :class:`FlatOptions` and :func:`percentile_bin`.

    ``paths`` are files, folders or patterns of images. ``rotate_90`` and ``flip_ud`` turn the flat, just as they turn
    frames in the stages that use the flat.
    """

    paths: tuple[str | Path, ...] = option(
        help="Files of raw frames, all of one size.", is_argument=True, metavar="DCIMG..."
    )
    output: Path = option(help="TIFF to write: the illumination in counts, float32.")
    intermediate_output: Path | None = option(None, help="TIFF to write: the percentile of each pixel, before the fit.")
    n_frames: int | None = option(None, help="Frames to take, at random of all.", shown="all of them", panel=FLAT)
    n_bins: int = option(1024, help="Bins of the histogram of each pixel.", panel=FLAT)
    values_per_bin: int = option(
        4, help="Counts in a bin; values of at least `n_bins` times this are not counted.", panel=FLAT
    )
    min_samples: int = option(20, help="Pixels in each random sample that the robust fit starts from.", panel=FLAT)
    percentile: float = option(
        95.0,
        at_least=0,
        at_most=100,
        help="Percentile of each pixel's counted values that the fit goes through.",
        panel=FLAT,
    )
    background: int = option(150, help="Values below this are not tissue and are not counted.", panel=FLAT)
    dark: float = option(
        0.0,
        help="Counts that the camera shows without light, less than `background`. They are subtracted, which makes "
        "the flat proportional to the light: give the same value as for destriping.",
        panel=FLAT,
    )
    model: FlatModel = option(
        "reference", help="'reference' is A x^2 + B x + C y + D; 'product' is the exponential of that.", panel=FLAT
    )
    seed: int = option(0, help="Start of the fit's random numbers.", panel=FLAT)
    rotate_90: int = shared.rotate_90()
    flip_ud: bool = shared.flip_ud()
    n_workers: int | None = shared.n_workers()
    overwrite: bool = shared.overwrite()
    allow_missing: bool = shared.allow_missing()
    on_error: shared.OnError = shared.on_error()
    choice: StackChoice = shared.stack_choice()
    memory_bytes: int = shared.memory(1 << 30)
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()

    def fit_options(self) -> FlatOptions:
        """The options of the fit; ParameterError if one is out of range."""
        return FlatOptions(
            self.n_bins, self.values_per_bin, self.background, self.dark, self.min_samples, self.model, self.seed
        )


@dataclass(frozen=True)
class IlluminationPlan:
    """A checked job: ``chosen`` holds the frame numbers of each source, read in bands of ``band_rows`` rows."""

    options: IlluminationOptions
    fit_options: FlatOptions
    sources: tuple[Readable, ...]
    chosen: tuple[npt.NDArray[np.int64], ...]
    band_rows: int
    n_workers: int
    device: Device

    @property
    def n_frames(self) -> int:
        """Number of frames taken."""
        return sum(len(c) for c in self.chosen)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a frame as the camera wrote it."""
        return self.sources[0].shape[1], self.sources[0].shape[2]

    @property
    def peak_bytes(self) -> int:
        """Most memory held at once, in bytes."""
        rows, columns = self.frame_shape
        band = (self.n_frames + _FRAMES_PER_READ) * self.band_rows * columns * self.sources[0].dtype.itemsize
        return max(self.n_workers * band + 8 * rows * columns, _FIT_BYTES_PER_PIXEL * rows * columns)


@dataclass(frozen=True)
class IlluminationResult:
    """The fitted flat, the percentile image of the fit (counts, same orientation), and the number of frames.

    ``lost`` says what each input lacks: frames that were not there, and chosen ones that could not be read.
    """

    fit: FlatFit
    percentile_image: npt.NDArray[np.uint32]
    n_frames: int
    lost: tuple[Lost, ...]

    @property
    def flat(self) -> npt.NDArray[np.float32]:
        """The flat scaled to maximum 1."""
        return self.fit.flat

    @property
    def summary(self) -> str:
        """The fit in one line for people."""
        rows, columns = self.fit.counts.shape
        terms = " ".join(f"{value:+.6g} {name}" for name, value in self.fit.coefficients.items())
        return (
            f"flat of {rows} x {columns} pixels from {self.n_frames} frames: {100 * self.fit.used_pixels:.1f} % of the "
            f"pixels used, {100 * self.fit.inlier_fraction:.1f} % of the used pixels agree, "
            f"residual {100 * self.fit.residual:.2f} %; {terms}"
        )


def plan(options: IlluminationOptions) -> IlluminationPlan:
    """Open the inputs and check the job, before any frame is read.

    Raises
    ------
    ParameterError
        If an option is out of range, ``n_frames`` exceeds the frames found, or a band exceeds the memory.
    MosaicError
        If the inputs' frames differ in shape or type.
    OutputExistsError, OutputError
        If an output exists or cannot be written.
    """
    check_ranges(options)
    if not options.paths:
        raise ParameterError("`paths` is empty; give at least one file of raw frames, such as a DCIMG file")
    fit_options = options.fit_options()
    _check_outputs(options)
    skips = shared.checked_on_error(options.on_error)
    opened = (
        open_frames(path, allow_missing=options.allow_missing, skip_damaged=skips, choice=options.choice)
        for path in options.paths
    )
    sources = tuple(Readable(frames, skips=skips) for frames in opened)
    _check_alike(options.paths, sources)
    check_bins(sources[0].dtype, options.n_bins, options.values_per_bin, options.background)
    chosen = choose_frames([source.shape[0] for source in sources], options.n_frames, [s.absent for s in sources])
    n_workers, band_rows = _cut(
        sources[0], sum(len(c) for c in chosen), checked_workers(options.n_workers), options.memory_bytes
    )
    device = choose_device(options.device, options.device_memory_bytes)
    return IlluminationPlan(options, fit_options, sources, chosen, band_rows, n_workers, device)


def run(plan: IlluminationPlan, progress: Progress = SILENT) -> IlluminationResult:
    """Estimate the flat and write it, in counts, as a float32 TIFF.

    If ``intermediate_output`` is given, the percentile image is written too, as uint16.

    Raises
    ------
    ParameterError
        If too few pixels are brighter than the background.
    OutputError
        If an output cannot be written.
    """
    options = plan.options
    for caution in itertools.chain.from_iterable(map(cautions, options.paths)):
        progress.warn(caution)
    if plan.band_rows < _THIN_BAND_ROWS < plan.frame_shape[0]:
        progress.note(
            f"{plan.n_frames} frames fit in memory {plan.band_rows} rows at a time, which makes many small reads; "
            "2000 `n_frames` give nearly the same flat sooner"
        )
    bins, count = percentile_bins(plan, progress)
    fit = fit_flat(_oriented(bins, options), _oriented(count, options), plan.fit_options)
    image = (_oriented(bins, options) * options.values_per_bin).astype(np.uint32)
    if options.intermediate_output is not None:
        shown = np.minimum(image, 65535).astype(np.uint16)
        write_tiff(options.intermediate_output, shown, compression=_COMPRESSION, overwrite=options.overwrite)
    write_tiff(options.output, fit.counts, compression=_COMPRESSION, overwrite=options.overwrite)
    lost = tuple(Lost.of(source) for source in plan.sources)
    for path, source in zip(options.paths, lost, strict=True):
        for line in replace(source, missing=()).lines("not used for the flat"):
            progress.warn(f"{path}: {line}")
    return IlluminationResult(fit, image, plan.n_frames - sum(len(one.unreadable) for one in lost), lost)


def percentile_bins(plan: IlluminationPlan, progress: Progress = SILENT) -> tuple[Integers32, Integers32]:
    """Percentile bin and number of counted values of each pixel, both int32 (rows, columns).

    The orientation is that of the frames as the camera wrote them.
    """
    rows, columns = plan.frame_shape
    bins, count = np.zeros((rows, columns), np.int32), np.zeros((rows, columns), np.int32)
    lit = beyond = 0
    starts = range(0, rows, plan.band_rows)
    bands = ordered_map(lambda start: _band(plan, start), starts, plan.n_workers)
    for start, (band_bins, band_count, band_lit, band_beyond) in zip(
        starts, tracked(bands, progress, "Illumination", len(starts), "bands"), strict=True
    ):
        bins[start : start + plan.band_rows] = band_bins
        count[start : start + plan.band_rows] = band_count
        lit, beyond = lit + band_lit, beyond + band_beyond
    if beyond > _TOO_BRIGHT * lit:
        options = plan.options
        progress.warn(
            f"{100 * beyond / lit:.0f} % of the values from {options.background} up are not counted, as "
            f"{options.n_bins} bins of {options.values_per_bin} end at {options.n_bins * options.values_per_bin}: the "
            "flat may be wrong; raise `values_per_bin` (16 holds all values of a 14-bit camera, 64 of a 16-bit one)"
        )
    return bins, count


def choose_frames(
    lengths: Sequence[int], n_frames: int | None, absent: Sequence[Collection[int]] | None = None
) -> tuple[npt.NDArray[np.int64], ...]:
    """Which frames of each source to take: ``n_frames`` at random of all together, always the same; None for all.

    ``absent`` names for each source the frames that are not there; they count for nothing.

    Raises
    ------
    ParameterError
        If there are fewer than ``n_frames`` frames or none, or ``n_frames`` is less than one.
    """
    there = [
        np.delete(np.arange(n), sorted(gone)) for n, gone in zip(lengths, absent or [()] * len(lengths), strict=True)
    ]
    ends = np.cumsum([len(numbers) for numbers in there])
    total = int(ends[-1]) if len(ends) else 0
    if total < 1:
        raise ParameterError("the inputs hold no frames")
    taken = np.arange(total)
    if n_frames is not None:
        if not 1 <= n_frames <= total:
            raise ParameterError(f"`n_frames` is {n_frames}, but the inputs hold {total} frames; give 1 to {total}")
        taken = np.sort(np.random.RandomState(_FRAME_SEED).choice(total, n_frames, replace=False))
    parts = np.split(taken, np.searchsorted(taken, ends[:-1]))
    return tuple(numbers[part - end] for part, end, numbers in zip(parts, ends, there, strict=True))


def _band(plan: IlluminationPlan, start: int) -> tuple[Integers32, Integers32, int, int]:
    """Bins and counts of the band; also, in a sample of its frames, how many values are tissue and beyond the bins."""
    options = plan.options
    rows = slice(start, min(start + plan.band_rows, plan.frame_shape[0]))
    shape = (rows.stop - start, plan.frame_shape[1])
    frames = np.empty((plan.n_frames, *shape), plan.sources[0].dtype.newbyteorder("="))
    at, lost = 0, []
    for source, chosen in zip(plan.sources, plan.chosen, strict=True):
        for first, stop in _runs(chosen):
            frames[at : at + stop - first] = source.read(first, stop, rows=rows)
            lost += [at + number - first for number in source.absent.intersection(range(first, stop))]
            at += stop - first
    if lost:
        frames = np.delete(frames, lost, axis=0)
    if not len(frames):
        raise DamagedInputError(f"none of the {plan.n_frames} frames chosen for the flat can be read")
    end = options.n_bins * options.values_per_bin
    with on(plan.device):
        moved = to_device(frames, plan.device)
        count, bins = (empty(shape, np.int32, plan.device) for _ in range(2))
        count_between(moved, count, options.background, end)
        percentile_bin(
            moved, count, bins, options.percentile, options.n_bins, options.values_per_bin, options.background
        )
        count, bins = to_host(count), to_host(bins)
    some = frames[::_FRAMES_SAMPLED]
    return bins, count, int(np.count_nonzero(some >= options.background)), int(np.count_nonzero(some >= end))


def _runs(indices: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Half-open runs of consecutive frames, each at most one read long."""
    for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1):
        for first in range(0, len(run), _FRAMES_PER_READ):
            part = run[first : first + _FRAMES_PER_READ]
            yield int(part[0]), int(part[-1]) + 1


def _oriented(image: Integers32, options: IlluminationOptions) -> Integers32:
    turned = np.rot90(image, options.rotate_90)
    return np.ascontiguousarray(np.flipud(turned) if options.flip_ud else turned)


def _cut(source: Frames, n_frames: int, n_workers: int, memory_bytes: int) -> tuple[int, int]:
    """Number of workers and rows of a band, so that the bands of all workers fit in the memory."""
    _, rows, columns = source.shape
    row_bytes = (n_frames + _FRAMES_PER_READ) * columns * source.dtype.itemsize
    if row_bytes > memory_bytes:
        raise ParameterError(
            f"one row of {n_frames} frames takes {row_bytes / 1e9:.2f} GB, more than the {memory_bytes / 1e9:.2f} GB "
            f"allowed; take at most {max(1, n_frames * memory_bytes // row_bytes // 2)} `n_frames`"
        )
    n_workers = min(n_workers, memory_bytes // row_bytes)
    fair = -(-rows // (4 * n_workers))
    return n_workers, min(fair, memory_bytes // (n_workers * row_bytes))


def _check_outputs(options: IlluminationOptions) -> None:
    for path in (options.output, options.intermediate_output):
        if path is not None and path.suffix.lower() not in TIFF_SUFFIXES:
            raise ParameterError(f"{path} will be a TIFF file; its name should end in .tif or .tiff")
    check_file_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, _files(options))
    if options.intermediate_output is not None:
        if options.intermediate_output.absolute() == options.output.absolute():
            raise ParameterError(f"`output` and `intermediate_output` are both {options.output}")
        check_file_output(options.intermediate_output, overwrite=options.overwrite)
        check_apart(options.intermediate_output, _files(options))


def _files(options: IlluminationOptions) -> Iterator[Path]:
    for path in options.paths:
        with contextlib.suppress(InputMissingError):  # opening it tells
            yield from frame_files(path)


def _check_alike(paths: Sequence[str | Path], sources: Sequence[Frames]) -> None:
    first = sources[0]
    for path, source in zip(paths, sources, strict=True):
        if source.shape[1:] != first.shape[1:] or source.dtype != first.dtype:
            raise MosaicError(
                f"{path} has frames of {source.shape[1]} x {source.shape[2]} {source.dtype}, but {paths[0]} has "
                f"{first.shape[1]} x {first.shape[2]} {first.dtype}; pass files of one camera setting"
            )
