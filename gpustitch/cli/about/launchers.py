"""Small programs of the names that spimstitch and pystripe install, which call gpustitch."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.errors import InputMissingError
from gpustitch.io.atomic import atomic_file, check_file_output
from gpustitch.model.options import documented, option
from gpustitch.running import options as shared

_PIPELINE = ("pipeline", "--preset", "chunglab", "--files-beside")
# What each name stands for.
LAUNCHERS: dict[str, tuple[str, ...]] = {
    "spimstitch-pipeline": _PIPELINE,
    "spimstitch-pipeline.sh": _PIPELINE,
    "jp2k-spimstitch-pipeline.sh": (*_PIPELINE, "--format", "planes", "--codec", "jpeg2000"),
    "dcimg2tif": ("dcimg2tif",),
    "dcimg2jp2": ("dcimg2jp2",),
    "dcimg2oblique": ("dcimg2oblique",),
    "stack2oblique": ("stack2oblique",),
    "oblique-illum-corr": ("oblique-illum-corr",),
    "oblique-align": ("oblique-align",),
    "oblique2stitched": ("oblique2stitched",),
    "pystripe": ("destripe",),
}


@documented
@dataclass(frozen=True)
class LinkOptions:
    """Where the programs go."""

    folder: Path = option(help="Folder for the programs; it should be on the PATH.", is_argument=True, metavar="DIR")
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.idle_device()


def run(options: LinkOptions) -> Iterator[tuple[Path, str]]:
    """Write the programs; gives each path, and what it calls.

    Raises
    ------
    InputMissingError
        If the program ``gpustitch`` of this installation is not found.
    OutputExistsError, OutputError
        If a file is there that must not be replaced, or cannot be written. Then none is written.
    """
    program = _program()
    paths = {name: options.folder / (f"{name}.cmd" if os.name == "nt" else name) for name in LAUNCHERS}
    for path in paths.values():
        check_file_output(path, overwrite=options.overwrite)
    for name, path in paths.items():
        with atomic_file(path, overwrite=options.overwrite) as partial:
            partial.write_text(_text(program, LAUNCHERS[name]), encoding="utf-8")
            partial.chmod(0o755)
        yield path, shlex.join(["gpustitch", *LAUNCHERS[name]])


def _program() -> Path:
    """The program ``gpustitch`` of this installation."""
    name = "gpustitch.exe" if os.name == "nt" else "gpustitch"
    for place in (Path(sysconfig.get_path("scripts")) / name, Path(sys.argv[0])):
        if place.name == name and place.is_file():
            return place.absolute()
    raise InputMissingError(f"{name} is not among the programs of this Python, {sysconfig.get_path('scripts')}")


def _text(program: Path, arguments: tuple[str, ...]) -> str:
    if os.name == "nt":
        return f'@"{program}" {" ".join(arguments)} %*\r\n'
    return f'#!/bin/sh\nexec {shlex.join([str(program), *arguments])} "$@"\n'
