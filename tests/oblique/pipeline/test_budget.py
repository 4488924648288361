"""What the parts before the pass over the frames may hold."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Coverage, PlacedVolume, Spacing
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.overlaps.candidates import compared_bytes
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat.stage import IlluminationPlan
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.pipeline.budget import bytes_before, kept_bytes, likely_correction, most_shared_bytes
from gpustitch.oblique.pipeline.options import PipelineOptions

GIB = 1 << 30
FILTERS = {
    "none": Correction(),
    "lightsheet": Correction("lightsheet"),
    "wavelet": Correction("wavelet", WaveletOptions(notch_length_px=1024)),
}


def job(correction: Correction, n_frames: int = 4000, side: int = 2048) -> Any:
    """As much of a tile's plan as its memory depends on."""
    scan = SimpleNamespace(n_rows=side, n_columns=side, n_frames=n_frames)
    frames = SimpleNamespace(shape=(n_frames, side, side), dtype=np.dtype(np.uint16))
    known = None if correction.is_identity else correction
    return SimpleNamespace(scan=scan, frames=frames, dtype=np.dtype(np.uint16), correction=known)


def options_of(n_workers: int = 2, **changed: Any) -> PipelineOptions:
    return PipelineOptions(Path("c"), Path("o"), stitch=StitchOptions(Path("v")), n_workers=n_workers, **changed)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("n_workers", [1, 2, 16])
def test_no_part_holds_more_than_it_may(name: str, n_workers: int) -> None:
    options, tiles = options_of(n_workers), [job(FILTERS[name])] * 4
    least = bytes_before(options, tiles, None, 0, 0)
    kept = []
    for most, held in itertools.product((GIB, 2 * GIB, 8 * GIB, 64 * GIB), (0, GIB // 4)):
        planned = bytes_before(options, tiles, None, most, held)
        assert planned == least or planned + held <= most
        kept.append(kept_bytes(options, tiles, FILTERS[name], most, held))
    assert kept[::2] == sorted(kept[::2]) and kept[1::2] == sorted(kept[1::2]), "more memory keeps more"
    assert kept[0] >= kept[1], "what is held already leaves less"
    assert (max(kept) > 0) == (name != "none")
    assert least < GIB or n_workers == 16


def test_threads_and_larger_frames_take_more() -> None:
    tiles = [job(FILTERS["lightsheet"])] * 2
    planned = [bytes_before(options_of(n), tiles, None, 2 * GIB, 0) for n in (1, 2, 8, 64)]
    assert planned == sorted(planned)
    sides = [bytes_before(options_of(), [job(FILTERS["wavelet"], side=n)] * 2, None, 0, 0) for n in (64, 512, 2048)]
    assert sides == sorted(sides) and sides[0] < sides[2]


def test_no_more_frames_are_kept_than_two_tiles_have() -> None:
    tiles = [job(FILTERS["lightsheet"], n_frames=50, side=100)] * 4
    assert kept_bytes(options_of(), tiles, FILTERS["lightsheet"], 64 * GIB, 0) == 1 << 25
    tiles = [job(FILTERS["lightsheet"], n_frames=100, side=1024)] * 4
    assert kept_bytes(options_of(), tiles, FILTERS["lightsheet"], 64 * GIB, 0) == 2 * 100 * 1024**2 * 2


def test_a_system_that_does_not_say_what_is_free_keeps_a_gigabyte() -> None:
    assert kept_bytes(options_of(), [job(FILTERS["wavelet"])] * 2, FILTERS["wavelet"], None, 0) == GIB


def test_parts_that_do_not_run_hold_nothing() -> None:
    bare = {"correct_flat": False}
    assert bytes_before(options_of(**bare), [job(FILTERS["none"])], None, GIB, 0) == 0
    given = options_of(align_file=Path("align.json"), **bare)
    assert bytes_before(given, [job(FILTERS["none"])] * 2, None, GIB, 0) == 0
    making: Any = SimpleNamespace(peak_bytes=123)
    assert isinstance(IlluminationPlan.peak_bytes, property)
    assert bytes_before(given, [job(FILTERS["none"])] * 2, making, GIB, 0) == 123
    assert kept_bytes(options_of(staged=True), [job(FILTERS["wavelet"])] * 2, FILTERS["wavelet"], GIB, 0) == 0


def test_a_flat_that_will_be_made_counts_as_a_correction() -> None:
    assert likely_correction(options_of(correct_flat=False), [job(FILTERS["none"])]) is None
    likely = likely_correction(options_of(correction=FILTERS["none"]), [job(FILTERS["none"])])
    assert likely is not None and likely.flat is not None and likely.flat.shape == (2048, 2048)


def test_what_two_tiles_share_is_that_of_their_overlap() -> None:
    def shared(*origins: tuple[float, float, float], search: int = 0) -> int:
        options = options_of(matching=MatchOptions(search_px=(search,) * 3))
        volume = ArrayVolume(np.zeros((10, 20, 30 + 9), np.uint16), Spacing(1, 1, 1), Coverage(30, 20, 10, 1.0))
        tiles = tuple(PlacedVolume(str(n), volume, origin) for n, origin in enumerate(origins))
        return most_shared_bytes(PlacedMosaic(tiles, volume.spacing), options)

    frame_row = 2 * 10 * 2  # of both tiles, in bytes
    assert shared((0, 0, 0)) == shared((0, 0, 0), (0, 20, 0)) == shared((0, 0, 0), (10, 0, 0)) == 0
    assert shared((0, 0, 0), (0, 15, 0)) == shared((0, 15, 0), (0, 0, 0)) == 5 * 30 * frame_row
    assert shared((0, 0, 0), (0, 0, 26.5)) == 20 * 4 * frame_row
    assert shared((0, 0, 0), (3, 0, 3)) == 20 * 30 * frame_row, "along the sheet these tiles lie behind one another"
    assert shared((0, 0, 0), (0, 15, 0), (0, 0, 28)) == 5 * 30 * frame_row
    assert shared((0, 0, 0), (0, 21, 0), search=3) == 5 * 30 * frame_row


def test_a_wider_search_reads_more() -> None:
    extent = (2048, 2048, 4000)
    found = [compared_bytes(extent, (n, n, n), 2) for n in (0, 24, 240, 4000)]
    assert found == sorted(found) and found[-1] > found[0] > 192**3
