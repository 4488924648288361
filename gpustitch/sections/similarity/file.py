"""Similarity matrices of sections, whole or as half strips, in .npz, .npy and TIFF files."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, MosaicError, ParameterError
from gpustitch.io.atomic import atomic_file, atomic_record
from gpustitch.io.checked import check_schema
from gpustitch.io.images.files import TIFF_SUFFIXES, reading, write_tiff
from gpustitch.io.images.tiff_open import opened_tiff
from gpustitch.io.provenance import json_text
from gpustitch.model.arrays import Floats
from gpustitch.ops.patches import PatchSimilarities, checked_patches

MATRIX_SUFFIXES = (".npz", *TIFF_SUFFIXES)
# A TIFF holds all of the matrix; beyond this many sections that is more than a gigabyte and mostly NaN.
MOST_IN_TIFF = 16384
_KEYS = ("half_strip", "matrix")
# What other programs write matrices to, and nothing here reads.
_TEXTS = (".csv", ".tsv", ".txt", ".dat", ".mat")
SCHEMA = 2
_MOST_SIMILAR = 1 + 1e-3  # rounding, and other programs' single precision


@dataclass(frozen=True)
class SimilarityFile:
    """Similarities read from a file, float64.

    If ``is_half_strip``, ``values`` is (n, max_lag + 1): ``[i, d]`` = similarity of sections i and i + d, NaN beyond
    the last. Otherwise it is a matrix (n, n). ``repaired`` are sections whose NaN on the diagonal became 1.
    If the file does, ``in_plane_px`` (n,) says how long structures are within the planes, and ``patches`` how similar
    parts of them are.
    """

    values: Floats
    is_half_strip: bool
    repaired: tuple[int, ...] = ()
    in_plane_px: Floats | None = None
    patches: PatchSimilarities | None = None

    @property
    def number(self) -> int:
        """Number of sections."""
        return int(self.values.shape[0])

    @property
    def max_lag(self) -> int:
        """Greatest distance of two sections that the file can hold."""
        return int(self.values.shape[1]) - 1


def is_similarity_file(path: str | Path) -> bool:
    """Whether a path is a file of similarities rather than of planes: any .npz, a TIFF of one page, a 2-D .npy.

    Raises
    ------
    InputMissingError, DamagedInputError
        If the file cannot be read.
    ParameterError
        If it is a text or another table: no planes, and similarities are not read from it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return not path.is_dir()
    if not path.is_file():
        return False
    if suffix == ".npy":
        with reading(path, "a NumPy array"):
            return bool(np.lib.format.open_memmap(path, mode="r").ndim == 2)
    if suffix in _TEXTS:
        raise ParameterError(
            f"{path} is of no kind that planes are read from; similarities are read from an .npz with 'matrix' or "
            "'half_strip', a 2-D .npy or a TIFF of one page; numpy.savez(FILE, matrix=...) writes such an .npz"
        )
    if suffix in TIFF_SUFFIXES:
        with opened_tiff(path) as tiff:
            # ImageJ describes a stack beyond 4 GB as one page, followed by the others.
            return len(tiff.pages) == 1 and tiff.series[0].ndim == 2
    return False


def read_similarity(path: str | Path) -> SimilarityFile:
    """Similarities from an .npz (key ``half_strip`` or ``matrix``), a TIFF of one page or a 2-D .npy.

    An array without a name is a matrix if it is square and symmetric, and otherwise a half strip, or a full strip
    (n, 2 * max_lag + 1): ``[i, max_lag + d]`` = similarity of i and i + d. Full strips become half strips. Where a
    matrix is exactly 0 beyond a distance, or a strip beyond the ends of the series, there is no similarity. A section
    that has similarities to others and NaN on the diagonal gets 1 there, which is what it is by definition; one that
    has none keeps NaN.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it cannot be read, is neither a square matrix nor a strip of real numbers, or may be both. Also if it holds
        infinities, numbers above 1, or distances: then the diagonal is less than what stands beside it.
    """
    path = Path(path)
    with reading(path, "a similarity matrix"):
        name, array = _load(path)
        texture = _texture(path, len(array)) if path.suffix.lower() == ".npz" else (None, None)
    if array.ndim != 2 or array.dtype.kind not in "uif" or array.size == 0:
        raise DamagedInputError(
            f"{path} holds {array.dtype} of shape {array.shape}; a similarity matrix is a square of real numbers"
        )
    values, is_half_strip = _in_known_form(path, name, np.array(array, np.float64))
    if np.isinf(values).any():
        raise DamagedInputError(f"{path} holds infinite similarities; NaN says that there is none")
    repaired = _repair_diagonal(values, is_half_strip)
    _check_diagonal(path, values, is_half_strip)
    if (most := np.nanmax(values, initial=0)) > _MOST_SIMILAR:
        raise DamagedInputError(f"{path} holds similarities up to {most:g}; correlations, at most 1, were expected")
    return SimilarityFile(values, is_half_strip, repaired, *texture)


def check_similarity_output(path: Path, n_sections: int) -> None:
    """Raise ParameterError if similarities of so many sections are not written to a file of that name."""
    suffix = path.suffix.lower()
    if suffix not in MATRIX_SUFFIXES:
        raise ParameterError(f"{path}: similarities are written as {', '.join(MATRIX_SUFFIXES)}")
    if suffix != ".npz" and n_sections > MOST_IN_TIFF:
        raise ParameterError(
            f"{path} would hold {n_sections} x {n_sections} values, {4e-9 * n_sections**2:.1f} GB, nearly all NaN; "
            "write an .npz, which holds only those within the range"
        )


def write_similarity(
    path: Path,
    half_strip: Floats,
    in_plane_px: Floats | None = None,
    patches: PatchSimilarities | None = None,
    *,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write similarities: an .npz with ``half_strip`` (n, max_lag + 1), float64, or the matrix as a float32 TIFF.

    Parameters
    ----------
    half_strip
        [i, d] is the similarity of i and i + d.
    in_plane_px
        (n,): how long structures are within the planes; kept in an .npz alone.
    patches
        How similar parts of the planes are; likewise.
    provenance
        Where it comes from, kept as JSON: under ``provenance`` of an .npz, beside a TIFF as ``<name>.json``.

    Raises
    ------
    OutputExistsError, OutputError, ParameterError
        If the file exists, cannot be written, or cannot hold it.
    """
    n = len(half_strip)
    check_similarity_output(path, n)
    if path.suffix.lower() != ".npz":
        with contextlib.ExitStack() as stack:
            if provenance is not None:
                write_record = stack.enter_context(atomic_record(path, overwrite=overwrite))
                write_record(json_text({"schema": SCHEMA, **provenance}))
            write_tiff(path, _symmetric(half_strip), compression=1, overwrite=overwrite)
        return
    record = {"schema": SCHEMA, **(provenance or {})}
    with atomic_file(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        arrays: dict[str, Any] = {} if in_plane_px is None else {"in_plane_px": in_plane_px}
        if patches is not None:
            arrays |= {"patch_planes": patches.planes, "patch_similarity": patches.values}
        arrays |= {"half_strip": half_strip, "schema": np.array(SCHEMA), "provenance": np.array(json.dumps(record))}
        np.savez_compressed(file, **arrays)


def read_pair_weights(path: str | Path, number: int) -> Floats:
    """How much each pair of sections counts, float64 (n, n), from a file as :func:`read_similarity` takes.

    Pairs beyond a half strip get 1.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it cannot be read, or is no symmetric matrix or half strip; if a weight is NaN, infinite or below 0.
    MosaicError
        If it is of another number of sections than ``number``.
    """
    path = Path(path)
    with reading(path, "weights of pairs"):
        name, array = _load(path)
    if array.ndim != 2 or array.dtype.kind not in "uif" or array.size == 0:
        raise DamagedInputError(f"{path} holds {array.dtype} of shape {array.shape}; weights of pairs are a matrix")
    values = np.array(array, np.float64)
    if len(values) != number:
        raise MosaicError(f"{path} holds weights of {len(values)} sections; there are {number}")
    if name == "half_strip" or values.shape[1] != number:
        values = _weights_of_strip(values)
    if values.shape != (number, number) or not (values >= 0).all() or np.isinf(values).any():
        raise DamagedInputError(f"{path}: weights of pairs are finite numbers of at least 0, none of them missing")
    if not np.allclose(values, values.T, rtol=1e-6, atol=0):
        raise DamagedInputError(f"{path}: the weights of pairs are not symmetric")
    return values


def _weights_of_strip(strip: Floats) -> Floats:
    n = len(strip)
    matrix = np.ones((n, n))
    for d in range(min(n, strip.shape[1])):
        i = np.arange(n - d)
        matrix[i, i + d] = matrix[i + d, i] = strip[: n - d, d]
    return matrix


def _load(path: Path) -> tuple[str, npt.NDArray[Any]]:
    """The array in a file and its name there, if it has one."""
    if path.suffix.lower() == ".npz":
        if path.is_file() and not zipfile.is_zipfile(path):
            raise DamagedInputError(f"{path} is no .npz, or is cut short")
        with np.load(path, allow_pickle=False) as archive:
            check_schema({"schema": int(archive["schema"])} if "schema" in archive else {}, SCHEMA)
            for key in _KEYS:
                if key in archive:
                    return key, archive[key]
            found = ", ".join(archive.files) or "nothing"
            raise DamagedInputError(f"{path} holds {found}; an array 'matrix' or 'half_strip' was expected")
    if path.suffix.lower() == ".npy":
        return "", np.load(path, allow_pickle=False)
    with opened_tiff(path) as tiff:
        return "", tiff.asarray()


def _texture(path: Path, n: int) -> tuple[Floats | None, PatchSimilarities | None]:
    """What an .npz says beside similarities: lengths within the planes, and how similar parts of them are.

    DamagedInputError if these are no such.
    """
    names = "in_plane_px", "patch_planes", "patch_similarity"
    with np.load(path, allow_pickle=False) as archive:
        lengths, planes, values = (np.asarray(archive[name]) if name in archive else None for name in names)
    if lengths is not None:
        if lengths.shape != (n,) or lengths.dtype.kind not in "uif" or not (np.isfinite(lengths) & (lengths > 0)).all():
            raise DamagedInputError(f"{path}: 'in_plane_px' is {n} lengths above 0, one for each section")
        lengths = lengths.astype(np.float64)
    if planes is None and values is None:
        return lengths, None
    found = None if planes is None or values is None else checked_patches(planes, values, n)
    if found is None:
        raise DamagedInputError(
            f"{path}: 'patch_similarity' is similarities of parts of the sections 'patch_planes', of 0 to {n - 1}"
        )
    return lengths, found


def _in_known_form(path: Path, name: str, values: Floats) -> tuple[Floats, bool]:
    """The values as a matrix or a half strip, NaN where there is no similarity, and whether it is a half strip."""
    n, width = values.shape
    if name == "matrix" and n != width:
        raise DamagedInputError(f"{path}: a similarity matrix is square, not {n} x {width}")
    forms = []
    if name != "half_strip" and n == width:
        forms.append(_without_zeros_beyond(values))
    if name != "matrix" and 2 <= width <= n and (name or n != width):
        beyond = np.add.outer(np.arange(n), np.arange(width)) >= n
        if _is_empty(values[beyond]):
            forms.append(np.where(beyond, np.nan, values))
    if not name and (full := _half_of_full_strip(values)) is not None:
        forms.append(full)
    if not forms:
        raise DamagedInputError(
            f"{path} holds {n} x {width} values, neither a square matrix nor a half strip (sections, range + 1) or a "
            "full strip (sections, 2 range + 1) that is NaN or 0 beyond the ends of the series"
        )
    if len(forms) > 1:
        raise DamagedInputError(
            f"{path} holds {n} x {width} values, which may be a full strip or not; an .npz names them 'matrix' or "
            "'half_strip'"
        )
    return forms[0], name == "half_strip" or n != width or forms[0].shape != values.shape


def _without_zeros_beyond(matrix: Floats) -> Floats:
    """The matrix with NaN at the distances from the diagonal beyond which it is exactly 0: none were compared there."""
    n = len(matrix)
    reach = n - 1
    while reach > 0 and not np.diagonal(matrix, reach).any() and not np.diagonal(matrix, -reach).any():
        reach -= 1
    if reach > 0:
        for d in range(reach + 1, n):
            np.fill_diagonal(matrix[d:], np.nan)
            np.fill_diagonal(matrix[:, d:], np.nan)
    return matrix


def _half_of_full_strip(values: Floats) -> Floats | None:
    """The half strip of a full one; None if it is none: of even width, not empty beyond the ends, or not symmetric."""
    n, width = values.shape
    max_lag = width // 2
    if width % 2 == 0 or not 1 <= max_lag < n or not _is_empty(values[:1, :max_lag]):
        return None
    other = np.add.outer(np.arange(n), np.arange(width) - max_lag)
    if not _is_empty(values[(other < 0) | (other >= n)]):
        return None
    half = np.where(other >= n, np.nan, values)[:, max_lag:]
    for d in range(1, max_lag + 1):
        if not np.allclose(half[: n - d, d], values[d:, max_lag - d], rtol=0, atol=1e-6, equal_nan=True):
            return None
    return half


def _is_empty(values: Floats) -> bool:
    """Whether all are NaN, or all are 0."""
    return bool(np.isnan(values).all() or (values == 0).all())


def _repair_diagonal(values: Floats, is_half_strip: bool) -> tuple[int, ...]:
    n, width = values.shape
    diagonal = values[:, 0] if is_half_strip else np.diagonal(values)
    missing = np.isnan(diagonal)
    known = np.isfinite(values)
    has_any: npt.NDArray[np.bool_] = np.any(known, axis=1)
    if is_half_strip:
        for d in range(1, width):
            has_any[d:] |= known[: n - d, d]
    repaired = np.flatnonzero(missing & has_any)
    values[repaired, 0 if is_half_strip else repaired] = 1
    return tuple(int(i) for i in repaired)


def _check_diagonal(path: Path, values: Floats, is_half_strip: bool) -> None:
    n = len(values)
    diagonal = values[:, 0] if is_half_strip else np.diagonal(values)
    beside = values[: n - 1, 1] if is_half_strip else np.diagonal(values, 1)
    known, near = diagonal[~np.isnan(diagonal)], beside[~np.isnan(beside)]
    if known.size and near.size and np.median(known) < np.median(near):
        raise DamagedInputError(
            f"{path}: sections are less similar to themselves ({np.median(known):g}) than to their neighbours "
            f"({np.median(near):g}); distances are not similarities"
        )


def _symmetric(half_strip: Floats) -> npt.NDArray[np.float32]:
    n, width = half_strip.shape
    matrix = np.full((n, n), np.nan, np.float32)
    for d in range(min(n, width)):
        i = np.arange(n - d)
        matrix[i, i + d] = matrix[i + d, i] = half_strip[: n - d, d]
    return matrix
