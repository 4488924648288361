"""Several channels of one specimen: one is aligned, all are placed like it, and joined into one image.

Each channel is a run of the pipeline of its own, in a folder of its own, so that a run that was killed goes on with the
channel that it was at. ``channels.json`` says which channel was aligned, and how far the others lie from it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpustitch.array import choose_devices
from gpustitch.errors import MosaicError, OutputExistsError, ParameterError
from gpustitch.io.atomic import check_free_space, check_output
from gpustitch.io.images.files import read_image
from gpustitch.io.resumable import finished_bytes
from gpustitch.io.write.channels import join_channels
from gpustitch.io.write.formats import volume_suffix
from gpustitch.model import Spacing
from gpustitch.model.tile import TilePath
from gpustitch.oblique.channels.best import Linked, best_channel
from gpustitch.oblique.channels.file import read_state, write_state
from gpustitch.oblique.channels.options import CHANNELS, JOINED, ChannelsOptions
from gpustitch.oblique.channels.shift import ChannelShift, central, measured_shift
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.flat.flatfield import normalized_flat
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.one_pass import volumes_of
from gpustitch.oblique.pipeline.options import ALIGNMENT, FLAT
from gpustitch.oblique.pipeline.stage import PipelinePlan, PipelineResult
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.resumed import making_of
from gpustitch.running.threads import Workers, checked_workers


@dataclass(frozen=True)
class ChannelsPlan:
    """Checked runs of all channels, by name.

    ``finished`` names those that an earlier run has made, ``state`` is what that run, or else this one, has noted.
    """

    options: ChannelsOptions
    plans: Mapping[str, PipelinePlan]
    finished: frozenset[str]
    state: Mapping[str, Any]

    def lines(self) -> Iterator[str]:
        """What the runs will take, in lines for people."""
        for name, plan in self.plans.items():
            yield f"{name}:"
            yield from (f"  {line}" for line in plan.lines())


@dataclass(frozen=True)
class ChannelsResult:
    """The joined image, the channel that was aligned, and how far the others lie from it, by name.

    ``failed`` names the channels whose report has a check that failed.
    """

    output: Path
    joined: Path
    aligned: str
    shifts: Mapping[str, ChannelShift]
    spacing: Spacing
    failed: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What was written, in one line for people."""
        names = ", ".join([self.aligned, *self.shifts])
        failed = f"; checks FAILED in {', '.join(self.failed)}" if self.failed else ""
        return f"{self.joined}: {len(self.shifts) + 1} channels ({names}), placed as {self.aligned} is aligned{failed}"


def plan(options: ChannelsOptions) -> ChannelsPlan:
    """Check the runs of all channels before any output is touched.

    Raises
    ------
    ParameterError
        If channels have one name, or `align_on` names none of them. Also what a pipeline's plan raises.
    MosaicError
        If channels differ in their tiles or in the size of their frames.
    OutputExistsError
        If the output exists and is no unfinished run of these channels and options.
    """
    names = options.names
    if len(set(names)) < len(names):
        raise ParameterError(f"`channels` must have names of their own, but are {', '.join(names)}")
    if options.align_on is not None and options.align_on not in names:
        raise ParameterError(f"`align_on` is {options.align_on}, but the channels are {', '.join(names)}")
    if options.align_on is not None and options.each.align_file is not None:
        raise ParameterError("`align_on` has no effect beside `align_file`; leave one out")
    if suffix := volume_suffix(options.folder):
        raise ParameterError(
            f"`output` {options.folder} ends in {suffix}, but it will hold a folder for each channel and {JOINED}; "
            "give a name without such a suffix"
        )
    state = _state(options)
    finished = _finished(options, state)
    # A channel that an earlier run has begun was begun with the alignment of the one before.
    given = options.each.align_file or _alignment_made(options, state, finished)
    plans = {name: pipeline.plan(options.of(name, given)) for name in names if name not in finished}
    _check_alike(plans)
    if not options.each.dry_run:
        _check_disk(options, plans)
    return ChannelsPlan(options, plans, finished, state)


def run(plan: ChannelsPlan, progress: Progress = SILENT) -> ChannelsResult:
    """Stitch the channels one after the other, join them, and say how far they lie from one another.

    Raises
    ------
    GpustitchError
        Any error of the pipeline. Finished channels stay, and the next run goes on with the others.
    """
    options, state = plan.options, dict(plan.state)
    options.folder.mkdir(parents=True, exist_ok=True)
    aligned, linked = _to_align(plan, state, progress)
    state |= {"aligned": aligned, "linked": {name: vars(each) for name, each in linked.items()}}
    write_state(options.folder, state)
    order = [aligned, *(name for name in options.names if name != aligned)]
    reference, shifts, spacing = _Reference(plan, aligned), {}, None
    for name in order:
        if name not in plan.finished:
            progress.note(f"channel {name}")
            result = _stitch(plan, name, aligned, progress)
            spacing = result.stitched.spacing
            state["finished"] = [*state.get("finished", []), name]
            if result.report is not None and result.report.verdict == "fail":
                state["failed"] = [*state.get("failed", []), name]
            write_state(options.folder, state)
        if name != aligned:
            shifts[name] = reference.shift_of(name, progress)
    joined = _join(options, progress)
    tile_spacing = reference.spacing
    state |= {"is_finished": True, "shifts": {name: shift.record(tile_spacing) for name, shift in shifts.items()}}
    write_state(options.folder, state)
    return ChannelsResult(
        options.folder, joined, aligned, shifts, spacing or tile_spacing, tuple(state.get("failed", ()))
    )


class _Reference:
    """The aligned channel, with which the others are compared once they are stitched.

    Light and stripes lie alike in all channels, whatever the specimen does. So tiles are compared without them: divided
    by the flat of the output, and less what each row has in common.
    """

    def __init__(self, plan: ChannelsPlan, name: str) -> None:
        self._plan, self._name = plan, name
        found = self._planned(name)
        self.spacing = found.tiles[0].scan.spacing

    def _planned(self, name: str) -> PipelinePlan:
        options = self._plan.options
        if name in self._plan.plans:
            return self._plan.plans[name]
        # A finished channel is planned elsewhere, only to open its tiles.
        own = options.of(name, options.each.align_file)
        return pipeline.plan(replace(own, output=options.folder / f".{name}", overwrite=False))

    def _tiles(self, name: str) -> dict[str, Any]:
        found, made = self._planned(name), self._plan.options.folder / name / FLAT
        file = made if made.is_file() else found.options.flat
        flat = None if file is None else normalized_flat(read_image(file))
        correction = Correction("lightsheet", lightsheet=LightsheetOptions(is_line_alone=True), flat=flat)
        volumes = volumes_of(found.tiles, correction)
        by_name = dict(zip((tile.name for tile in found.mosaic.tiles), volumes, strict=True))
        return {tile.name: by_name[tile.name] for tile in central(found.mosaic).tiles}

    def shift_of(self, name: str, progress: Progress) -> ChannelShift:
        """How far a channel lies from this one; it is said, and nothing is moved."""
        options = self._plan.options.each
        device = choose_devices(options.device, options.device_memory_bytes)
        workers = Workers(checked_workers(options.n_workers), device)
        shift = measured_shift(self._tiles(self._name), self._tiles(name), workers, progress)
        text = shift.text(name, self._name, self.spacing)
        if shift.is_uneven:
            progress.warn(
                f"{text}; the tiles differ more than that: the stage did not come back to the same places, and "
                f"{name} should be aligned by itself"
            )
        elif shift.is_shifted:
            progress.warn(f"{text}; this is not corrected")
        else:
            progress.note(text)
        return shift


def _to_align(plan: ChannelsPlan, state: Mapping[str, Any], progress: Progress) -> tuple[str, dict[str, Linked]]:
    """The channel whose tiles are aligned: the one of an earlier run, the stated one, or the best."""
    options = plan.options
    if state.get("aligned") in options.names:
        return str(state["aligned"]), {name: Linked(**each) for name, each in state.get("linked", {}).items()}
    if options.align_on is not None:
        return options.align_on, {}
    if options.each.align_file is not None:
        return options.names[0], {}
    return best_channel(plan.plans, progress)


def _stitch(plan: ChannelsPlan, name: str, aligned: str, progress: Progress) -> PipelineResult:
    """Run the pipeline on one channel; others than the aligned one lie as that does."""
    options = plan.options
    file = options.folder / aligned / ALIGNMENT
    if name == aligned or options.each.align_file is not None or not file.is_file():
        return pipeline.run(plan.plans[name], progress)
    return pipeline.run(pipeline.plan(options.of(name, file)), progress)


def _check_alike(plans: Mapping[str, PipelinePlan]) -> None:
    """Raise MosaicError unless all channels have the same tiles, and frames of one size."""
    if not plans:
        return
    first, *others = plans
    for name in others:
        a, b = plans[first], plans[name]
        alone = sorted(_places(a.mosaic.tiles) ^ _places(b.mosaic.tiles))
        if alone:
            raise MosaicError(f"{first} and {name} differ in tiles: only one of them has {', '.join(alone[:5])}")
        for tile, one, other in zip(a.mosaic.tiles, a.tiles, b.tiles, strict=True):
            if one.shape != other.shape or one.dtype != other.dtype:
                raise MosaicError(
                    f"tile {tile.name} has {one.shape} voxels (z, y, x) of {one.dtype} in {first} but {other.shape} of "
                    f"{other.dtype} in {name}; channels of one image must be alike"
                )


def _check_disk(options: ChannelsOptions, plans: Mapping[str, PipelinePlan]) -> None:
    """Raise OutputError if the disk has no room for all channels together."""
    n_bytes = sum(plan.foreseen.disk_bytes - finished_bytes(plan.options.output) for plan in plans.values())
    check_free_space(options.folder, n_bytes, sum(plan.foreseen.n_files(plan.options) for plan in plans.values()))


def _places(tiles: tuple[TilePath, ...]) -> set[str]:
    return {tile.name for tile in tiles}


def _join(options: ChannelsOptions, progress: Progress) -> Path:
    """Make one image of those of the channels, whose files it takes over."""
    target = options.folder / JOINED
    images = [options.folder / name / JOINED for name in options.names]
    if target.exists() and not all(image.exists() for image in images):
        return target  # an earlier run has joined them
    join_channels(images, target, overwrite=True)
    for image in images:
        shutil.rmtree(image)
    progress.note(f"{target} has a channel for each of {', '.join(options.names)}")
    return target


def _state(options: ChannelsOptions) -> dict[str, Any]:
    """What an earlier run of these channels has noted, or what this one notes first."""
    first = {"is_finished": False, "channels": list(options.names), "settings": _settings(options)}
    if options.each.overwrite or options.each.restart:
        return first
    found = read_state(options.folder)
    return found if found is not None and found.get("settings") == first["settings"] else first


def _finished(options: ChannelsOptions, state: Mapping[str, Any]) -> frozenset[str]:
    """Channels that an earlier, unfinished run with these options has made."""
    folder = options.folder
    if options.each.overwrite or options.each.restart or not (folder / CHANNELS).is_file():
        if folder.exists() and any(folder.iterdir()) and not options.each.overwrite:
            check_output(folder, overwrite=False)
        return frozenset()
    if state.get("is_finished") or "aligned" not in state:
        raise OutputExistsError(
            f"{folder} exists already, and is no unfinished run of these channels with these options; choose another "
            "`output`, or `overwrite` replaces it"
        )
    return frozenset(name for name in state.get("finished", ()) if (folder / name).is_dir())


def _alignment_made(options: ChannelsOptions, state: Mapping[str, Any], finished: frozenset[str]) -> Path | None:
    """The alignment of a finished channel, like which the others are placed; None if there is none yet."""
    aligned = state.get("aligned")
    file = options.folder / str(aligned) / ALIGNMENT
    return file if aligned in finished and file.is_file() else None


def _settings(options: ChannelsOptions) -> dict[str, Any]:
    """What the result depends on, by channel, in JSON's types."""
    found = {}
    for name in options.names:
        making = making_of(options.of(name, options.each.align_file), options.each.device, Inputs())
        found[name] = json.loads(json.dumps(making.settings, default=str))
    return found
