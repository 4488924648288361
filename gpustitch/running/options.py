"""Options that many stages share: device, threads, memory, overwriting, orientation of frames, pyramid."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from gpustitch.array import Device
from gpustitch.errors import ParameterError
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.write.formats import codecs_text
from gpustitch.io.write.in_flight import N_WRITERS
from gpustitch.io.write.pyramid_layout import DEFAULT_CHUNK
from gpustitch.io.write.shards import DEFAULT_SHARD_BYTES
from gpustitch.model.options import nested, option

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_DEVICE = "Device"
# Heading of what any command can be told about the run, whatever it makes.
RUNNING = "Running"
OptionsT = TypeVar("OptionsT", bound="DataclassInstance")


def device(more: str = "") -> Any:
    """Device on which a stage computes: a name for :func:`gpustitch.array.choose_device`, or a device."""
    return option(
        "auto",
        env="GPUSTITCH_DEVICE",
        help=f"Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N.{more}",
        panel=_DEVICE,
    )


def idle_device() -> Any:
    """The device option of a stage that computes nothing a GPU could take over."""
    return option(
        "auto",
        env="GPUSTITCH_DEVICE",
        help="Accepted by every command. This command computes nothing that a GPU could take over.",
        panel=_DEVICE,
    )


def settled(options: OptionsT, device: Device, n_workers: int) -> OptionsT:
    """The options as records state them: with the device and the number of threads that are used.

    Fields ``device`` and ``n_workers`` are replaced, in options within the options too.
    """
    used = {"device": device, "n_workers": n_workers}
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in used:
            changed[field.name] = used[field.name]
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            changed[field.name] = settled(value, device, n_workers)
    differs = any(value is not getattr(options, name) for name, value in changed.items())
    return dataclasses.replace(options, **changed) if differs else options


def device_memory() -> Any:
    """Bound on the device's memory."""
    return option(
        None,
        flag="--device-memory",
        text="bytes",
        help="Most memory of the GPU to take, such as 20G.",
        shown="all of it",
        panel=_DEVICE,
    )


def n_workers(**other: Any) -> Any:
    """Number of threads."""
    return option(None, **{"help": "Number of threads.", "shown": "one per CPU", "panel": RUNNING, **other})


def n_writers() -> Any:
    """Number of writing threads."""
    return option(N_WRITERS, help="Number of files written at the same time.", panel=RUNNING)


def overwrite() -> Any:
    """Whether a stage may replace an existing output."""
    return option(False, help="Replace the output if it exists.", panel=RUNNING)


def restart() -> Any:
    """Whether a run begins anew where an unfinished one has left something."""
    text = "Drop what an unfinished run has left in OUTPUT.work; by default, continue it."
    return option(False, help=text, panel=RUNNING)


def allow_missing(**other: Any) -> Any:
    """Whether a stage goes on where frames are absent: dropped by the camera, lost in a copy, cut off at the end."""
    return option(
        False,
        **{
            "flag": "--allow-missing --allow-truncated",
            "help": "Continue if frames are missing; they stay uncovered, and all other frames keep their place.",
            **other,
        },
    )


def allow_missing_chunks() -> Any:
    """Whether a stage goes on where files of a volume's chunks are missing."""
    return allow_missing(
        flag="--allow-missing", help="Continue if chunks of a volume are missing; their voxels read as empty."
    )


OnError = Literal["stop", "skip"]


def on_error(
    help: str = "What to do about a frame that cannot be read: stop, or skip it as if it were missing.",
) -> Any:
    """Whether a stage goes on where a frame or file is damaged: an :data:`OnError`."""
    return option("stop", help=help)


def checked_on_error(on_error: str) -> bool:
    """Whether damaged frames are skipped; ParameterError if ``on_error`` is none of :data:`OnError`."""
    if on_error not in get_args(OnError):
        raise ParameterError(f"`on_error` is {' or '.join(get_args(OnError))}, not {on_error!r}")
    return on_error == "skip"


def shard_bytes(**other: Any) -> Any:
    """About how many bytes of voxels a file of chunks holds."""
    return option(
        None,
        **{
            "flag": "--shard-size",
            "text": "bytes",
            "help": "Voxels of one file, such as 32M or 256M: many chunks share it. 0 writes a file for each chunk.",
            "shown": f"{DEFAULT_SHARD_BYTES >> 20}M",
            **other,
        },
    )


def codec(**other: Any) -> Any:
    """How chunks are compressed."""
    return option(None, **{"help": f"How chunks are compressed: {codecs_text()}.", "shown": "the first", **other})


Writer = Literal["tensorstore", "direct"]


def writer(**other: Any) -> Any:
    """Who writes files of chunks."""
    return option(
        None,
        **{
            "help": "What writes the files: tensorstore, or direct (raw precomputed), which takes less CPU time "
            "and bypasses the page cache.",
            "shown": "tensorstore",
            **other,
        },
    )


def write_empty(**other: Any) -> Any:
    """Whether chunks of zeros get a file too."""
    return option(
        False,
        **{
            "help": "Write chunks of zeros too; some readers, such as cloud-volume, stop at a missing chunk.",
            **other,
        },
    )


def stack_choice(**changed: Any) -> Any:
    """Which stack is read where a place holds several."""
    return nested(StackChoice, **changed)


def memory(default: int, what: str = "Most memory to hold, such as 512M or 4G.") -> Any:
    """Bound on the memory held at once, in bytes."""
    return option(default, flag="--memory", text="bytes", help=what, panel=RUNNING)


def rotate_90(default: int | None = 0, **other: Any) -> Any:
    """Quarter turns of each frame."""
    return option(
        default,
        **{"flag": "--rotate-90 -r", "help": "Quarter turns of each frame, as numpy.rot90 makes them.", **other},
    )


def flip_ud(default: bool | None = False, **other: Any) -> Any:
    """Whether frames are flipped upside down."""
    return option(default, **{"help": "Flip each frame upside down, after turning it.", **other})


def levels(default: int | None, **other: Any) -> Any:
    """Number of levels of a pyramid."""
    return option(default, **{"help": "Number of pyramid levels.", **other})


def chunk_shape(default: Any = DEFAULT_CHUNK, **other: Any) -> Any:
    """Shape (z, y, x) of a stored chunk."""
    return option(
        default, **{"flag": "--chunk-size", "text": "xyz", "help": "Voxels of a stored chunk along x,y,z.", **other}
    )
