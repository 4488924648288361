"""Where CUDA sources lie: gpustitch's own beside its Python, those of other packages at their paths.

A source is the name of one of gpustitch's own files (``pyramid.cu``) or the absolute path of any file. gpustitch never
takes its own sources from another installation: Python of one version must not run bodies of another.
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

# A line of kernels/__init__.py. Other projects also have a folder "kernels" beside their packages.
_MARK = 'OWNER = "gpustitch"'


def checked_source(source: Source) -> Source:
    """The source, its path resolved so that one file has one name.

    Raises
    ------
    ParameterError
        If a text is not a bare file name, or a path is not absolute.
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
        If the folder is in neither place.
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
        If gpustitch's folder of sources is not there.
    """
    return sorted(file.name for file in own_folder().iterdir() if file.name.endswith(".cu"))


def source_text(source: Source) -> str:
    """Content of a source.

    Raises
    ------
    DeviceError
        If the file is not there; the text names the place.
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
    """The header that a source includes under ``name``: a file beside the source, else one of gpustitch's own.

    Raises
    ------
    DeviceError
        If the header is in neither place.
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
    """Name of a source in messages and in the compiler's errors."""
    return source.as_posix() if isinstance(source, Path) else f"kernels/{source}"


def _is_own(folder: Traversable) -> bool:
    mark = folder / "__init__.py"
    return mark.is_file() and _MARK in mark.read_text(encoding="utf-8").splitlines()
