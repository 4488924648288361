"""Units of a mosaic, swept apart, give the bytes of one sweep; whatever a process leaves is done by the next."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gpustitch.io.journal import Journal
from gpustitch.io.write import pyramid_writer
from gpustitch.model import Box
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream import units
from gpustitch.oblique.stream.bands import Cut
from gpustitch.oblique.stream.sweep import BATCH_FRAMES
from gpustitch.running.processes import LostProcess
from gpustitch.running.progress import Silent
from tests.oblique.stream.test_stage import mosaic_of, tile

CORRECTIONS = (
    None,
    Correction(dark=30.0, wavelet=WaveletOptions(sigma1=8, sigma2=8, wavelet="haar", level=1), method="wavelet"),
)


class Heard(Silent):
    """Progress that keeps warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


def in_turn(lost=(), seen=None):
    """Runs jobs one after another, as they arrive in a process; ``lost`` ones are not done, and are ``seen``."""

    def run(jobs, advance):
        for number, job in enumerate(jobs):
            if seen is not None and number in lost:
                seen.append(number)
            if number in lost:
                yield number, LostProcess("ended by signal 9")
            else:
                yield number, pickle.loads(pickle.dumps(job))(advance)

    return run


def content(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def made(mosaic, folder, n_units, runner=None, progress=None, cut=None, **options):
    folder.mkdir(exist_ok=True)
    options = {"levels": 3, "chunk_shape": (8, 8, 8), "shard_bytes": 4096, "n_workers": 2, **options}
    plan = stream.plan(mosaic, StitchOptions(folder / "volume", overwrite=True, **options), n_units=n_units, cut=cut)
    with Journal(folder / "journal.jsonl") as journal:
        result = stream.run(plan, progress or Heard(), journal, runner=runner or in_turn())
        assert not list(journal.parts.iterdir())
    found = content(folder / "volume")
    record = json.loads(found.pop("gpustitch.files.json"))
    assert record["sums"].pop("gpustitch.json") and found.pop("gpustitch.json")  # they name the folder
    found["record"] = record
    return plan, result, found


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_units_give_the_bytes_of_one_sweep(tmp_path_factory, data):
    draw, folder = data.draw, tmp_path_factory.mktemp("units")
    slope = draw(st.sampled_from([0.73, 1.0, 1.37]))
    shape = draw(st.tuples(st.integers(40, 90), st.integers(8, 24), st.integers(8, 20)))
    axis = draw(st.sampled_from([None, 0, 1]))
    correction = draw(st.sampled_from(CORRECTIONS))
    tiles = []
    for seed in range(draw(st.integers(1, 3))):
        origin = draw(st.tuples(st.floats(0, 9), st.floats(0, 12), st.floats(0, 40)))
        absent = draw(st.sets(st.integers(0, shape[0] - 1), max_size=3))
        tiles.append(tile(shape, slope, origin, seed, correction=correction, absent=absent, top=3000, part_axis=axis))
    mosaic = mosaic_of(*tiles)
    n = draw(st.integers(2, 5))
    lost = draw(st.sets(st.integers(0, n - 1), max_size=2))
    options = {"shard_bytes": draw(st.sampled_from([0, 4096, 32768]))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "_MOST_TWICE", 10)
        patch.setattr(stream, "DEFAULT_SHARD_BYTES", 4096)
        patch.setattr(stream, "_BLOCK_WIDTH", 8)
        patch.setattr(stream, "_BLOCK_ROWS", 8)
        _, one, whole = made(mosaic, folder / "one", 1, **options)
        progress, seen = Heard(), []
        cut = draw(st.sampled_from([None, Cut(BATCH_FRAMES, 1)]))
        plan, result, parts = made(mosaic, folder / "parts", n, in_turn(lost, seen=seen), progress, cut, **options)
    assert len(plan.units) > 1 or axis is not None
    assert parts == whole
    assert result.n_written == one.n_written
    assert len(progress.warnings) == len(seen)


def test_a_unit_reads_nothing_of_what_others_wrote(tmp_path, monkeypatch):
    """Coarse files that units share are made at the end, once."""
    fed, feeds = [], pyramid_writer.feeds

    def told(*given):
        for level, box in feeds(*given):
            fed.append(box)
            yield level, box

    at_the_end = []

    def run(jobs, advance):
        yield from in_turn()(jobs, advance)
        at_the_end.append(len(fed))

    monkeypatch.setattr(pyramid_writer, "feeds", told)
    monkeypatch.setattr(stream, "_BLOCK_ROWS", 8)
    mosaic = mosaic_of(tile((60, 40, 16), 1.0, (0, 0, 0), 1, part_axis=1))
    plan, _, _ = made(mosaic, tmp_path / "parts", 2, run)
    assert len(plan.units) == 2
    assert at_the_end == [0] and fed and len(fed) == len(set(map(repr, fed)))


@given(data=st.data())
def test_bands_are_cut_where_files_of_as_many_levels_begin(data):
    """And so often as is asked for, if files of the finest level allow it."""
    draw = data.draw
    n_bands, n, least = draw(st.integers(1, 40)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    least = min(least, n)
    bands = [Box((0, 8 * k, 0), (5, 8 * k + 8, 7)) for k in range(n_bands)]
    rows = [8 * draw(st.integers(1, 2))]
    for _ in range(3):
        rows.append(rows[-1] * draw(st.sampled_from([1, 2, 4])))
    shapes = [(64, y, 64) for y in rows]
    cutting = units.Cutting(shapes[0], np.zeros(5, np.int64), 7, tuple(shapes[1:]))
    found = cutting.units(bands, n, by_bands=True, least=least)
    assert [band for unit in found for band in unit.bands] == bands
    assert len(found) <= n and all(unit.bands for unit in found)
    begins = [[band for band in bands[1:] if band.start[1] % y == 0] for y in rows]
    deepest = max((k for k, places in enumerate(begins) if len(places) >= max(1, least - 1)), default=0)
    assert all(unit.bands[0] in begins[deepest] for unit in found[1:])
    assert len(found) == min(n, 1 + len(begins[deepest]))
