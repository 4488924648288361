"""docs/formats.md names every field that records hold, and no other; every record has the number of its schema."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.errors import DamagedInputError
from gpustitch.io.manifest import read_manifest
from gpustitch.io.volumes.record import read_record
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.sections.grid.file import read_z_grids
from gpustitch.sections.positions.file import read_faulty
from gpustitch.sections.similarity.file import read_similarity
from tests.written_records import records

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "formats.md"
SHARED = "In many records"
# Without a number of their own: CSV, and lines of a file whose first line has it.
UNNUMBERED = {"z.csv", "*.planes.csv", "*.manifest.jsonl, other lines"}

# Fields of what small runs meet with no luck: losses, choices, several volumes in a file.
SOMETIMES = (
    "changed_inputs", "unreadable_frames.reasons", "choice.", "noticed_offset", "volume_step", "volumes", "cut_off",
    "began", "skipped", "partings", "absent_frames.*", "stacks", "spots_deny", "cuda_devices", "channels.json: failed",
    "paths[].absent_frames", "open_gaps[]",
)  # fmt: skip

pytestmark = [
    pytest.mark.xdist_group("formats"),
    pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning"),
]


@pytest.fixture(scope="module")
def named() -> dict[str, list[tuple[str, ...]]]:
    """By the heading of a section the fields of its table, as their parts."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading = part.splitlines()[0].replace("`", "")
        fields = re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE)
        if fields:
            found[heading] = [tuple(field.split(".")) for field in fields]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where small runs write."""
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[str, list[Any]]:
    """What they wrote, by kind."""
    found = defaultdict(list)
    for kind, content in records(folder):
        found[kind].append(content)
    return found


# By record that gpustitch reads: what reads it.
READERS: dict[str, Callable[[Path], Any]] = {
    "placed/gpustitch.json": lambda path: gs.open_volume(path.parent),
    "tile/gpustitch.json": lambda path: gs.open_volume(path.parent, level=0),
    "placed/gpustitch.files.json": lambda path: read_record(path.parent),
    "out/align.json": read_alignment,
    "clean/destripe.manifest.jsonl": read_manifest,
    "z.csv.json": lambda path: read_faulty(path.with_suffix(""), "constant"),
    "similarity.npz": read_similarity,
    "grid.npz": read_z_grids,
}


def fields_of(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All fields below, a list of objects as ``name[]``."""
    if isinstance(content, dict) and content:
        for name, value in content.items():
            yield from fields_of(value, (*path, name))
    elif isinstance(content, list) and content and isinstance(content[0], dict):
        for entry in content:
            yield from fields_of(entry, (*path[:-1], f"{path[-1]}[]") if path else ("[]",))
    else:
        yield path


def fits(field: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a field is the one that a row of the page names, or lies below it."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return True
    if not field:
        return False
    here = pattern[0]
    same = here in ("*", field[0]) or (here == "*[]" and field[0].endswith("[]"))
    return same and fits(field[1:], pattern[1:])


def begins(row: tuple[str, ...], field: tuple[str, ...]) -> bool:
    """Whether a field is an object or a list that the row looks into: it is empty, or null."""
    plain = [part.removesuffix("[]") for part in row[: len(field)]]
    return plain == [part.removesuffix("[]") for part in field]


def is_named(field: tuple[str, ...], own: list[tuple[str, ...]], shared: list[tuple[str, ...]]) -> bool:
    """Whether a row names the field exactly; a shared row does so wherever its object lies."""
    exact = [row for row in own if fits(field, row) and (len(row) == len(field) or row[-1] in ("*", "**"))]
    if exact or any(begins(row, field) for row in own + shared):
        return True
    tails = [field[k:] for k in range(len(field))]
    return any(
        any(fits(tail, row) and (len(row) == len(tail) or row[-1] == "**") for tail in tails)
        or any(begins(row, tail) for tail in tails)
        for row in shared
    )


def test_docs_formats_names_every_field_that_is_written(named, written):
    missing = sorted(
        {
            f"{kind}: {'.'.join(field)}"
            for kind, contents in written.items()
            for content in contents
            for field in fields_of(content)
            if not is_named(field, named.get(kind, []), named[SHARED])
        }
    )
    assert not missing


@pytest.mark.parametrize("name", ["a_new_field", "inputs[].a_new_field"])
def test_docs_formats_would_miss_a_new_field(named, name):
    for kind, own in named.items():
        assert kind == SHARED or not is_named(tuple(name.split(".")), own, named[SHARED])


def test_docs_formats_has_a_table_for_every_record(named, written):
    assert set(written) <= set(named)
    assert set(named) - set(written) <= {SHARED}


def test_docs_formats_names_nothing_that_is_never_written(named, written):
    """But what only some runs write, which small ones do not."""
    everything = [field for contents in written.values() for content in contents for field in fields_of(content)]
    tails = {field[k:] for field in everything for k in range(len(field))}
    gone = set()
    for kind, rows in named.items():
        here = tails if kind == SHARED else {f for content in written.get(kind, []) for f in fields_of(content)}
        for row in rows:
            if not any(fits(field, row) and len(field) >= len(row) - (row[-1] == "**") for field in here):
                gone.add(f"{kind}: {'.'.join(row)}")
    assert not {name for name in gone if not any(part in name for part in SOMETIMES)}
    assert not [part for part in SOMETIMES if not any(part in name for name in gone)], "these are written after all"


def test_every_record_has_the_number_of_its_schema(written):
    for kind, contents in written.items():
        if kind in UNNUMBERED:
            continue
        for content in contents:
            entries = content if isinstance(content, list) else [content]
            assert all("schema" in entry for entry in entries), kind
            numbers = [entry["schema"] for entry in entries if entry["schema"] is not None]
            assert all(isinstance(number, int) and number >= 1 for number in numbers), kind


def with_schema(path: Path, change: Callable[[int], int | None], to: Path) -> None:
    """A copy of a record with another number of its schema; None for none."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            content: dict[str, Any] = dict(arrays)
    else:
        lines = path.read_text(encoding="utf-8")
        first, *others = lines.splitlines() if path.suffix == ".jsonl" else [lines]
        content = json.loads(first)
    number = change(int(content.pop("schema")))
    content |= {} if number is None else {"schema": number}
    if path.suffix == ".npz":
        np.savez(to, **content)
    else:
        to.write_text("\n".join([json.dumps(content), *others]) + "\n", encoding="utf-8")


NUMBERLESS = [name for name in READERS if name.startswith(("tile", "out", "clean", "similarity", "grid"))]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("change", ["higher", "same"])
def test_records_of_a_later_schema_are_refused_by_name(written, folder, tmp_path, name, change):
    place = folder / name
    beside = tmp_path / "copy"
    shutil.copytree(place.parent, beside)
    copy = beside / place.name
    with_schema(place, lambda number: number + (change == "higher"), copy)
    if change == "same":
        READERS[name](copy)
        return
    with pytest.raises(DamagedInputError, match=r"of schema \d+.* reads 1 to \d+"):
        READERS[name](copy)


@pytest.mark.parametrize("name", NUMBERLESS)
def test_records_without_a_number_are_of_schema_1(written, folder, tmp_path, name):
    place = folder / name
    beside = tmp_path / "copy"
    shutil.copytree(place.parent, beside)
    with_schema(place, lambda _: None, beside / place.name)
    READERS[name](beside / place.name)


def test_the_numbers_are_those_of_the_page(written):
    text = PAGE.read_text(encoding="utf-8")
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        kind = part.splitlines()[0].replace("`", "")
        stated = re.search(r"\(schema (\d+)[;)]", part)
        for content in written.get(kind, []) if stated and kind not in UNNUMBERED else []:
            for entry in content if isinstance(content, list) else [content]:
                assert entry["schema"] in (None, int(stated[1])), kind
