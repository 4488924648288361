"""Units of a mosaic, swept apart, give the bytes of one sweep; whatever a process leaves is done by the next."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gpustitch.io.journal import Journal
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
