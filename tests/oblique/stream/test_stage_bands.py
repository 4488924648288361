"""Frames that must be whole, swept in bands: the bytes of one band, each frame read once, no file left."""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from gpustitch.errors import OutputError
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.journal import Journal
from gpustitch.model import Box, ObliqueScan, PlacedVolume
from gpustitch.oblique.deskew.sweep import Grain
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream import sweep
from gpustitch.oblique.stream.bands import Cut
from gpustitch.oblique.stream.file import Spool, Spools
from gpustitch.oblique.stream.stage import StreamPlan
from gpustitch.oblique.stream.windows import Kept, kept_of
from gpustitch.running.progress import SILENT, Silent
from tests.oblique.stream.test_stage import mosaic_of, tile

ROWS = 8  # of the smallest band
WAVELET = Correction("wavelet")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and parts of few rows, so that small mosaics have many bands."""
    monkeypatch.setattr(stream, "_BLOCK_ROWS", ROWS)
    for module in (stream, sweep):
        monkeypatch.setattr(module, "HOST_GRAIN", Grain(4, ROWS))


def planned(mosaic: PlacedMosaic, output: Path, cuts: Sequence[int] = (), **changed: Any) -> StreamPlan:
    """The plan with bands that end at some rows."""
    options = StitchOptions(output, levels=2, chunk_shape=(8, 8, 8), shard_bytes=1 << 12, n_workers=2, overwrite=True)
    plan = stream.plan(mosaic, options)
    assert len(plan.bands) == 1 and not plan.kept
    rows = [0, *sorted(at for at in cuts if at < mosaic.shape[1]), mosaic.shape[1]]
    z, _, x = mosaic.shape
    bands = tuple(Box((0, a, 0), (z, b, x)) for a, b in itertools.pairwise(rows))
    return replace(plan, bands=bands, kept=tuple(kept_of(plan.stitch.mosaic.tiles, bands)), **changed)


def contents(folder: Path) -> Mapping[str, bytes]:
    """The files of the volume, but for its records: one names the folder, the other has its checksum."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("gpustitch.")}


def row(n: int = 2, correction: Correction | None = WAVELET, **frames: Any) -> PlacedMosaic:
    """Tiles beside one another along y."""
    return mosaic_of(
        *(tile((50, 40, 12), 1.0, (0, 30.5 * k, 3 * k), k, correction=correction, top=900, **frames) for k in range(n))
    )


def counts(mosaic: PlacedMosaic) -> set[int]:
    """How often frames were read."""
    return {n for each in mosaic.tiles for n in each.volume.frames.counts.values()}  # type: ignore[attr-defined]


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_bands_give_the_bytes_of_one_band(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    draw, folder = data.draw, tmp_path_factory.mktemp("bands")
    slope, n = draw(st.sampled_from([0.73, 1.0, 2.0])), draw(st.integers(1, 4))
    shape = draw(st.tuples(st.integers(1, 60), st.integers(1, 50), st.integers(1, 20)))
    place = draw(st.sampled_from([st.integers(0, 40), st.floats(0, 40)]))
    flat = Correction(dark=40.0, flat=np.full(shape[1:], 0.6, np.float32))
    correction = draw(st.sampled_from([None, flat, WAVELET]))
    tiles, dtype = [], draw(st.sampled_from([np.uint16, np.float32]))
    for seed in range(n):
        absent = draw(st.sets(st.integers(0, shape[0] - 1), max_size=min(3, shape[0] - 1)))
        origin = draw(st.tuples(place, place, place))
        tiles.append(tile(shape, slope, origin, seed, correction=correction, absent=absent, dtype=dtype))
    mosaic = mosaic_of(*tiles)
    stream.run(planned(mosaic, folder / "one"))
    once = {each.name: dict(each.volume.frames.counts) for each in tiles}
    for each in tiles:
        each.volume.frames.counts.clear()
    cuts = draw(st.sets(st.integers(1, 10), min_size=1, max_size=4))
    stream.run(planned(mosaic, folder / "many", [ROWS * at for at in cuts], piece=draw(st.sampled_from([32, 128]))))
    assert contents(folder / "one") == contents(folder / "many")
    assert once == {each.name: dict(each.volume.frames.counts) for each in tiles} and counts(mosaic) <= {1}
    assert sorted(path.name for path in folder.iterdir()) == ["many", "one"]


def test_a_band_needs_no_frames_that_lie_half_in_it(tmp_path: Path) -> None:
    """Row 1 of the low tile lies at y = 23.05: voxels from 24 on need it in part, but are not covered."""
    mosaic = mosaic_of(tile((20, 2, 6), 1.0, (0, 22.05, 0), 0), tile((20, 30, 6), 1.0, (0, 0, 0), 1))
    plan = planned(mosaic, tmp_path / "out", (24,))
    assert [kept.tile for kept in plan.kept] == [1]
    stream.run(plan)
    assert counts(mosaic) == {1}


def test_bands_are_as_many_as_the_memory_asks_for(tmp_path: Path) -> None:
    mosaic, options = row(3), StitchOptions(tmp_path / "x", levels=2, chunk_shape=(8, 8, 8), shard_bytes=0)
    whole, short = (stream.plan(mosaic, options, cut=Cut(piece)) for piece in (128, 32))
    assert len(whole.bands) == len(short.bands) == 1 and short.memory_bytes < whole.memory_bytes
    fitted = [stream.plan(mosaic, options, cut=Cut(32, short.memory_bytes - less)) for less in (0, 1, 1 << 40)]
    assert len(fitted[0].bands) == 1 < len(fitted[1].bands) < len(fitted[2].bands)
    assert fitted[1].memory_bytes < short.memory_bytes
    for plan in fitted[1:]:
        assert all(band.start[1] % ROWS == 0 for band in plan.bands)
        assert 0 < plan.most_kept_bytes <= plan.kept_bytes


def pixels_cut_off(mosaic: PlacedMosaic, output: Path, cuts: Sequence[int]) -> tuple[int, int]:
    """Frames read and pixels cut off, of all bands."""
    plan, seen = planned(mosaic, output, cuts), [0, 0]

    def counting(*given: Any) -> Any:
        done = sweep.swept(*given)
        seen[0] += done.n_read
        seen[1] += done.n_cut_off
        return done

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "swept", counting)
        stream.run(plan)
    return seen[0], seen[1]


def test_frames_are_counted_once_in_all_bands(tmp_path: Path) -> None:
    mosaic = mosaic_of(tile((50, 40, 12), 1.0, (0, 0, 0), 1, correction=Correction(dark=30.0, dtype="uint8")))
    one, many = (pixels_cut_off(mosaic, tmp_path / name, cuts) for name, cuts in (("a", ()), ("b", (8, 24))))
    assert one == many and one[0] == 50 and one[1] > 10_000


def test_frames_found_damaged_on_the_way_stay_uncovered(tmp_path: Path) -> None:
    for name, cuts in (("one", ()), ("many", (16, 32))):
        mosaic = row(damaged=(17, 30))
        stream.run(planned(mosaic, tmp_path / name, cuts))
        assert counts(mosaic) == {1} and mosaic.tiles[0].volume.frames.absent == {17, 30}  # type: ignore[attr-defined]
    # The upper band of the lower tile learns of them on the way, the others know before: only weights beside differ.
    assert contents(tmp_path / "one").keys() == contents(tmp_path / "many").keys()


class Ended(Exception):
    """A run that ends on the way."""


class Ending(Silent):
    """Progress that ends the run after so many thousandths of its frames."""

    def __init__(self, part: int) -> None:
        self._part, self._left = part, 0

    def start(self, label: str, total: int, unit: str) -> None:
        self._left = total * self._part // 1000

    def advance(self, count: int = 1) -> None:
        self._left -= count
        if self._left < 0:
            raise Ended


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@example([300, 150], {2, 5})  # within the first band, then again
@example([700], set())  # within the second
@given(st.lists(st.integers(0, 950), min_size=1, max_size=2), st.sets(st.integers(1, 8), max_size=3))
def test_an_ended_run_goes_on_with_any_bands(
    tmp_path_factory: pytest.TempPathFactory, ends: list[int], others: set[int]
) -> None:
    folder, mosaic = tmp_path_factory.mktemp("ended"), row()
    stream.run(planned(mosaic, folder / "one"))
    expected, output = contents(folder / "one"), folder / "many"
    for end in ends:
        is_first = not output.exists()
        with Journal(folder / "journal") as journal, pytest.raises(Ended) if is_first else contextlib.suppress(Ended):
            stream.run(planned(mosaic, output, (16, 40)), Ending(end), journal, folder / "scratch")
        assert not list((folder / "scratch").rglob("*/*"))
    left = folder / "scratch" / "rows" / "rows-1" / "0"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a run that was killed")
    for each in mosaic.tiles:
        each.volume.frames.counts.clear()  # type: ignore[attr-defined]
    with Journal(folder / "journal") as journal:
        stream.run(planned(mosaic, output, [ROWS * at for at in others]), SILENT, journal, folder / "scratch")
    assert contents(output) == expected and counts(mosaic) <= {1}
    assert not list((folder / "scratch").rglob("*/*"))


def test_a_disk_that_is_full_of_kept_rows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put, n_put = Spool.put, itertools.count()

    def full(self: Spool, *given: Any) -> None:
        if next(n_put) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, *given)

    monkeypatch.setattr(Spool, "put", full)
    with pytest.raises(OutputError, match=r"out: the disk is full; free some space") as told:
        stream.run(planned(row(), tmp_path / "out", (16,)))
    assert told.value.exit_code == 8 and not list(tmp_path.iterdir())


def test_kept_rows_go_when_no_band_needs_them(tmp_path: Path) -> None:
    kept = [Kept(n, Box((0, 2, 0), (3, 5, 4)), n, n + 1, 9) for n in range(2)]
    pixels = np.arange(9, dtype=np.uint16).reshape(3, 3)
    with Spools(kept, np.dtype(np.uint16), tmp_path / "rows") as spools:
        spool = spools.of(1)
        assert spool is not None and spools.of(7) is None
        spool.put(2, pixels)
        assert spool.has(2) and not spool.has(1)
        np.testing.assert_array_equal(spool.read(2, slice(3, 5)), pixels[1:])
        assert [len(list(tmp_path.rglob("rows-*/*"))) for n in range(3) if spools.leave(n) is None] == [2, 1, 0]
        with pytest.raises(OSError, match="No such file"):
            spool.read(2, slice(3, 5))
    assert list((tmp_path / "rows").iterdir()) == []


def test_the_disk_holds_no_more_kept_rows_than_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, put, held = planned(row(3), tmp_path / "out", (16, 40, 64, 80)), Spool.put, []

    def watched(self: Spool, *given: Any) -> None:
        put(self, *given)
        held.append(sum(file.stat().st_size for file in self._path.parent.iterdir()))

    monkeypatch.setattr(Spool, "put", watched)
    stream.run(plan)
    assert 0.9 * plan.most_kept_bytes < max(held) <= plan.most_kept_bytes < plan.kept_bytes


def test_a_file_that_another_program_cut_off_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "0", Kept(0, Box((0, 2, 0), (3, 5, 4)), 0, 1, 9), np.dtype(np.uint16))
    spool.put(1, np.ones((3, 3), np.uint16))
    with (tmp_path / "0").open("r+b") as file:
        file.truncate(20)
    with pytest.raises(OutputError, match="cut off what was written so far"):
        spool.read(1, slice(2, 5))


def test_compressed_frames_are_read_once_in_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).integers(0, 900, (40, 48, 12)).astype(np.uint16)
    (tmp_path / "raw").mkdir()
    for number, frame in enumerate(values):
        tifffile.imwrite(tmp_path / "raw" / f"{number:03d}.tiff", frame, compression="zlib")
    frames = open_frames(tmp_path / "raw")
    scan = ObliqueScan(*frames.shape, 1.8, 1.8 / 2**0.5, 45.0)
    mosaic = mosaic_of(PlacedVolume("0", ObliqueTile(frames, scan), (0.0, 0.25, 0.0)))
    stream.run(planned(mosaic, tmp_path / "one"))
    read, n_read = type(frames).read, []

    def counted(self: Any, start: int, stop: int, *parts: slice) -> Any:
        n_read.append(stop - start)
        return read(self, start, stop, *parts)

    monkeypatch.setattr(type(frames), "read", counted)
    stream.run(planned(mosaic, tmp_path / "many", (16, 40)))
    assert contents(tmp_path / "one") == contents(tmp_path / "many") and sum(n_read) == 40
