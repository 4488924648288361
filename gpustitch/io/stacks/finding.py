"""The stacks that files make, found by what TIFFs describe and else by the names of the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.stacks.choice import NO_CHOICE, StackChoice, chosen_of, stack_lines
from gpustitch.io.stacks.copies import copies
from gpustitch.io.stacks.holes import even_row
from gpustitch.io.stacks.in_files import ImageStack, is_of_several, tiff_stacks
from gpustitch.io.stacks.names import NamedStack, stacks_of_names
from gpustitch.io.stacks.numbers import Number
from gpustitch.io.stacks.own_pages import own_stacks

# Copies that a text names.
_NAMED = 3


@dataclass(frozen=True)
class FileStack:
    """Planes in files, in order.

    Attributes
    ----------
    name
        What lists call it.
    pages
        File and page of each plane; None for a plane that no file holds. The page is None where a file is one plane.
    key
        Its image, channel and time, where there are several.
    missing
        A sentence about the planes that no file holds; empty if all are there.
    is_countable
        Whether absent planes can keep their place; not if more are missing than there are.
    numbers
        The numbers of the first and last file, where the names count planes.
    """

    name: str
    pages: tuple[tuple[Path, int | None] | None, ...]
    key: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
    is_countable: bool = True
    numbers: tuple[Number, Number] | None = None

    @property
    def absent(self) -> frozenset[int]:
        """Planes that no file holds."""
        return frozenset(z for z, page in enumerate(self.pages) if page is None)

    @property
    def files(self) -> list[Path]:
        """The files, in order."""
        return list(dict.fromkeys(page[0] for page in self.pages if page is not None))

    @property
    def count_text(self) -> str:
        """How much it holds, in words."""
        n = len(self.pages) - len(self.absent)
        lost = f", {len(self.absent)} missing" if self.absent else ""
        return f"{n} plane{'' if n == 1 else 's'}{lost}"


def find_stacks(
    place: str | Path, files: Sequence[Path], *, are_tiffs: bool, by_series: bool = False
) -> list[FileStack]:
    """The stacks that the files found at a place make.

    A TIFF that is named itself is the stacks of its own pages, even if it belongs to a multi-file OME-TIFF; with
    ``by_series`` it stands for the whole set.

    Parameters
    ----------
    place
        The path or pattern.
    files
        The files there, of one format with a file for each plane; TIFFs may hold several.
    are_tiffs
        Whether they are TIFFs.

    Raises
    ------
    ParameterError
        If a file is a copy of another, or two have the same number.
    DamagedInputError
        If a TIFF cannot be read, or one file has several planes and others one.
    """
    if Path(place).is_file():
        if not are_tiffs:
            return [FileStack(files[0].name, ((files[0], None),))]
        return [_of_image(files[0], stack) for stack in (tiff_stacks if by_series else own_stacks)(files[0])]
    _check_copies(place, files)
    named = stacks_of_names(files, _names(files))
    if are_tiffs and any(is_of_several(stack.paths[0]) for stack in named):
        return _described(files)
    return [_of_names(stack) for stack in named]


def chosen_stack(
    place: str | Path,
    files: Sequence[Path],
    choice: StackChoice = NO_CHOICE,
    *,
    are_tiffs: bool,
    allow_missing: bool = False,
) -> FileStack:
    """The one stack at a place, or that of the choice; raises what :func:`find_stacks` raises.

    Raises
    ------
    ParameterError
        If there are several stacks, or none of the choice.
    DamagedInputError
        If planes are missing, unless ``allow_missing``.
    """
    stacks = find_stacks(place, files, are_tiffs=are_tiffs, by_series=choice.stack_series is not None)
    stack = chosen_of(place, stacks, choice)
    if not stack.is_countable:
        raise DamagedInputError(
            f"{stack.missing}, more than are there; rename the files if the numbers count no frames"
        )
    if stack.absent and not allow_missing:
        raise DamagedInputError(
            f"{stack.missing}; bring the files back, or give `allow_missing`: these planes stay empty in their place"
        )
    return stack


def plane_order(path: Path) -> list[int]:
    """Numbers of the planes in a TIFF, in the order of its one stack; for outputs that keep no description.

    Raises
    ------
    ParameterError
        If the file holds several stacks: the output would not tell them apart.
    DamagedInputError
        If the file cannot be read, or lacks planes that its description counts: nothing would keep their place.
    """
    stacks = find_stacks(path, [path], are_tiffs=True)
    if len(stacks) > 1:
        lines = "; ".join(stack_lines(stacks))
        raise ParameterError(
            f"{path} holds {len(stacks)} stacks, and an image does not tell them apart: {lines}; write each "
            "as files of its own, as gpustitch dcimg2tif does"
        )
    if stacks[0].absent:
        raise DamagedInputError(f"{stacks[0].missing}; write its frames as files, as gpustitch dcimg2tif does")
    return [page[1] or 0 for page in stacks[0].pages if page is not None]


def _check_copies(place: str | Path, files: Sequence[Path]) -> None:
    found = copies(files)
    if found:
        named = ", ".join(f"{path.name} (of {original.name})" for path, original in list(found.items())[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise ParameterError(f"{place} holds copies of files, which are no frames: {named}{more}; take them away")


def _names(files: Sequence[Path]) -> list[str] | None:
    """Names with their folders, where each file has a folder of its own; None where folders hold stacks."""
    parents = {file.parent for file in files}
    if len(files) < 2 or len(parents) < len(files):
        return None
    depth = min(len(parent.parts) for parent in parents)
    while len({parent.parts[:depth] for parent in parents}) > 1:
        depth -= 1
    return ["/".join([*file.parent.parts[depth:], file.stem]) for file in files]


def _of_names(stack: NamedStack) -> FileStack:
    """The stack of these files; refused if two have one number, or nothing tells their order."""
    known = [number for number in stack.numbers if number is not None]
    for i in range(1, len(stack.paths)):
        if stack.numbers[i] == stack.numbers[i - 1]:
            raise ParameterError(
                f"{stack.paths[i - 1]} and {stack.paths[i].name} have the same number; one frame of each was expected, "
                "take one away or rename it"
            )
    if stack.contrary:
        raise ParameterError(
            f"{stack.paths[0].parent}: numbers in names put files in different orders: {stack.contrary}; rename "
            "the files so that one number counts, with a z before it, as in z001"
        )
    row = even_row(known) if len(known) == len(stack.paths) else None
    pages: list[tuple[Path, int | None] | None] = [(path, None) for path in stack.paths]
    ends = None if row is None else (known[0], known[-1])
    if row is None or row.n_missing == 0:
        return FileStack(stack.label, tuple(pages), stack.key, numbers=ends)
    first, last = stack.paths[0], stack.paths[-1]
    missing = f"{first.parent}: {row.missing_text} missing between {first.name} and {last.name}: {row.n_missing} of "
    missing += f"{row.n_missing + len(pages)} planes"
    if row.n_missing > len(pages):
        return FileStack(stack.label, tuple(pages), stack.key, missing, is_countable=False)
    placed: list[tuple[Path, int | None] | None] = [None] * (row.places[-1] + 1)
    for place, page in zip(row.places, pages, strict=True):
        placed[place] = page
    return FileStack(stack.label, tuple(placed), stack.key, missing, numbers=ends)


def _described(files: Sequence[Path]) -> list[FileStack]:
    """Stacks of TIFFs of which one holds several planes, or belongs to others by its description."""
    stacks: list[FileStack] = []
    single: list[Path] = []
    alone: list[Path] = []
    covered: set[Path] = set()
    for path in files:
        if path in covered:
            continue
        found = tiff_stacks(path)
        covered.update(file for stack in found for file, _, _ in stack.places)
        if len(found) == 1 and len(found[0].pages) == 1:
            single.append(path)
            continue
        if all(file == path and not stack.lost for stack in found for file, _, _ in stack.places):
            alone.append(path)
            found = own_stacks(path)
        stacks += [_of_image(path, stack) for stack in found]
    if single and alone:
        n_pages = len(own_stacks(alone[0])[0].pages)
        raise DamagedInputError(f"{alone[0]} has {n_pages} pages; in a stack of files each holds one frame")
    return stacks + [_of_names(stack) for stack in stacks_of_names(single, _names(single))]


def _of_image(path: Path, stack: ImageStack) -> FileStack:
    """A stack of planes in files as one of frames, with what it lacks; DamagedInputError for a file that is cut off."""
    damaged = [why for file, why in stack.lost.items() if file.exists()]
    if damaged:
        raise DamagedInputError(damaged[0])
    pages = stack.pages
    n_files = len({place[0] for place in stack.places})
    name = path.name if n_files < 2 else f"{path.name} and the files it names"
    n_lost = sum(page is None for page in pages)
    missing = f"{path}: {n_lost} of {len(pages)} planes that its description counts are in no file"
    if stack.lost:
        missing += f", as {next(iter(stack.lost)).name}"
        missing += f" and {len(stack.lost) - 1} more files are not there" if len(stack.lost) > 1 else " is not there"
    return FileStack(name, pages, stack.key, missing if n_lost else "")
