"""``channels.json`` in the output of a run over several channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpustitch.io.checked import check_schema, inside, read_json, rows, table, told
from gpustitch.io.provenance import write_json
from gpustitch.oblique.channels.options import CHANNELS

SCHEMA = 1
_ADVICE = "name the folders of the channels themselves"


def channel_folders(output: Path) -> list[Path]:
    """The outputs of the channels that a run over several has made, in its order; empty if it is no such output.

    Raises
    ------
    DamagedInputError
        If ``channels.json`` is there but cannot be understood.
    """
    content = read_state(output)
    if content is None:
        return []
    with told(output / CHANNELS, "a list of channels", _ADVICE):
        names = [inside(name, "a channel") for name in rows(content.get("channels", []), "channels")]
    return [output / name for name in names if (output / name).is_dir()]


def read_state(folder: Path) -> dict[str, Any] | None:
    """What a run has noted in its output; None if there is no note.

    Raises
    ------
    DamagedInputError
        If the note cannot be understood.
    """
    file = folder / CHANNELS
    if not file.is_file():
        return None
    with told(file, "a run over channels", _ADVICE):
        content = table(read_json(file), "it")
        check_schema(content, SCHEMA)
    return content


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Note how far a run is, or what it has found."""
    write_json(folder / CHANNELS, dict(state), schema=SCHEMA, overwrite=True)
