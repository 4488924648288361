"""Where CUDA sources lie: gpustitch's own where its Python was imported from, those of other packages at their paths.

A source is a name of gpustitch's own (``pyramid.cu``) or the absolute path of a file anywhere. Its own are never taken
from another installation: Python of one version must not run bodies of another.
"""

from __future__ import annotations

import functools
import importlib.resources
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeAlias

from gpustitch.errors import DeviceError, ParameterError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Source: TypeAlias = str | Path

# A line of kernels/__init__.py. Other projects have folders of that name beside their packages too.
_MARK = 'OWNER = "gpustitch"'


def checked_source(source: Source) -> Source:
    """The same source, so that one file has one name.

    Raises
    ------
    ParameterError
        If a text is more than the name of a file, or a path is not absolute.
    """
    if isinstance(source, str) and (not source or PurePath(source).name != source):
        raise ParameterError(
            f"`source` is {source!r}, but a text must be the name of one of gpustitch's kernels; "
            "give the file of another package as an absolute Path"
        )
    if isinstance(source, str):
        return source
    if not source.is_absolute():
        raise ParameterError(
            f"`source` is the path {source}, but it must be absolute, such as Path(__file__).with_name({source.name!r})"
        )
    return source.resolve()


@functools.cache
def own_folder() -> Traversable:
    """The folder of gpustitch's own sources: beside the package in a checkout, else inside it.

    Raises
    ------
    DeviceError
        If it is in neither place.
    """
    places = (Path(__file__).parents[2] / "kernels", importlib.resources.files("gpustitch") / "kernels")
    for folder in places:
        if _is_own(folder):
            return folder
    raise DeviceError(
        f"gpustitch's CUDA bodies are neither in {places[0]} nor in {places[1]}; install gpustitch again, "
        "or copy its folder kernels together with its package"
    )


def own_sources() -> list[str]:
    """Names of gpustitch's own files of bodies, sorted.

    Raises
    ------
    DeviceError
        If they are not there.
    """
    return sorted(file.name for file in own_folder().iterdir() if file.name.endswith(".cu"))


def source_text(source: Source) -> str:
    """Content of a file.

    Raises
    ------
    DeviceError
        If it is not there; the text says where it was looked for.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise DeviceError(f"there is no file {source}")
        return source.read_text(encoding="utf-8")
    file = own_folder() / source
    if not file.is_file():
        raise DeviceError(f"{said(source)} is not in {own_folder()}; install gpustitch again")
    return file.read_text(encoding="utf-8")


def header_of(source: Source, name: str) -> Source:
    """The header that a source includes by that name: beside it, else one of gpustitch's own.

    Raises
    ------
    DeviceError
        If it is in neither place.
    """
    if not isinstance(source, Path):
        return name
    beside = (source.parent / name).resolve()
    if beside.is_file():
        return beside
    if not (own_folder() / name).is_file():
        raise DeviceError(f"{source} includes {name}, which is neither in {source.parent} nor in {own_folder()}")
    return name


def said(source: Source) -> str:
    """How messages and the compiler's errors name a source."""
    return source.as_posix() if isinstance(source, Path) else f"kernels/{source}"


def _is_own(folder: Traversable) -> bool:
    mark = folder / "__init__.py"
    return mark.is_file() and _MARK in mark.read_text(encoding="utf-8").splitlines()
