"""Volumes that are made over several runs: what a result depends on, and what to say when one is gone on with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from gpustitch.array import Device
from gpustitch.io.manifest import Making
from gpustitch.io.provenance import plain
from gpustitch.io.resumable import Run, resumable_directory
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import Progress, counted

# What a run may change without another result: an unfinished one is gone on with all the same.
_OF_THE_RUN = frozenset(
    {
        "output",
        "overwrite",
        "dry_run",
        "report",
        "restart",
        "n_workers",
        "n_processes",
        "n_writers",
        "cluster",
        "memory_bytes",
        "device_memory_bytes",
        "files_beside",
    }
)


def making_of(options: Any, device: object, inputs: Inputs, **settings: Any) -> Making:
    """What a result depends on: options but those of the run alone, the kind of device, and the inputs.

    ``settings`` add to the options, or replace some.
    """
    kind = "cuda" if isinstance(device, Device) and device.is_cuda else "cpu"
    return Making({**_of_result(plain(options)), "device": kind, **settings}, inputs.planned)


@contextlib.contextmanager
def gone_on_with(options: Any, making: Making, progress: Progress) -> Iterator[Run]:
    """Make the output of ``options`` (``output``, ``overwrite``, ``restart``), continuing an unfinished run.

    People are told so, and what an error leaves. Raises what :func:`gpustitch.io.resumable.resumable_directory` raises.
    """
    with resumable_directory(
        options.output, making, overwrite=options.overwrite, restart=options.restart, ended=progress.warn
    ) as run:
        tell(run, progress)
        yield run


def tell(run: Run, progress: Progress) -> None:
    """Say that an unfinished run is gone on with, if one is."""
    if run.began:
        progress.note(
            f"continuing an unfinished run of {run.began}: {counted(len(run.journal), 'parts')} of it finished"
        )


def _of_result(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _of_result(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if name not in _OF_THE_RUN
    }
