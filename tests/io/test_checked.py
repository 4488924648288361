"""Whatever is wrong in metadata is told, or changes nothing: never a traceback, never other voxels."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from gpustitch.errors import DamagedInputError, GpustitchError
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, ObliqueScan, Spacing
from gpustitch.sections.positions.file import read_faulty, read_z_positions
from gpustitch.show.describe import described
from gpustitch.show.held import InfoOptions
from tests.io.edits import edits

SCAN = ObliqueScan(5, 8, 8, 1.0, math.sqrt(0.5))
VOXELS = np.random.default_rng(0).integers(1, 999, SCAN.coverage.shape).astype(np.uint16)
EVERY = 23  # of all edits of a document; their number is no multiple of it, so that kinds and places vary


@pytest.fixture(name="volume", params=["precomputed", "without record", "zarr"])
def _volume(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A volume of several chunks, two levels and a sidecar."""
    path, writer = tmp_path / "v", OmeZarrWriter if request.param == "zarr" else PrecomputedWriter
    shape, chunk = VOXELS.shape, (4, 4, 4)
    sidecar = {"program": "gpustitch", "scan": asdict(SCAN), "inputs": [{"path": "a"}]}
    with writer(path, shape, np.uint16, SCAN.spacing, Writing(levels=2, chunk_shape=chunk, sidecar=sidecar)) as output:
        for box in output.blocks():
            output.write(box, VOXELS[box.slices()])
    if request.param == "without record":
        (path / "gpustitch.files.json").unlink()
    return path


def read(path: Path) -> Any:
    """All voxels of a volume."""
    opened = open_volume(path)
    return opened.read(Box.of_shape(opened.shape))


def damaged(file: Path) -> Iterator[str]:
    """Damage a file of JSON, one way after another."""
    good = json.loads(file.read_text())
    for number, (what, bad) in enumerate(edits(good)):
        if number % EVERY == len(what) % EVERY:
            file.write_text(json.dumps(bad))
            yield f"{file.name} {what}"
    file.write_text("[" * 100_000)
    yield f"{file.name} without end"
    file.write_text(json.dumps(good))


def test_no_edit_of_a_volumes_descriptions_gives_other_voxels(volume: Path) -> None:
    is_recorded, n_read, n_refused = (volume / "gpustitch.files.json").exists(), 0, 0
    names = {"info", "gpustitch.json", "gpustitch.files.json", "zarr.json"}
    for file in sorted(file for file in volume.rglob("*") if file.name in names):
        for what in damaged(file):
            try:
                found = read(volume)
            except GpustitchError as error:
                assert "\n" not in str(error)[:60], what
                n_refused += 1
                continue
            n_read += 1
            # Without a record nothing tells that there was a finer level.
            is_level_lost = not is_recorded and found.shape != VOXELS.shape and "0) removed" in what
            assert is_level_lost or np.array_equal(found, VOXELS), what
    assert n_read > 5 and n_refused > 30
    np.testing.assert_array_equal(read(volume), VOXELS)


@pytest.mark.parametrize("name", ["info", "gpustitch.json"])
def test_info_tells_or_refuses_a_damaged_volume(volume: Path, name: str) -> None:
    if (volume / name).exists():
        for _ in damaged(volume / name):
            try:
                assert list(described(InfoOptions((volume,))))
            except GpustitchError:
                continue


@pytest.mark.parametrize(
    "use",
    [lambda path: read_faulty(path.with_suffix(""), "damaged"), lambda path: list(described(InfoOptions((path,))))],
    ids=["read", "info"],
)
def test_a_damaged_record_of_sections(tmp_path: Path, use: Callable[[Path], Any]) -> None:
    faults = [{"fault_type": "damaged", "sections": [1, 2], "confidence": 0.5, "missing": 0}]
    record = {"schema": 2, "program": "gpustitch", "version": "1", "inputs": [{"path": "a"}], "faults": faults}
    path = tmp_path / "z.csv.json"
    path.write_text(json.dumps(record))
    for _ in damaged(path):
        try:
            use(path)
        except GpustitchError:
            continue


def test_a_damaged_table_of_positions(tmp_path: Path) -> None:
    path, cells = tmp_path / "z.csv", ("", "x", "nan", "inf", "-1", "1e400", "9" * 20, '"', '"\n', "\0", "1_0", "1;2")
    for row in range(4):
        for column in range(2):
            for cell in cells:
                lines = [["z-index", "mapping"], *([str(k), str(k * 1.5)] for k in range(3))]
                lines[row][column] = cell
                path.write_text("\n".join(map(",".join, lines)))
                try:
                    read_z_positions(path)
                except GpustitchError:
                    continue
                assert (row, column) != (0, 1) and row, cell


@pytest.mark.parametrize("key", ["..", "../v", "/tmp", "a/../../b", "", "a\0b", "."])
def test_names_stay_inside_their_folder(tmp_path: Path, key: str) -> None:
    path = tmp_path / "v"
    spacing = Spacing(1, 1, 1)
    with PrecomputedWriter(path, (4, 4, 4), np.uint16, spacing, Writing(levels=1, shard_bytes=0)) as output:
        output.write(Box.of_shape((4, 4, 4)), np.ones((4, 4, 4), np.uint16))
    info = json.loads((path / "info").read_text())
    info["scales"][0]["key"] = key
    (path / "info").write_text(json.dumps(info))
    with pytest.raises(DamagedInputError, match="not a path inside the folder"):
        PrecomputedVolume(path)


BOMB = bytes(1 << 23)


@pytest.mark.parametrize(
    ("suffix", "encode"),
    [(".gz", gzip.compress), (".br", imagecodecs.brotli_encode), (".zstd", imagecodecs.zstd_encode)],
)
def test_a_small_file_does_not_become_a_large_chunk(tmp_path: Path, suffix: str, encode: Callable[..., Any]) -> None:
    path, shape = tmp_path / "v", (4, 4, 4)
    with PrecomputedWriter(path, shape, np.uint16, Spacing(1, 1, 1), Writing(levels=1, shard_bytes=0)) as output:
        output.write(Box.of_shape(shape), np.ones(shape, np.uint16))
    (path / "gpustitch.files.json").unlink()
    (file,) = path.rglob("0-4_0-4_0-4")
    packed = file.with_name(file.name + suffix)
    packed.write_bytes(bytes(encode(file.read_bytes())))
    file.unlink()
    assert (read(path) == 1).all()
    packed.write_bytes(bytes(encode(BOMB[: 1 << 20] if suffix == ".br" else BOMB)))
    with pytest.raises(DamagedInputError, match="at most 128 bytes"):
        read(path)
