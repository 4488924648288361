"""Every small damage of JSON: each value of a document replaced by others, removed, or joined by one more."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 1, 0.5, 1e308, 10**30, float("nan"), float("inf"), "", "x", "..", "../../x", "/etc", "1",
    [], [1, 2, 3], [[]], [None] * 3, {}, {"a": 1}, "\0", "é" * 300,
)  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document; of a list the first and last one."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list) and document:
        for at in sorted({0, len(document) - 1}):
            yield from places(document[at], (*path, at))


def edited(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a document with another value at a path."""
    if not path:
        return value
    whole = copy.deepcopy(document)
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return whole


def edits(document: Any) -> Iterator[tuple[str, Any]]:
    """Damaged copies of a document, each with a name."""
    for path in places(document):
        for value in NASTY:
            yield f"{path} = {value!r:.20}", edited(document, path, value)
        if path:
            whole = edited(document, path, None)
            inner = whole
            for step in path[:-1]:
                inner = inner[step]
            del inner[path[-1]]
            yield f"{path} removed", whole
        found = document
        for step in path:
            found = found[step]
        if isinstance(found, dict):
            yield f"{path} more", edited(document, path, {**found, "more": 1})
        elif isinstance(found, list):
            yield f"{path} longer", edited(document, path, [*found, *found[-1:]])
            yield f"{path} shorter", edited(document, path, found[:-1])
