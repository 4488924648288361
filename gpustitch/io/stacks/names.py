"""Which files make a stack, and in which order, by the numbers in their names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpustitch.io.images.files import TIFF_SUFFIXES
from gpustitch.io.stacks.holes import even_row
from gpustitch.io.stacks.numbers import Number, ReadName, read_names

Row = tuple[Number, ...]

# Numbers that differ in every file make one stack, unless another number parts it into stacks at least this long.
_LONG_STACK = 10
# Part of a stack that may be missing before another reading of the names is likelier.
_MOST_LOST = 0.2
_CHANNEL, _TIME = "channel", "time"
# What stands before numbers that tell stacks apart, and before numbers that count planes.
_PARTING = {
    _CHANNEL: re.compile(r"(?:^|[^a-z])(?:c|ch|chan|channel|w|wavelength)[ _=-]?$", re.IGNORECASE),
    _TIME: re.compile(r"(?:^|[^a-z])(?:t|tp|time|timepoint)[ _=-]?$", re.IGNORECASE),
}
_COUNTING = re.compile(r"(?:^|[^a-z])(?:z|plane|slice|section|frame)[ _=-]?$", re.IGNORECASE)
# Names of single images in channels; few files named c1, c2 ... are channels too, many are a stack.
_SURE_CHANNEL = re.compile(r"(?:^|[^a-z])(?:ch|chan|channel|wavelength)[ _=-]?$|[^a-z]c$", re.IGNORECASE)
_MOST_CHANNELS = 4


@dataclass(frozen=True)
class NamedStack:
    """Files of one stack, ordered by their numbers.

    Attributes
    ----------
    paths
        The files.
    numbers
        The number that counts of each; None where the names have none.
    label
        Their name, with ``*`` for numbers that differ.
    key
        Channel and time as the names write them, where these tell it from other stacks.
    contrary
        What another number in the names says of the order, in words, if nothing tells which number counts.
    is_backward
        Whether that other number runs exactly against the one that counts: which end is the first is then a guess.
    """

    paths: tuple[Path, ...]
    numbers: tuple[Number | None, ...]
    label: str
    key: Mapping[str, str]
    contrary: str = ""
    is_backward: bool = False


def stacks_of_names(paths: Sequence[Path], names: Sequence[str] | None = None) -> list[NamedStack]:
    """Stacks of files, by folder, name but for numbers, suffix, and all numbers but the one that counts.

    The number that counts stands behind a ``z`` or takes the most values (of equals the last even one): ``t1_z01``,
    ``t1_z02`` and ``t2_z01`` are two stacks, and channels and times always are. A number that runs along with it, such
    as the time of day, parts nothing.

    Parameters
    ----------
    paths
        The files.
    names
        What tells each file from the others, and the stacks of one folder from those of another; by default the folder
        is one thing, and the name without suffix another.
    """
    folders: dict[tuple[Path | None, str], list[int]] = {}
    for index, path in enumerate(paths):
        suffix = path.suffix.lower()
        kind = TIFF_SUFFIXES[0] if suffix in TIFF_SUFFIXES else suffix
        folders.setdefault((None if names else path.parent, kind), []).append(index)
    stacks: list[NamedStack] = []
    for indices in folders.values():
        read = read_names([names[i] if names else paths[i].stem for i in indices], _irregularity)
        groups: dict[tuple[str, ...], list[tuple[Path, ReadName]]] = {}
        for index, name in zip(indices, read, strict=True):
            groups.setdefault(name.pattern, []).append((paths[index], name))
        for group in groups.values():
            files = [path for path, _ in group]
            parts = _parts([name.numbers for _, name in group], group[0][1].texts)
            stacks += [_stack(files, [name for _, name in group], part) for part in parts]
    places = {path: index for index, path in enumerate(paths)}
    return sorted(stacks, key=lambda stack: min(places[path] for path in stack.paths))


@dataclass(frozen=True)
class _Part:
    """Files of a stack by their index, the column of numbers that counts (None: none), and columns that tell apart."""

    indices: Sequence[int]
    counting: int | None
    parting: Mapping[str, int]


def _irregularity(names: Sequence[ReadName]) -> tuple[int, ...]:
    """Of names of one pattern: how many are equal, stacks that count no frames or little but holes, all stacks.

    Then numbers left out of account that contradict the order, and missing numbers.
    """
    rows = [name.numbers for name in names]
    parts = _parts(rows, names[0].texts)
    n_bad = n_contrary = n_missing = 0
    for part in parts:
        if part.counting is None or len(part.indices) < 3:
            n_bad += len(parts) > 1
            continue
        row = even_row(sorted(rows[index][part.counting] for index in part.indices))
        lost = 0 if row is None else row.n_missing
        n_bad += row is None or lost > max(2, _MOST_LOST * len(part.indices))
        n_missing += lost
        n_contrary += _n_contrary([rows[index] for index in part.indices], part.counting)
    return len(rows) - len(set(rows)), n_bad, len(parts), n_contrary, n_missing


def _n_contrary(rows: Sequence[Row], counting: int) -> int:
    """How many columns go up and down along the one that counts: as 1.00 to 1.85 and 0.90 do, read as whole numbers."""
    n_contrary = 0
    for column in zip(*sorted(rows, key=lambda row: row[counting]), strict=True):
        steps = {after > before for before, after in itertools.pairwise(column) if after != before}
        n_contrary += len(steps) > 1 or (len(steps) == 1 and False in steps)
    return n_contrary


def _parts(rows: Sequence[Row], texts: Sequence[str]) -> list[_Part]:
    """The stacks of names of one pattern: by channel, by time, and by other numbers that do not count planes."""
    varying = [i for i, column in enumerate(zip(*rows, strict=True)) if len(set(column)) > 1]
    parting = {kind: i for i in varying for kind, names in _PARTING.items() if names.search(texts[i])}
    counting = _counting(rows, texts, varying, parting)
    parting = {kind: column for kind, column in parting.items() if column != counting}
    if counting is None:
        return [_Part([i], None, parting) for i in range(len(rows))] if parting else [_Part(range(len(rows)), None, {})]
    told = list(parting.values())
    others = [column for column in varying if column != counting and column not in told]
    parts = []
    for some in _by_columns(rows, range(len(rows)), told):
        parts += [_Part(part, counting, parting) for part in _parted(rows, some, counting, others)]
    return parts


def _counting(
    rows: Sequence[Row], texts: Sequence[str], varying: Sequence[int], parting: Mapping[str, int]
) -> int | None:
    """Column of the number that counts; None if no number does."""
    columns = [column for column in varying if _COUNTING.search(texts[column])]
    columns = columns or [column for column in varying if column not in parting.values()]
    if not columns and _TIME in parting:
        columns = [parting[_TIME]]
    if not columns and _CHANNEL in parting:
        column = parting[_CHANNEL]
        columns = (
            []
            if len({row[column] for row in rows}) <= _MOST_CHANNELS and _SURE_CHANNEL.search(texts[column])
            else [column]
        )

    def weight(column: int) -> tuple[int, bool, int]:
        values = {row[column] for row in rows}
        return len(values), even_row(sorted(values)) is not None, column

    return max(columns, key=weight, default=None)


def _by_columns(rows: Sequence[Row], indices: Sequence[int], columns: Sequence[int]) -> list[list[int]]:
    """Indices of rows that agree in columns."""
    parts: dict[Row, list[int]] = {}
    for index in indices:
        parts.setdefault(tuple(rows[index][column] for column in columns), []).append(index)
    return list(parts.values())


def _parted(rows: Sequence[Row], indices: Sequence[int], counting: int, others: Sequence[int]) -> list[list[int]]:
    parts = _by_columns(rows, indices, others)
    all_differ = len({rows[index][counting] for index in indices}) == len(indices)
    if all_differ and len(parts) > len(indices) / _LONG_STACK and not _alternate(rows, parts, counting):
        return [list(indices)]
    return parts


def _alternate(rows: Sequence[Row], parts: Sequence[Sequence[int]], counting: int) -> bool:
    """Whether stacks take turns in numbers that run on over all of them, as with channels acquired in turn."""
    if len(parts) < 2 or min(map(len, parts)) < 2:
        return False
    runs = [even_row(sorted(rows[index][counting] for index in part)) for part in parts]
    steps = {run.step for run in runs if run is not None}
    ends = sorted((run.numbers[0], run.numbers[-1]) for run in runs if run is not None)
    overlap = any(before[1] > after[0] for before, after in itertools.pairwise(ends))
    return len(ends) == len(parts) and len(steps) == 1 and overlap


def _stack(paths: Sequence[Path], read: Sequence[ReadName], part: _Part) -> NamedStack:
    """The files of a part in order, named by what they share."""
    numbers: dict[int, Number | None] = {}
    for index in part.indices:
        own, column = read[index].numbers, part.counting
        numbers[index] = (own[-1] if own else None) if column is None else own[column]
    order = sorted(part.indices, key=lambda index: numbers[index] or 0)
    first = read[order[0]]
    differ = {i for i in range(len(first.written)) if len({read[index].numbers[i] for index in order}) > 1}
    shown = ["*" if i in differ else text for i, text in enumerate(first.written)]
    label = "".join(itertools.chain(*itertools.zip_longest(first.texts, shown, fillvalue="")))
    key = {kind: first.written[column] for kind, column in part.parting.items()}
    ordered = tuple(paths[index] for index in order)
    contrary, is_backward = _other_order(ordered, [read[index].numbers for index in order], first.texts, part)
    return NamedStack(
        ordered,
        tuple(numbers[index] for index in order),
        label + paths[order[0]].suffix,
        key,
        contrary,
        is_backward,
    )


def _other_order(paths: Sequence[Path], rows: Sequence[Row], texts: Sequence[str], part: _Part) -> tuple[str, bool]:
    """What another number that might count as well says of files in order here; whether one runs exactly backward.

    It is different in each file too, as even as the one that counts, and stands behind such a word if that one does.
    """
    counting = part.counting
    if counting is None or len(rows) < 3 or len({row[counting] for row in rows}) < len(rows):
        return "", False

    def weight(column: int) -> tuple[bool, bool]:
        is_even = even_row(sorted(row[column] for row in rows)) is not None
        return is_even, _COUNTING.search(texts[column]) is not None

    is_backward = False
    for column in set(range(len(rows[0]))) - {counting, *part.parting.values()}:
        values = [row[column] for row in rows]
        if len(set(values)) < len(rows) or weight(column) != weight(counting):
            continue
        rising = [after > before for before, after in itertools.pairwise(values)]
        if any(rising) and not all(rising):
            first, other = paths[0].name, paths[values.index(min(values))].name
            where = f"number {counting + 1} of the names, {other if other != first else 'another order'}"
            return f"{first} is the first by {where} by number {column + 1}", False
        is_backward |= not any(rising)
    return "", is_backward
