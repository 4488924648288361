"""An ended run that begins again gives the same files, and is given only what it lacks."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.io.journal import Journal
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Spacing
from tests.io.volumes.stored_volumes import folder


class Killed(Exception):
    pass


SPACINGS = [Spacing(1.8, 1.8, 1.8), Spacing(2, 1.3, 1.3), Spacing(0.9, 1.8, 5), Spacing(9, 1, 2)]


def open_writer(kind, path, voxels, journal, spacing=SPACINGS[0], **options):
    return kind(path, voxels.shape, voxels.dtype, spacing, Writing(journal=journal, **options))


def write(kind, path, voxels, journal, n_blocks=None, skipped=(), **options):
    """Write all blocks that are not there, or end after some; returns the number of blocks given."""
    given = 0
    with open_writer(kind, path, voxels, journal, **options) as writer:
        for number, box in enumerate(writer.blocks()):
            if not list(writer.missing(box)):
                with pytest.raises(ParameterError, match="before"):
                    writer.skip(box)
                continue
            if given == n_blocks:
                raise Killed
            part = voxels[box.slices()]
            if part.any() or number % 2:
                writer.write(box, part.copy())
            else:
                writer.skip(box)
            given += 1
    return given


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from([PrecomputedWriter, OmeZarrWriter]),
    st.sampled_from(SPACINGS),
    st.tuples(*[st.integers(1, 33)] * 3),
    st.sampled_from([(8, 8, 8), (4, 8, 2), (3, 5, 4)]),
    st.integers(1, 4),
    st.sampled_from([0, 1 << 11, 1 << 13]),
    st.booleans(),
    st.data(),
)
def test_an_ended_run_goes_on(kind, spacing, shape, chunk, levels, shard, is_direct, data):
    voxels = np.random.default_rng(0).integers(1, 60000, shape).astype(np.uint16)
    corner = [data.draw(st.integers(0, n)) for n in shape]
    voxels[tuple(slice(c, None) for c in corner)] = 0
    options = {"levels": levels, "chunk_shape": chunk, "shard_bytes": shard, "spacing": spacing}
    if is_direct and shard and kind is PrecomputedWriter:
        options["writer"] = "direct"
    with folder() as place:
        place.mkdir()
        (place / "whole").mkdir()
        with Journal(place / "whole.jsonl") as journal:
            n_blocks = write(kind, place / "whole" / "v", voxels, journal, **options)
        path, lines = place / "v", place / "journal.jsonl"
        for _ in range(2):  # killed twice
            with Journal(lines) as journal, pytest.raises(Killed):
                write(kind, path, voxels, journal, data.draw(st.integers(0, n_blocks)), **options)
                raise Killed
            # A line may lack although its file is whole.
            kept = [line for line in lines.read_text().splitlines() if data.draw(st.integers(0, 5))]
            lines.write_text("".join(f"{line}\n" for line in kept) + '{"unit": "v/1_1')
        with Journal(lines) as journal:
            n_again = write(kind, path, voxels, journal, **options)
            assert n_again <= n_blocks
        with Journal(lines) as journal:
            assert write(kind, path, voxels, journal, **options) == 0
        assert contents(path) == contents(place / "whole" / "v")


def test_only_blocks_of_unfinished_files_are_given_again(tmp_path):
    voxels = np.random.default_rng(0).integers(1, 60000, (16, 16, 64)).astype(np.uint16)
    options = {"levels": 2, "chunk_shape": (16, 16, 16), "shard_bytes": 1 << 14}
    with Journal(tmp_path / "j") as journal, pytest.raises(Killed):
        write(PrecomputedWriter, tmp_path / "v", voxels, journal, 3, **options)
    with Journal(tmp_path / "j") as journal:
        # Blocks 0 and 1 make a file; the file of block 2 was lost with the run.
        assert write(PrecomputedWriter, tmp_path / "v", voxels, journal, **options) == 2


@pytest.mark.parametrize("change", ["truncated", "gone"])
def test_a_file_that_is_not_whole_is_made_again(tmp_path, change):
    voxels = np.random.default_rng(0).integers(1, 60000, (16, 16, 64)).astype(np.uint16)
    options = {"levels": 2, "chunk_shape": (16, 16, 16), "shard_bytes": 0}
    with Journal(tmp_path / "j") as journal:
        write(PrecomputedWriter, tmp_path / "v", voxels, journal, **options)
    expected = contents(tmp_path / "v")
    file = tmp_path / "v" / "1_1_1" / "16-32_0-16_0-16"
    if change == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    with Journal(tmp_path / "j") as journal:
        assert write(PrecomputedWriter, tmp_path / "v", voxels, journal, **options) == 1
    assert contents(tmp_path / "v") == expected


def test_the_record_has_sizes_and_checksums(tmp_path):
    import zlib

    from gpustitch.io.volumes.record import read_record

    voxels = np.random.default_rng(0).integers(1, 60000, (20, 40, 70)).astype(np.uint16)
    with open_writer(PrecomputedWriter, tmp_path / "v", voxels, None, levels=2, shard_bytes=1 << 19) as writer:
        for box in writer.blocks():
            writer.write(box, voxels[box.slices()])
    for name, files in read_record(tmp_path / "v").levels.items():
        stored = sorted((tmp_path / "v" / name).iterdir())
        assert files.are_summed
        assert files.n_bytes[files.there].tolist() == [file.stat().st_size for file in stored]
        assert files.crc32[files.there].tolist() == [zlib.crc32(file.read_bytes()) for file in stored]
    assert json.loads((tmp_path / "v" / "gpustitch.files.json").read_text())["schema"] == 1
