"""Options that say which device computes, the same for every command."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from gpustitch.array import Device, choose_device
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.errors import ParameterError

_PANEL = "Device"
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="gpustitchITCH_DEVICE",
        help="Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N.",
        rich_help_panel=_PANEL,
    ),
]
IdleDevice = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="gpustitchITCH_DEVICE",
        help="Accepted as by every command; this one computes nothing that a GPU could take over.",
        rich_help_panel=_PANEL,
    ),
]
DeviceMemory = Annotated[
    str | None,
    typer.Option(
        "--device-memory",
        metavar="BYTES",
        help="Most memory of the GPU to take, such as 20G (default: all of it).",
        rich_help_panel=_PANEL,
    ),
]


def taken_device(name: str, memory: str | None, progress: TerminalProgress | None = None) -> Device:
    """The device to compute on, which ``progress`` is told in a line.

    Raises
    ------
    ParameterError, DeviceError
        If the name or the amount of memory is not understood, or the device cannot be used.
    """
    device = choose_device(name, None if memory is None else parsed_bytes(memory, "--device-memory"))
    if progress is not None:
        progress.note(f"device {device.why}")
    return device


def parsed_bytes(text: str, name: str) -> int:
    """A number of bytes from the text of option ``name``: digits, perhaps followed by K, M, G or T (powers of 1024)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ParameterError(f"{name} takes a number of bytes such as 20G or 512M, not {text!r}")
    return int(float(match[1]) * (1 << _UNITS[match[2].upper()]))
