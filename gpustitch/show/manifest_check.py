"""The check of images by the manifest beside them."""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path

from gpustitch.io.found import files_in, path_key
from gpustitch.io.manifest import SUFFIX, read_manifest
from gpustitch.running.progress import SILENT, Progress, counted, size_text
from gpustitch.show.reading import Check, Damages, read_all, read_file


def manifests(place: Path) -> list[Path]:
    """The manifest at a path, or those in a folder."""
    if place.is_file():
        return [place] if place.name.endswith(SUFFIX) else []
    return sorted(place.glob(f"*{SUFFIX}"), key=path_key)


def check_manifest(path: Path, n_workers: int, progress: Progress = SILENT) -> Check:
    """Read every file that a manifest names, on ``n_workers`` threads. Damage is counted, and no error.

    Files of the same suffix that stand in no manifest are damages too: nothing tells whether they are whole.

    Raises
    ------
    ResourceError
        If memory or open files do not suffice.
    """
    damages = Damages()
    known = {}
    with damages.told():
        found = read_manifest(path)
        known = {} if found is None else found[1]
        if not known:
            damages.add(f"{path} names no file")
        _count_unknown(path, known, damages)
    reads = [functools.partial(read_file, path.parent / name, (of.size_bytes, of.crc32)) for name, of in known.items()]
    total = sum(of.size_bytes for of in known.values())
    n_bytes = read_all(reads, damages, total, n_workers, progress, f"Verifying {path}")
    extent = f"{counted(len(known), 'files')}, {size_text(n_bytes)}"
    return Check(path, extent, "whole, as written", tuple(damages.named), damages.n)


def _count_unknown(path: Path, known: Collection[str], damages: Damages) -> None:
    """Count files that stand in none of the manifests beside one another; of folders below, if these do."""
    folder = path.parent
    named = {name for other in manifests(folder) if other != path for name in (read_manifest(other) or ((), ()))[1]}
    suffixes = {Path(name).suffix for name in known}
    below = any("/" in name for name in known)
    for file in sorted(files_in(folder, below=below, failed=lambda _: None), key=path_key) if known else ():
        name = file.relative_to(folder).as_posix()
        if file.suffix in suffixes and name not in known and name not in named:
            damages.add(f"{file} is in no manifest: nothing tells whether it is whole")
