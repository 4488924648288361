"""Going on with an unfinished or earlier run: which files are finished, and whether they are of the same making."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gpustitch.errors import OutputExistsError, ParameterError
from gpustitch.io.manifest import Making, Manifest, Whole, read_manifest
from gpustitch.io.provenance import plain
from gpustitch.io.sums import crc32_of
from gpustitch.model.options import option
from gpustitch.running.progress import Progress, tracked
from gpustitch.running.threads import ordered_map

Key = TypeVar("Key")

# Options that change where files go and which of them are made, but not what is in them.
WITHOUT_EFFECT = frozenset(
    {
        "input", "output", "output_pattern", "start", "stop", "allow_missing", "on_error", "n_workers", "overwrite",
        "skip_existing", "device", "device_memory_bytes", "files_beside",
    }
)  # fmt: skip


def skip_existing() -> Any:
    """Whether a stage keeps the files that an earlier run has finished."""
    return option(
        False,
        help="Continue a stopped run, or add to a finished one: keep the whole images that the manifest lists, "
        "and make the others. Other settings or changed inputs are refused.",
    )


def settings_of(options: Any) -> dict[str, Any]:
    """The options that decide what is in a file, in JSON's types; arrays by their content. Paths are inputs."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in WITHOUT_EFFECT or isinstance(value, Path):
            continue
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            settings[field.name] = settings_of(value)
        elif hasattr(value, "tobytes") and hasattr(value, "shape"):
            settings[field.name] = f"{plain(np.asarray(value))} of CRC-32 {crc32_of(value.tobytes())}"
        else:
            settings[field.name] = plain(value)
    return settings


def check_existing(options: Any, paths: Sequence[Path], manifest: Manifest | None) -> None:
    """Refuse files that exist, unless they are to be replaced or gone on with. ``options`` says which.

    Raises
    ------
    OutputExistsError
        If files exist that ``overwrite`` does not allow to replace, or ``skip_existing`` to go on with: there is no
        manifest, or it is of other settings or inputs.
    ParameterError
        If both are asked for.
    DamagedInputError
        If the manifest is none.
    """
    if options.skip_existing and options.overwrite:
        raise ParameterError("`skip_existing` keeps what `overwrite` replaces; give one of them")
    existing = [path for path in paths if path.exists()]
    if options.overwrite or not existing:
        return
    first = f"{existing[0]}{f' and {len(existing) - 1} more' if len(existing) > 1 else ''} exist already"
    if not options.skip_existing:
        raise OutputExistsError(f"{first}; choose another output, `overwrite` them, or continue with `skip_existing`")
    found = None if manifest is None else read_manifest(manifest.path)
    if found is None or manifest is None:
        raise OutputExistsError(f"{first}, and no manifest says whether they are whole; `overwrite` them")
    _check_same(manifest, found[0])


def _check_same(manifest: Manifest, before: Making) -> None:
    """Raise OutputExistsError with the list of differences if files are not made as they were ``before``."""
    if lines := before.differences(manifest.making):
        raise OutputExistsError(
            f"{manifest.path} is about files made otherwise: {'; '.join(lines)}; ask for the same again, choose "
            "another output, or `overwrite` them all"
        )


def finished(paths: Mapping[Key, Path], manifest: Manifest, n_workers: int, progress: Progress) -> dict[Key, Whole]:
    """The files that are whole by the manifest, and what is known of them; every one is read.

    Raises
    ------
    OutputExistsError
        If the manifest is of other settings or inputs.
    """
    found = read_manifest(manifest.path)
    if found is None:
        return {}
    if not any(path.exists() for path in paths.values()):
        return {}
    _check_same(manifest, found[0])
    known = {key: found[1][manifest.name(path)] for key, path in paths.items() if manifest.name(path) in found[1]}
    checked = ordered_map(lambda key: known[key].fits(paths[key]), known, n_workers)
    tracking = tracked(checked, progress, "Checking", len(known), "images")
    kept = {key: known[key] for key, fits in zip(known, tracking, strict=True) if fits}
    progress.note(f"{len(kept)} of {len(paths)} images are finished and kept")
    return kept
