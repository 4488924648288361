"""Several formats in one pass."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustitch.errors import OutputError, ParameterError
from gpustitch.io.journal import Journal
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.fan_out import FanOut
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.io.write.pyramid_writer import PyramidWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from tests.levels import levels_of

SPACING = Spacing(2.0, 1.0, 0.5)


def noise(shape: tuple[int, int, int], seed: int = 0) -> Any:
    voxels = np.random.default_rng(seed).integers(1, 60000, shape).astype(np.uint16)
    voxels[:, : shape[1] // 3] = 0
    return voxels


def writers(folder: Path, shape: tuple[int, int, int], **options: Any) -> list[PyramidWriter]:
    given = {"downsample": downsample, "levels": 3, "chunk_shape": (8, 8, 8), **options}
    return [
        PrecomputedWriter(folder / "v", shape, np.uint16, SPACING, Writing(**given)),
        OmeZarrWriter(folder / "v.zarr", shape, np.uint16, SPACING, Writing(**given)),
        OmeZarrWriter(
            folder / "v4.zarr", shape, np.uint16, SPACING, Writing(version="0.4", **{**given, "shard_bytes": None})
        ),
    ]


def check(folder: Path, voxels: Any) -> None:
    for level, expected in enumerate(levels_of(voxels, SPACING, 3)):
        for name in ("v", "v.zarr", "v4.zarr"):
            found = open_volume(folder / name, level=level)
            np.testing.assert_array_equal(found.read(Box.of_shape(expected.shape)), expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 33, 41), (40, 24, 9)])
@pytest.mark.parametrize("shard_bytes", [None, 0, 8192])
def test_all_get_all_levels_and_levels_are_made_once(
    tmp_path: Path, shape: tuple[int, int, int], shard_bytes: int | None
) -> None:
    voxels, n_reduced, n_released = noise(shape), [0], [0]

    def counted(block: Any, **how: Any) -> Any:
        n_reduced[0] += block.size
        return downsample(block, **how)

    def released() -> None:
        n_released[0] += 1

    with FanOut(writers(tmp_path, shape, shard_bytes=shard_bytes, downsample=counted)) as output:
        blocks = list(output.blocks())
        for number, box in enumerate(blocks):
            assert list(output.missing(box)) == [box]
            part = voxels[box.slices()]
            if part.any():
                output.write(box, part, released if number % 2 else None)
            else:
                output.skip(box)
    n_given = sum(bool(voxels[box.slices()].any()) for box in blocks[1::2])
    assert n_released[0] == n_given
    assert n_reduced[0] <= 1.5 * voxels.size + 3
    check(tmp_path, voxels)


@pytest.mark.parametrize("seed", range(4))
def test_a_run_goes_on_where_each_of_them_ended(tmp_path: Path, seed: int) -> None:
    """Their files differ in size: one may have a block that another lacks."""
    voxels, rng = noise((40, 48, 33), seed), np.random.default_rng(seed)
    options = {"shard_bytes": int(rng.choice([0, 4096, 1 << 20]))}
    with Journal(tmp_path / "journal") as journal:
        output = FanOut(writers(tmp_path, voxels.shape, journal=journal, **options))
        blocks = list(output.blocks())
        given = [blocks[n] for n in rng.permutation(len(blocks))[: len(blocks) // 2]]
        with pytest.raises(ZeroDivisionError), output:
            for box in given:
                output.write(box, voxels[box.slices()])
            raise ZeroDivisionError
    lost = sorted(file for file in (tmp_path / "v4.zarr" / "0").rglob("*") if file.is_file() and file.name[0] != ".")
    if lost:
        lost[0].unlink()
    with (
        Journal(tmp_path / "journal") as journal,
        FanOut(writers(tmp_path, voxels.shape, journal=journal, **options)) as output,
    ):
        large = Box.of_shape(voxels.shape)
        missing = list(output.missing(large))
        if lost and options["shard_bytes"] == 0:
            assert missing != [large] and len(missing) < len(blocks)
        for part in missing:
            output.write(part, voxels[part.slices()])
        assert len(missing) >= len(blocks) - len(given) or missing == [large]
    check(tmp_path, voxels)


def test_threads_may_give_blocks(tmp_path: Path) -> None:
    voxels = noise((32, 32, 64))
    with FanOut(writers(tmp_path, voxels.shape)) as output:
        boxes = list(output.blocks())
        threads = [
            threading.Thread(target=lambda part=part: [output.write(b, voxels[b.slices()]) for b in part])
            for part in (boxes[::3], boxes[1::3], boxes[2::3])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    check(tmp_path, voxels)


def test_an_error_leaves_none_of_them(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), FanOut(writers(tmp_path, (8, 8, 8))):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_one_that_fails_is_told(tmp_path: Path) -> None:
    voxels = noise((16, 16, 16))
    outputs = writers(tmp_path, voxels.shape)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    outputs[1]._store = fail  # type: ignore[method-assign]
    outputs[1]._whole._store = fail
    with pytest.raises(OutputError, match=r"v\.zarr"), FanOut(outputs) as output:
        output.write(Box.of_shape(voxels.shape), voxels)
    assert not (tmp_path / "v.zarr").exists()


def test_unlike_volumes_are_refused(tmp_path: Path) -> None:
    one, other, _ = writers(tmp_path, (8, 8, 8))
    with pytest.raises(ParameterError, match="alike"):
        FanOut([one, OmeZarrWriter(tmp_path / "w", (8, 8, 8), np.uint16, SPACING, Writing(levels=2))])
    with pytest.raises(ParameterError, match="before"), FanOut([one, other]) as output:
        output.write(Box.of_shape((8, 8, 8)), noise((8, 8, 8)))
        output.write(Box.of_shape((8, 8, 8)), noise((8, 8, 8)))
