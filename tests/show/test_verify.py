"""``gpustitch verify``: no damage of any file passes for a whole volume, and nothing whole for a damaged one."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.errors import DamagedInputError, ResourceError
from gpustitch.io.volumes import precomputed as precomputed_module
from gpustitch.io.volumes.record import RECORD, read_record
from gpustitch.running.progress import Silent
from gpustitch.show.verify import VerifyOptions, verified
from gpustitch.show.volume_check import check_volume
from tests.io.volumes.stored_volumes import array, folder, half_empty, ours, precomputed
from tests.io.volumes.test_blockfs import write_blockfs

OURS: dict[str, dict[str, Any]] = {
    "v": {"shard_bytes": 0},
    "sharded": {"shard_bytes": 1 << 13},
    "direct": {"shard_bytes": 1 << 13, "writer": "direct"},
    "four.zarr": {"version": "0.4"},
    "five.zarr": {"shard_bytes": 0},
    "sharded.zarr": {"shard_bytes": 1 << 13},
}
ONE = VerifyOptions
NAMES = ("0-8_0-8_96-104", "9.shard", "c/0/0/9", "0/0/9", "notes.txt", "0-8_0-8_0-8.gz", "c/0/0/0x")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("volumes")
    for name, options in OURS.items():
        ours(top / name, half_empty(), flush=True, sidecar={"program": "gpustitch"}, **options)
    return top


def verify(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def is_said_whole(path: Path) -> bool:
    """Whether the check says so; exit code 5 and at least a line of damage if it does not."""
    lines = []
    try:
        for line in verified(ONE((path,))):
            lines.append(line)
    except DamagedInputError:
        assert "DAMAGED" in lines[0] and lines[1].startswith("  ")
        return False
    return lines[0].endswith(": whole, as written")


@pytest.mark.parametrize("name", OURS)
def test_what_was_written_is_whole(made: Path, name: str) -> None:
    n_files = len(files(made / name)) - 1  # without the record
    code, said = verify(made / name, "--n-workers", 2)
    assert code == 0
    assert f"{made / name}: {n_files} files, 1 MB, 2 levels: whole, as written\n" in said


def damaged(data: st.DataObject, path: Path, surplus: Sequence[str] = NAMES) -> Path:
    """Damage one of the files in a way, or put one called as of ``surplus`` there; returns the file."""
    file = data.draw(st.sampled_from(files(path)))
    content = file.read_bytes()
    how = data.draw(st.sampled_from(["flip", "cut", "grow", "empty", "remove", "swap", "surplus"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if how == "flip":
        changed = bytearray(content)
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(changed)
    elif how in ("cut", "empty"):
        file.write_bytes(content[: place if how == "cut" else 0])
    elif how == "grow":
        file.write_bytes(content + b"\0")
    elif how == "remove":
        file.unlink()
    elif how == "swap":
        others = [other for other in files(path) if other.read_bytes() != content]
        other = data.draw(st.sampled_from(others))
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)
    else:
        level = data.draw(st.sampled_from(sorted(entry for entry in path.iterdir() if entry.is_dir()) or [path]))
        name = data.draw(st.sampled_from([name for name in surplus if not (level / name).exists()]))
        (level / name).parent.mkdir(parents=True, exist_ok=True)
        (level / name).write_bytes(content)
        file = level / name
    return file


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=12)
@given(st.data())
def test_no_damage_passes_for_a_whole_volume(made: Path, name: str, data: st.DataObject) -> None:
    with folder() as path:
        shutil.copytree(made / name, path)
        file = damaged(data, path)
        if is_said_whole(path):  # what a record says may be written in more than one way
            before, after = read_record(made / name), read_record(path)
            assert file.name == RECORD and before is not None and after is not None
            assert before.files == after.files and before.sums == after.sums
            for level, known in before.levels.items():
                for attribute in ("there", "n_bytes", "crc32"):
                    assert np.array_equal(getattr(known, attribute), getattr(after.levels[level], attribute))


def test_files_of_a_same_size_and_other_voxels_are_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "v", tmp_path / "v")
    first, second = (tmp_path / "v" / "1_1_1" / name for name in ("0-8_0-8_0-8", "0-8_0-8_8-16"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    (tmp_path / "v" / "2_2_2" / "0-8_0-8_0-8").unlink()
    code, said = verify(tmp_path / "v")
    assert code == 5
    assert ": DAMAGED in 3 places\n" in said
    assert re.search(rf"  {first} is not as it was written: its CRC-32 is \w{{8}}, not \w{{8}}\n", said)
    assert f"  {second} is not" in said
    assert "2_2_2/0-8_0-8_0-8 is not there\n" in said
    assert "error: 1 of 1 are damaged" in said


def test_many_damages_are_counted(tmp_path: Path) -> None:
    ours(tmp_path / "v", np.ones((40, 40, 8), np.uint8), flush=True, shard_bytes=0)
    lost = files(tmp_path / "v" / "1_1_1")[1:]
    for file in lost:
        file.unlink()
    check = check_volume(tmp_path / "v", 1)
    assert check.n_damages == len(lost) == 24
    assert [f"{tmp_path / 'v' / '1_1_1'}/" in text for text in check.damages] == 20 * [True]
    assert list(check.lines)[-1] == "  and 4 more"


OTHERS = {
    f"{encoding}{suffix}": lambda path, encoding=encoding, suffix=suffix: precomputed(
        path, encoding=encoding, suffix=suffix, separator="/" if suffix else "_"
    )
    for encoding in ("raw", "png", "jpeg", "compressed_segmentation")
    for suffix in ("", ".gz")
} | {
    "zarr2": lambda path: array(path, np.ones((9, 9, 9), np.uint16), driver="zarr"),
    "zarr3": lambda path: array(path, np.ones((9, 9, 9), np.uint16)),
    "zarr3 sharded": lambda path: array(path, np.ones((9, 9, 9), np.uint16), sharded=True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_programs_wrote_is_decoded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "v"
    OTHERS[name](path)
    (line,) = verified(ONE((path,)))
    assert line.endswith(": all chunks decode; no checksums are recorded")
    file = max(files(path), key=lambda file: (file.stat().st_size, file))  # a chunk
    content = file.read_bytes()
    for part in (content[: len(content) // 2], b""):
        file.write_bytes(part)
        check = check_volume(path, 2)
        assert check.n_damages == 1 and str(file) in check.damages[0], part
    file.unlink()
    check = check_volume(path, 2)
    if name.startswith("zarr"):
        assert "; 1 files of chunks are not there: they are empty or lost; no checksums" in next(check.lines)
    else:
        assert check.damages == (f"{path / file.relative_to(path)} is not there",) or "_" in check.damages[0]


def test_all_channels_and_times_are_decoded(tmp_path: Path) -> None:
    import zarr

    stored = zarr.open_array(tmp_path / "v", mode="w", shape=(2, 2, 4, 5, 6), chunks=(1, 1, 4, 5, 6), dtype="u2")
    stored[:] = 7
    assert not check_volume(tmp_path / "v", 1).n_damages
    file = tmp_path / "v" / "c" / "1" / "1" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:5])
    (text,) = check_volume(tmp_path / "v", 1).damages
    assert str(file) in text


def test_a_level_of_a_volume_is_checked_alone(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "five.zarr", tmp_path / "v.zarr")
    shutil.rmtree(tmp_path / "v.zarr" / "0")
    (line,) = verified(ONE((tmp_path / "v.zarr" / "1",)))
    assert line.endswith(", 1 level: whole, as written")
    file = files(tmp_path / "v.zarr" / "1" / "c")[0]
    file.write_bytes(b"1" + file.read_bytes()[1:])
    assert check_volume(tmp_path / "v.zarr" / "1", 1).n_damages == 1


def test_blocks_that_share_files_are_decoded(tmp_path: Path) -> None:
    voxels = np.random.default_rng(5).integers(0, 1000, (9, 10, 11)).astype(np.uint16)
    write_blockfs(tmp_path / "v" / "1_1_1", voxels)
    (line,) = verified(ONE((tmp_path / "v",)))
    assert line.endswith("v: 1 MB, 1 level: all chunks decode; no checksums are recorded")
    file = max(files(tmp_path / "v"), key=lambda file: (file.stat().st_size, file))
    file.write_bytes(file.read_bytes()[:20])
    assert not is_said_whole(tmp_path / "v")


def test_outputs_of_the_pipeline_patterns_and_several(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "sharded", tmp_path / "out-1" / "volume")
    shutil.copytree(made / "v", tmp_path / "out-2")
    (tmp_path / "out-3.log").write_text("a log")
    code, said = verify(tmp_path / "out-*")
    assert (code, said.count("whole, as written")) == (0, 2)
    assert f"{tmp_path / 'out-1' / 'volume'}: " in said
    files(tmp_path / "out-1" / "volume" / "2_2_2")[0].unlink()
    code, said = verify(tmp_path / "out-1", tmp_path / "out-2")
    assert (code, said.count("whole, as written"), said.count("DAMAGED")) == (5, 1, 1)
    assert "1 of 2 are damaged" in said
    for place in (tmp_path / "out-3.log", tmp_path, tmp_path / "out-4"):
        code, said = verify(tmp_path / "out-2", place)
        assert code == 4 and "whole" not in said and str(place) in said


def test_a_volume_that_is_replaced_meanwhile_is_not_whole(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "v", tmp_path / "v")

    class Replacing(Silent):
        def start(self, label: str, total: int, unit: str) -> None:
            assert (label, total, unit) == (f"Verifying {tmp_path / 'v'}", 1, "MB")
            (tmp_path / "v" / RECORD).rename(tmp_path / "old")
            shutil.copy(tmp_path / "old", tmp_path / "v" / RECORD)

    with pytest.raises(DamagedInputError):
        list(verified(ONE((tmp_path / "v",)), Replacing()))


@pytest.mark.posix
@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "v", tmp_path / "v")
    file = files(tmp_path / "v" / "1_1_1")[0]
    file.chmod(0)
    assert f"{file} cannot be read" in check_volume(tmp_path / "v", 1).damages[0]


def test_what_the_machine_lacks_is_no_damage(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        try:
            raise MemoryError
        except MemoryError as error:
            raise DamagedInputError("a chunk cannot be read") from error

    monkeypatch.setattr(precomputed_module.PrecomputedVolume, "read", read)
    with pytest.raises(ResourceError, match="memory does not suffice"):
        check_volume(made / "v", 1)


def change_record(path: Path, **of_level: object) -> None:
    record = json.loads((path / RECORD).read_text())
    record["levels"]["1_1_1"] |= of_level
    (path / RECORD).write_text(json.dumps(record))


def without_sums(path: Path) -> None:
    record = json.loads((path / RECORD).read_text())
    del record["sums"]
    (path / RECORD).write_text(json.dumps(record))


FIRST = Path("1_1_1") / "0-8_0-8_0-8"


@pytest.mark.posix
@pytest.mark.parametrize(
    ("change", "n", "said"),
    [
        (lambda path: shutil.rmtree(path / "1_1_1"), 14, "1_1_1 holds none of its 14 files of chunks"),
        (lambda path: (path / "info").unlink(), 1, "has lost info"),
        (lambda path: (path / FIRST).replace(path / "2_2_2" / "notes"), 2, f"{FIRST} is not there"),
        (
            lambda path: shutil.copy(path / FIRST, path / f"{FIRST}.gz"),
            1,
            f"1_1_1 holds {FIRST.name} and {FIRST.name}.gz of one",
        ),
        (lambda path: [(path / FIRST).unlink(), (path / FIRST).symlink_to("gone")], 2, "lead to no file"),
        (lambda path: [(path / FIRST).unlink(), (path / FIRST).mkdir()], 1, f"{FIRST} is not there"),
        (lambda path: change_record(path, grid=[3, 3, 4]), 1, "is no record of a volume's files"),
        (lambda path: change_record(path, grid=[9, 3, 1]), 1, "but gpustitch.files.json knows (9, 3, 1)"),
        (lambda path: change_record(path, more=1), 1, "it has 'more', which is none of"),
        (without_sums, 0, "all chunks decode; no checksums are recorded"),
        (lambda path: (path / RECORD).unlink(), 17, "is not there"),  # chunks of zeros: nothing tells
    ],
)
def test_each_damage_is_told(made: Path, tmp_path: Path, change: Callable[[Path], object], n: int, said: str) -> None:
    shutil.copytree(made / "v", tmp_path / "v")
    change(tmp_path / "v")
    check = check_volume(tmp_path / "v", 1)
    assert said in "\n".join(check.lines)
    assert check.n_damages == n


def test_zarr_in_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zarr.zip").write_bytes(b"PK")
    code, said = verify(tmp_path / "a.zarr.zip")
    assert code == 3 and "unpack it" in said
