"""The flat field of a camera, estimated from the frames themselves."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import choose_device
from gpustitch.errors import InputMissingError, MosaicError, ParameterError
from gpustitch.io.atomic import check_apart, check_file_output
from gpustitch.io.frames.formats import frame_files
from gpustitch.io.frames.opening import cautions, open_frames
from gpustitch.io.frames.readable import Lost, Readable
from gpustitch.io.images.files import TIFF_SUFFIXES, write_tiff
from gpustitch.io.provenance import RECORD_SCHEMA, provenance, write_json
from gpustitch.model import Frames
from gpustitch.model.arrays import Floats32, HostArray
from gpustitch.model.options import check_ranges
from gpustitch.oblique.flat.chosen import choose_frames
from gpustitch.oblique.flat.device_bytes import within_device
from gpustitch.oblique.flat.fit import FlatFit, FlatModel, FlatOptions, Grid, counts_of, fit_flat, usable
from gpustitch.oblique.flat.histogram import check_bins
from gpustitch.oblique.flat.judge import Judge, Judged, Sampled, best
from gpustitch.oblique.flat.look import Look, first_look
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.flat.percentiles import (
    FRAMES_PER_READ,
    Binning,
    Chosen,
    Found,
    Parts,
    Percentiles,
    find_percentiles,
    held_frames,
    steps_of,
)
from gpustitch.oblique.flat.verdict import Verdict
from gpustitch.running import options as shared
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers

_COMPRESSION = 3
# Frames of the first look.
_LOOKED_AT = 24
# Part of the tissue beyond the bins that raises a warning.
_TOO_BRIGHT = 0.02
# Bands this thin make many small reads of one frame's bytes.
_THIN_BAND_ROWS = 8
# Bytes of a pixel while the model is fitted: about ten float64 images.
_FIT_BYTES_PER_PIXEL = 96


@dataclass(frozen=True)
class IlluminationPlan:
    """A checked job: ``chosen`` holds the frames of the sources and how they are read."""

    options: IlluminationOptions
    sources: tuple[Readable, ...]
    chosen: Chosen
    inputs: Inputs = Inputs()

    @property
    def n_there(self) -> int:
        """Number of frames of all sources that can be read, as far as is known."""
        return sum(source.shape[0] - len(source.absent) for source in self.sources)

    @property
    def peak_bytes(self) -> int:
        """Most memory held at once, in bytes."""
        rows, columns = self.chosen.frame_shape
        return max(self.chosen.peak_bytes, _FIT_BYTES_PER_PIXEL * rows * columns)


@dataclass(frozen=True)
class IlluminationResult:
    """The fitted flat, its judgement, images as of the fit in its orientation, and the number of frames.

    ``percentile_image`` is in counts. ``residual_percent`` is what it is above the fit, 0 where pixels are not used. Of
    large frames both are known of every so many rows and columns, and stand for the pixels around these.
    ``lost`` says what each input lacks: frames that were not there, and chosen ones that could not be read.
    """

    verdict: Verdict
    percentile_image: npt.NDArray[np.uint32]
    residual_percent: Floats32
    n_frames: int
    lost: tuple[Lost, ...]

    @property
    def fit(self) -> FlatFit:
        """The fit."""
        return self.verdict.fit

    @property
    def flat(self) -> npt.NDArray[np.float32]:
        """The flat scaled to maximum 1."""
        return self.fit.flat

    def record(self, *, is_used: bool) -> dict[str, Any]:
        """The figures for a record of provenance, with the number of frames used."""
        return self.verdict.record(is_used=is_used) | {"n_frames": self.n_frames}

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
        If an option is out of range, or a band exceeds the memory.
    MosaicError
        If the inputs' frames differ in shape or type.
    OutputExistsError, OutputError
        If an output exists or cannot be written.
    """
    if not options.paths:
        raise ParameterError("`paths` is empty; give at least one file of raw frames, such as a DCIMG file")
    _check_outputs(options)
    skips = shared.checked_on_error(options.on_error)
    inputs = Inputs.of(options.paths, apart=[options.output], below=False)
    opened = (
        open_frames(path, allow_missing=options.allow_missing, skip_damaged=skips, choice=options.choice)
        for path in options.paths
    )
    return replace(plan_of(tuple(Readable(frames, skips=skips) for frames in opened), options), inputs=inputs)


def plan_of(sources: tuple[Readable, ...], options: IlluminationOptions) -> IlluminationPlan:
    """The job for frames that are open; ``options.paths`` say what each of the sources is called.

    Raises
    ------
    ParameterError, MosaicError
        As :func:`plan`.
    """
    check_ranges(options)
    fit_options = options.fit_options()
    if options.auto and options.model != FlatOptions.model:
        raise ParameterError(f"`auto` chooses the model, but `model` is {options.model}; leave out one of them")
    for model in _models(options, is_covered=True):
        replace(fit_options, model=model)  # checks min_samples
    _check_alike(options.paths, sources)
    width = fit_options.values_per_bin
    if options.auto and options.values_per_bin is None:  # the frames will tell it
        width = max(width, fit_options.background // max(1, fit_options.n_bins) + 1)
    check_bins(sources[0].dtype, fit_options.n_bins, width, fit_options.background)
    numbers = choose_frames([source.shape[0] for source in sources], options.n_frames, [s.absent for s in sources])
    n_workers = checked_workers(options.n_workers)
    grid = 1 if options.intermediate_output is not None else steps_of(sources[0].shape[1:])[0]
    n_workers, band_rows = _cut(sources[0], sum(map(len, numbers)), grid, n_workers, options.memory_bytes)
    device = choose_device(options.device, options.device_memory_bytes)
    chosen = within_device(Chosen(sources, numbers, band_rows, n_workers, device, grid))
    return IlluminationPlan(options, sources, chosen)


def run(plan: IlluminationPlan, progress: Progress = SILENT) -> IlluminationResult:
    """Estimate the flat and write it, in counts, as a float32 TIFF.

    If ``intermediate_output`` is given, the percentile image is written too, as uint16. With ``auto`` the residual and
    a record of the choice are written as well.

    Raises
    ------
    ParameterError
        If too few pixels are brighter than the background, or ``auto`` finds no flat that is better than none.
    OutputError
        If an output cannot be written.
    """
    options = plan.options
    result = estimated(plan, progress)
    if result.verdict.is_refused:
        raise ParameterError(result.verdict.refusal)
    changed = plan.inputs.tell(progress)
    if options.intermediate_output is not None:
        shown = np.minimum(result.percentile_image, 65535).astype(np.uint16)
        write_tiff(options.intermediate_output, shown, compression=_COMPRESSION, overwrite=options.overwrite)
    if options.auto:
        write_residual(result, options)
        record = provenance(options, _files(options)) | {"flat": result.record(is_used=True)} | changed
        record |= {"frames": {str(path): of.record for path, of in zip(options.paths, result.lost, strict=True)}}
        write_json(options.record_output, record, schema=RECORD_SCHEMA, overwrite=options.overwrite)
    else:
        for path in filter(Path.exists, (options.residual_output, options.record_output)):
            progress.warn(f"{path} is of an earlier flat, not of {options.output}")
    write_flat(result, options)
    return result


def write_flat(result: IlluminationResult, options: IlluminationOptions) -> None:
    """Write the flat, in counts, as a float32 TIFF."""
    write_tiff(options.output, result.fit.counts, compression=_COMPRESSION, overwrite=options.overwrite)


def write_residual(result: IlluminationResult, options: IlluminationOptions) -> None:
    """Write what the flat misses, in percent, as a float32 TIFF beside the flat."""
    image = result.residual_percent
    write_tiff(options.residual_output, image, compression=_COMPRESSION, overwrite=options.overwrite)


def estimated(plan: IlluminationPlan, progress: Progress = SILENT) -> IlluminationResult:
    """Estimate the flat and judge it, without writing anything.

    Raises
    ------
    ParameterError
        If too few pixels are brighter than the background.
    """
    options, chosen = plan.options, plan.chosen
    for caution in itertools.chain.from_iterable(map(cautions, options.paths)):
        progress.warn(caution)
    if chosen.band_rows < min(_THIN_BAND_ROWS, _fair_rows(chosen.frame_shape[0], chosen.n_workers)):
        progress.note(
            f"{chosen.n_frames} frames fit in memory {chosen.band_rows} rows at a time, which makes many small reads; "
            "fewer `n_frames` or `n_workers` make less of them, and 2000 frames give nearly the same flat as more"
        )
    look = first_look(chosen.few(_LOOKED_AT), options.dark)
    fit_options = options.fit_options(look)
    found = percentile_bins(plan, fit_options, progress)
    whole, seen = _oriented(found.whole, options), _grid(chosen.frame_shape, found.grid, options)
    lost = tuple(Lost.of(source) for source in plan.sources)
    n_frames = chosen.n_frames - sum(len(one.unreadable) for one in lost)
    verdict = _chosen(whole, seen, _sampled(chosen, found, options), look, fit_options, options)
    verdict = replace(
        verdict,
        has_more_frames=n_frames < plan.n_there,
        unable="it is made of one frame" if n_frames == 1 else verdict.unable,
        said=tuple(filter(None, [_too_bright(found, fit_options)])),
    )
    progress.note(verdict.choice)
    for caution in verdict.cautions():
        progress.warn(caution)
    image = seen.spread(whole.bins * fit_options.values_per_bin).astype(np.uint32)
    for path, source in zip(options.paths, lost, strict=True):
        for line in replace(source, missing=()).lines("not used for the flat"):
            progress.warn(f"{path}: {line}")
    return IlluminationResult(verdict, image, seen.spread(_residual(whole, seen, verdict)), n_frames, lost)


def percentile_bins(plan: IlluminationPlan, options: FlatOptions, progress: Progress = SILENT) -> Found:
    """Percentiles of the chosen frames, in the orientation of the camera; warns where the bins end too early."""
    check_bins(plan.sources[0].dtype, options.n_bins, options.values_per_bin, options.background)
    binning = Binning(plan.options.percentile, options.n_bins, options.values_per_bin, options.background)
    found = find_percentiles(plan.chosen, binning, progress)
    if said := _too_bright(found, options):
        progress.warn(said)
    return found


def _too_bright(found: Found, options: FlatOptions) -> str:
    """What to say where the bins end too early; or nothing."""
    if found.beyond <= _TOO_BRIGHT * found.lit:
        return ""
    return (
        f"{100 * found.beyond / found.lit:.0f} % of the values from {options.background} up are not counted, as "
        f"{options.n_bins} bins of {options.values_per_bin} end at {options.n_bins * options.values_per_bin}: the flat "
        "may be wrong; raise `values_per_bin` (16 holds all values of a 14-bit camera, 64 of a 16-bit one)"
    )


def _models(options: IlluminationOptions, *, is_covered: bool) -> tuple[FlatModel, ...]:
    """The models to choose from, the simplest first; only where tissue passed everywhere can a rich one be told."""
    if not options.auto:
        return (options.model,)
    return ("reference", "product", "smooth") if is_covered else ("reference", "product")


def _chosen(
    whole: Percentiles, seen: Grid, sampled: Sampled, look: Look, fit_options: FlatOptions, options: IlluminationOptions
) -> Verdict:
    judge = Judge(sampled, fit_options)
    judged: list[Judged] = []
    for model in _models(options, is_covered=judge.is_covered):
        of_model = replace(fit_options, model=model)
        judged.append(judge.judged(fit_flat(whole.bins, whole.count, of_model, seen), of_model))
    chosen = best(judged)
    assert chosen.fit is not None
    trends = look.spots.trends(_turned_back(chosen.fit.counts, options))
    return Verdict(
        chosen,
        judged,
        judge.no_flat(),
        look,
        fit_options,
        trends,
        is_auto=options.auto,
        allows_poor=options.allow_poor_flat,
        saturated=_saturated(whole, look, fit_options),
        unable=judge.unable,
    )


def _saturated(whole: Percentiles, look: Look, options: FlatOptions) -> float:
    """Part of the pixels whose percentile is the last bin, or that of the camera's end."""
    last = options.n_bins - 1
    if look.saturation is not None:
        last = min(last, look.saturation // options.values_per_bin)
    return float(np.mean((whole.bins >= last) & (whole.count > 0)))


def _residual(whole: Percentiles, seen: Grid, verdict: Verdict) -> Floats32:
    counts, fit = counts_of(whole.bins, verdict.options), verdict.fit.counts[np.ix_(seen.rows, seen.columns)]
    used = usable(whole.bins, whole.count, verdict.options)
    return np.where(used, 100 * (counts / fit - 1), 0).astype(np.float32)


def _grid(shape: tuple[int, int], step: int, options: IlluminationOptions) -> Grid:
    """Where every ``step``-th row and column of a frame lies as it is turned for the fit."""
    is_there = np.zeros(shape, np.bool_)
    is_there[::step, ::step] = True
    is_there = _turned(is_there, options)
    rows, columns = (np.flatnonzero(is_there.any(axis=axis)) for axis in (1, 0))
    return Grid((is_there.shape[0], is_there.shape[1]), rows, columns)


def _sampled(chosen: Chosen, found: Found, options: IlluminationOptions) -> Sampled:
    """The parts as turned for the fit, and where their pixels lie then."""
    place = _grid(chosen.frame_shape, found.step, options)
    return Sampled(Parts.of([_oriented(part, options) for part in found.parts.all]), place.rows, place.columns)


def _oriented(found: Percentiles, options: IlluminationOptions) -> Percentiles:
    return Percentiles(_turned(found.bins, options), _turned(found.count, options))


def _turned(image: HostArray, options: IlluminationOptions) -> HostArray:
    turned = np.rot90(image, options.rotate_90)
    return np.ascontiguousarray(np.flipud(turned) if options.flip_ud else turned)


def _turned_back(image: HostArray, options: IlluminationOptions) -> HostArray:
    return np.rot90(np.flipud(image) if options.flip_ud else image, -options.rotate_90)


def _cut(source: Frames, n_frames: int, grid: int, n_workers: int, memory_bytes: int) -> tuple[int, int]:
    """Number of workers and rows of a band, so that the bands of all workers fit in the memory."""
    _, rows, columns = source.shape
    row_bytes = (held_frames(n_frames, grid) + FRAMES_PER_READ) * columns * source.dtype.itemsize
    if row_bytes > memory_bytes:
        raise ParameterError(
            f"one row of {n_frames} frames takes {row_bytes / 1e9:.2f} GB, more than the {memory_bytes / 1e9:.2f} GB "
            f"allowed; take at most {max(1, n_frames * memory_bytes // row_bytes // 2)} `n_frames`"
        )
    n_workers = min(n_workers, memory_bytes // row_bytes)
    return n_workers, min(_fair_rows(rows, n_workers), memory_bytes // (n_workers * row_bytes))


def _fair_rows(rows: int, n_workers: int) -> int:
    """Rows of a band of which each worker gets four."""
    return -(-rows // (4 * n_workers))


def _check_outputs(options: IlluminationOptions) -> None:
    outputs: dict[str, Path | None] = {"output": options.output, "intermediate_output": options.intermediate_output}
    if options.auto:
        outputs |= {"residual_output": options.residual_output, "record_output": options.record_output}
    given = {name: path for name, path in outputs.items() if path is not None}
    for name, path in given.items():
        if name != "record_output" and path.suffix.lower() not in TIFF_SUFFIXES:
            raise ParameterError(f"`{name}` {path} will be a TIFF file; its name should end in .tif or .tiff")
        check_file_output(path, overwrite=options.overwrite)
        check_apart(path, _files(options))
    places: dict[Path, str] = {}
    for name, path in given.items():
        if (other := places.setdefault(path.absolute(), name)) != name:
            raise ParameterError(f"`{other}` and `{name}` are both {path}")


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
