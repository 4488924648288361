"""Whatever a command can do, the call of the same name can: each option is taken, or left out for a stated reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.cli.main import COMMANDS
from gpustitch.model.options import leaves
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.deskew.stage import DeobliqueOptions
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.fuse.options import StitchTreeOptions
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.sections.positions.stage import ZSpacingOptions
from gpustitch.sections.render.stage import RenderOptions
from gpustitch.sections.similarity.options import SimilarityOptions
from gpustitch.slices.verdict.judge import JudgeOptions
from gpustitch.slices.volume.options import ResampleOptions
from tests.slices.dicom.scenarios import scenario
from tests.verbs.libraries import texture

pytestmark = pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning")

GIVEN = "is what the call is given"
WRITE = "is of gs.write: the call returns what the command writes"
OPEN = "is of gs.open_frames, gs.open_planes and gs.open_volume, whose result the call takes"
WHERE = "the array decides where it is computed"
MEMORY = "arrays are in memory, lazy volumes hold no more than what is asked of them"
TREE = "is of a folder of tiles, which gs.pipeline takes; positions are given as numbers"
PARTS = "[z0:z1, y0:y1, x0:x1] of the result is a part"

WRITING = ("output", "levels", "chunk_shape", "shard_bytes", "codec", "writer", "write_empty", "n_writers", "overwrite")
OPENING = ("allow_missing", "on_error", "stack_channel", "stack_time", "stack_series")
PLACE = ("device", "device_memory_bytes")
PACKED = ("format", "compression")
THREADS = ("n_workers", "memory_bytes")


def reasons(**groups: tuple[str, ...]) -> dict[str, str]:
    """For each option that a call leaves out: why."""
    texts = {
        "given": GIVEN,
        "write": WRITE,
        "open": OPEN,
        "where": WHERE,
        "memory": MEMORY,
        "tree": TREE,
        "part": PARTS,
    }
    return {name: texts[group] for group, names in groups.items() for name in names}


# By command: its options, and which the call leaves out.
CALLS: dict[str, tuple[type, dict[str, str]]] = {
    "oblique-illum-corr": (
        IlluminationOptions,
        reasons(given=("paths",), write=("output", "intermediate_output", "overwrite"), where=("device_memory_bytes",)),
    ),
    "destripe": (
        DestripeOptions,
        reasons(
            given=("input",), write=("output", "overwrite", "compression", "zstep_um", "skip_existing"),
            open=OPENING[:2],
            where=PLACE, memory=("n_workers",),
        )
        | {"rotate": "numpy.rot90 turns an image", "dtype": "the type of the image is kept"}
        | {"auto": "a filter is chosen where none is given"},
    ),
    "dcimg2oblique": (
        DeobliqueOptions,
        reasons(given=("input",), write=WRITING, open=OPENING, where=PLACE, memory=("n_workers",))
        | {leaf.name: "is in `correction`" for leaf in leaves(DeobliqueOptions) if leaf.path[0] == "correction"}
        | {"flat": "is in `correction`", "restart": "a call ends with what it made"},
    ),
    "oblique-align": (
        AlignOptions,
        reasons(
            given=("input",), write=("output", "overwrite"), open=("allow_missing",),
            where=PLACE, memory=("n_workers",),
            tree=("x_step_um", "align_xz", "y_size", "stage_repeatability_um", "negative_y", "z_offset", "is_oblique",
                  "allow_unaligned"),
        )
        | {"report": "is drawn of many links", "voxel_size_um": "is `spacing_um`"},
    ),
    "oblique2stitched": (
        StitchTreeOptions,
        reasons(
            given=("input",), write=tuple(f"{name}" for name in WRITING), where=("device",
            "device_memory_bytes"), memory=("n_workers",), open=("allow_missing",),
            part=("size", "offset"),
            tree=("alignment", "x_step_um", "y_voxel_um", "z_offset", "negative_y"),
        )
        | {"restart": "a call ends with what it made"},
    ),
    "pipeline": (PipelineOptions, reasons(given=("channel", "output"))),
    "similarity": (
        SimilarityOptions,
        reasons(given=("input",), write=("output", "overwrite")),
    ),
    "z-spacing": (
        ZSpacingOptions,
        reasons(given=("input",), write=("output", "overwrite", "report")),
    ),
    "z-render": (
        RenderOptions,
        reasons(given=("input", "positions"), write=(*WRITING, "format"), open=("allow_missing", *OPENING[2:]),
                where=PLACE, memory=THREADS)
        | {"z_spacing_um": "is `z_spacing`, in the unit of the positions", "spacing": "is given to gs.write"},
    ),
    "resample": (
        ResampleOptions,
        reasons(given=("inputs",), write=(*WRITING, *PACKED), memory=THREADS)
        | dict.fromkeys(PLACE, "slices are read from files, and resampled in host memory"),
    ),
    "spacing": (JudgeOptions, {}),
}  # fmt: skip
NO_CALLS = {
    "info": "prints", "link-names": "names programs", "convert": "is gs.write of gs.open_volume or gs.open_planes",
    "report": "looks at what gs.pipeline wrote, which has one already",
    "view": "shows in a browser", "verify": "reads files back", "clean": "removes files",
    "demo": "runs the others", "stack2oblique": "is dcimg2oblique of images",
    "z-spacing-grid": "writes a grid of positions",
    "dcimg2tif": "copies files; gs.open_frames reads them", "dcimg2jp2": "copies files; gs.open_frames reads them",
}  # fmt: skip
# What a call names otherwise, and options for which another default is right there.
RENAMED = {"sigma1": "sigma", "sigma2": "sigma"}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small series of slices."""
    folder = tmp_path_factory.mktemp("CT")
    scenario(7, folder, shape=(12, 14))
    return folder


def called(command: str, name: str, value: Any, folder: Path) -> Any:
    """The call of a command, with one option given."""
    planes = texture((12, 24, 24)) + np.uint16(300)
    given = {name: value}
    fixed = {} if name in ("auto", "model") else {"model": "reference"}  # to choose one takes time
    calls = {
        "oblique-illum-corr": lambda: gs.flat_field(
            texture((40, 24, 32)) + np.uint16(300), **{"n_frames": 40, "allow_poor_flat": True, **fixed, **given}
        ),
        "destripe": lambda: gs.destripe(planes, **{"sigma": 8, **given}),
        "dcimg2oblique": lambda: gs.deskew(planes, **{"pixel_um": 1.8, "step_um": 1.28, **given}),
        "oblique-align": lambda: gs.align(planes, planes, **given),
        "oblique2stitched": lambda: gs.stitch([planes], [(0, 0, 0)], (1, 1, 1), **given),
        "pipeline": lambda: gs.pipeline(folder / "no channel", folder / "out", **given),
        "similarity": lambda: gs.similarity(planes, **{"max_lag": 3, **given}),
        "z-spacing": lambda: gs.z_positions(planes, **{"max_lag": 3, **given}),
        "z-render": lambda: gs.render(planes, np.arange(12.0), **given),
        "resample": lambda: gs.resample_slices(folder, **given),
        "spacing": lambda: gs.judge(folder, **given),
    }
    return calls[command]()


def test_each_command_has_a_call_or_a_reason():
    assert {*CALLS, *NO_CALLS} == set(COMMANDS)
    assert not set(CALLS) & set(NO_CALLS)


@pytest.mark.parametrize("command", CALLS)
def test_options_left_out_are_options(command):
    options, left_out = CALLS[command]
    assert not set(left_out) - {leaf.name for leaf in leaves(options)}, "a reason for what is no option"


@pytest.mark.parametrize("command, name", [(c, leaf.name) for c, (o, out) in CALLS.items() for leaf in leaves(o)
                                           if leaf.name not in out])  # fmt: skip
def test_each_option_of_a_command_is_taken_by_its_call(command, name, series):
    """With its default, so that nothing but an unknown name can be refused."""
    options, _ = CALLS[command]
    (leaf,) = (leaf for leaf in leaves(options) if leaf.name == name)
    short = RENAMED.get(name, name) if command == "destripe" else name
    lightsheet = {"method": "lightsheet"} if command == "destripe" and "lightsheet" in leaf.path else {}
    try:
        if lightsheet:
            gs.destripe(texture((40, 40)), **lightsheet, **{short: leaf.default})
        else:
            called(command, short, DEFAULTS.get((command, short), leaf.default), series)
    except gs.GpustitchError as error:
        assert command == "pipeline" and "no option" not in str(error), error


# Where the default of the command is no value for the small arrays here, or None is no value of the call.
DEFAULTS: dict[tuple[str, str], Any] = {
    ("oblique-illum-corr", "n_frames"): 40,
    ("dcimg2oblique", "pixel_um"): 1.8,
    ("oblique-illum-corr", "allow_poor_flat"): True,
    ("z-render", "leave_out"): (),
}


def test_unknown_options_are_refused_by_every_call(series):
    for command in CALLS:
        with pytest.raises((TypeError, gs.GpustitchError), match="no_such_option"):
            called(command, "no_such_option", 1, series)
