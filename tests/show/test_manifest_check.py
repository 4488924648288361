"""``gpustitch verify`` of images that a manifest names: no damage passes for whole images."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.manifest import SUFFIX, Making, Manifest, read_manifest
from gpustitch.show.manifest_check import check_manifest
from tests.io.volumes.stored_volumes import folder
from tests.show.test_verify import damaged


def images(top: Path, *, below: bool = False) -> Path:
    top.mkdir()
    with Manifest(top / f"img_%05d.tiff{SUFFIX}", Making({"a": 1}, ())) as manifest:
        for number in range(4):
            file = top / ("tiles" if below else "") / f"img_{number:05d}.tiff"
            file.parent.mkdir(exist_ok=True)
            manifest.write(file, bytes([number] * 50), overwrite=False)
    return manifest.path


def verify(path: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", str(path)])
    return result.exit_code, result.output


@pytest.mark.parametrize("below", [False, True])
def test_images_are_read_back(tmp_path: Path, below: bool) -> None:
    manifest = images(tmp_path / "v", below=below)
    for path in (tmp_path / "v", manifest):
        code, said = verify(path)
        assert (code, f"{manifest}: 4 files, 1 MB: whole, as written\n" in said) == (0, True)
    first, *_, last = sorted((tmp_path / "v").rglob("*.tiff"))
    first.write_bytes(bytes(50))
    assert not check_manifest(manifest, 1).n_damages
    last.write_bytes(bytes(50))
    first.unlink()
    (first.parent / "img_00009.tiff").write_bytes(b"killed")
    code, said = verify(tmp_path / "v")
    assert code == 5 and ": DAMAGED in 3 places\n" in said
    assert f"  {first} is not there\n" in said
    assert f"  {last} is not as it was written: its CRC-32 is " in said
    assert "img_00009.tiff is in no manifest: nothing tells whether it is whole\n" in said


def test_other_files_and_other_manifests_are_no_damage(tmp_path: Path) -> None:
    manifest = images(tmp_path / "v")
    with Manifest(tmp_path / "v" / f"other{SUFFIX}", Making({}, ())) as other:
        other.write(tmp_path / "v" / "other.tiff", b"1", overwrite=False)
    (tmp_path / "v" / "notes.txt").write_text("mine")
    assert not check_manifest(manifest, 1).n_damages
    code, said = verify(tmp_path / "v")
    assert (code, said.count("whole, as written")) == (0, 2)


@settings(max_examples=30)
@given(st.booleans(), st.data())
def test_no_damage_passes_for_whole_images(below: bool, data: st.DataObject) -> None:
    with folder() as path:
        manifest = images(path, below=below)
        known = read_manifest(manifest)
        file = damaged(data, path, ("img_00009.tiff",))
        if not check_manifest(manifest, 1).n_damages:  # how they were made may have changed, or the end of a line
            now = read_manifest(manifest)
            assert file == manifest and known is not None and now is not None and now[1] == known[1]


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]\n", b'{"settings": {}, "version": "1", "inputs": []}\n'])
def test_a_manifest_that_is_none_or_names_nothing_is_damage(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / f"a{SUFFIX}"
    path.write_bytes(text)
    assert check_manifest(path, 1).n_damages
