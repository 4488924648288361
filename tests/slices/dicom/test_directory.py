"""The files that a DICOMDIR names, and packed files, which are told to be unpacked."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from gpustitch.demo.series.dicom import write_series
from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.slices.dicom.directory import named_files
from tests.e2e.commands import fail, succeed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
REAL = Path(pydicom.__file__).parent / "data/test_files"


def write_set(folder, seed):
    """A DICOMDIR with the files of a series; the number of slices and their distance."""
    rng = np.random.default_rng(seed)
    n, spacing_mm = int(rng.integers(4, 9)), round(float(rng.uniform(0.3, 6)), 2)
    files = FileSet()

    def edit(data, _):
        data.StudyDate, data.StudyTime, data.StudyID = "20200101", "101010", "1"

    for path in write_series(folder.with_name("loose"), np.arange(n) * spacing_mm, edit=edit):
        files.add(path)
    files.write(folder)
    shutil.rmtree(folder.with_name("loose"))
    return n, spacing_mm


@pytest.mark.parametrize("seed", range(5))
def test_the_files_that_a_dicomdir_names_are_judged(tmp_path, seed):
    n, spacing_mm = write_set(tmp_path / "disc", seed)
    said = succeed("spacing", tmp_path / "disc" / "DICOMDIR")
    assert f"Use {spacing_mm:.6g} mm" in said and f"slices    {n}," in said
    succeed("resample", tmp_path / "disc" / "DICOMDIR", tmp_path / "v.nii")
    files, n_missing = named_files(tmp_path / "disc" / "DICOMDIR")
    assert (len(files), n_missing) == (n, 0)
    for file in files[:: n - 1]:
        file.unlink()
    assert "2 files of those that it names are not there" in fail(21, "spacing", tmp_path / "disc" / "DICOMDIR")
    for file in files[1:-1]:
        file.unlink()
    fail(4, "spacing", tmp_path / "disc" / "DICOMDIR")


def test_names_in_small_letters(tmp_path):
    write_set(tmp_path / "disc", 0)
    files, _ = named_files(tmp_path / "disc" / "DICOMDIR")
    for file in sorted(files, reverse=True):
        below = file.relative_to(tmp_path / "disc")
        target = tmp_path / "small" / str(below).lower()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    shutil.copy(tmp_path / "disc" / "DICOMDIR", tmp_path / "small" / "dicomdir")
    found, n_missing = named_files(tmp_path / "small" / "dicomdir")
    assert (len(found), n_missing) == (len(files), 0) and all(file.is_file() for file in found)


def test_directories_of_other_programs():
    files, n_missing = named_files(REAL / "dicomdirtests" / "DICOMDIR")
    assert len(files) > 30 and n_missing < 60


def test_what_is_no_dicomdir(tmp_path):
    for name, data in (("DICOMDIR", b""), ("DICOMDIR", b"no such thing" * 50)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DamagedInputError, match="DICOMDIR"):
            named_files(tmp_path / name)
    with pytest.raises(InputMissingError):
        named_files(tmp_path / "gone")


@pytest.mark.parametrize("suffix", [".zip", ".dcm.gz", ".tar", ".tgz", ".7z"])
def test_packed_files_are_named(tmp_path, suffix):
    (tmp_path / "in").mkdir()
    packed = tmp_path / "in" / f"head{suffix}"
    packed.write_bytes(gzip.compress(bytes(100)))
    assert f"unpack head{suffix} first" in fail(4, "spacing", packed)
    assert f"unpack head{suffix} first" in fail(4, "spacing", tmp_path / "in")
    write_series(tmp_path / "in", np.arange(5) * 1.5)
    assert f"head{suffix}" in succeed("spacing", tmp_path / "in")
