from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from gpustitch.errors import AlignmentError, MissingExtraError, MosaicError, OutputExistsError, ParameterError
from gpustitch.io.frames.readable import Readable
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Coverage, Mosaic, ObliqueScan, Spacing, TilePath
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.points import Centres, Overlap, are_covered
from gpustitch.oblique.align.stage import AlignOptions, AlignResult
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.mosaic.file import read_alignment
from tests.oblique.deskew.test_sweep import Holed

SPACING = Spacing(1.8 / 2**0.5, 1.8, 1.28)
SHAPE = (48, 72, 80)
STEP_PX = (28, 40, 44)
FAST = MatchOptions(window_px=(11, 13, 13), sample_count=12, search_px=(8, 8, 8), blob_window_px=(40, 40, 40))


def tissue(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Cells in a background, with shot noise."""
    rng = np.random.default_rng(seed)
    cells = np.zeros(shape, np.float32)
    at = tuple(rng.integers(0, n, int(np.prod(shape) / 800)) for n in shape)
    cells[at] = rng.uniform(2e4, 2e5, len(at[0]))
    return rng.poisson(300 + ndimage.gaussian_filter(cells, 2.0)).astype(np.uint16)


WHOLE = tissue(tuple(n + s + 20 for n, s in zip(SHAPE, STEP_PX, strict=True)))


def tiles(grid: tuple[int, int, int], error_px: int, seed: int = 1, sign: int = 1):
    """Mosaic, volumes and true positions (z, y, x) of tiles cut out of one specimen, whole voxels off the stage."""
    rng = np.random.default_rng(seed)
    paths, volumes, true = [], {}, {}
    for place in np.ndindex(grid):
        nominal = np.array(place) * STEP_PX
        at = nominal + 10 + rng.integers(-error_px, error_px + 1, 3)
        x, y, z = (nominal * SPACING.zyx_um)[::-1].tolist()
        tile = TilePath(Path(f"{place}"), (x, sign * y, z))
        paths.append(tile)
        volumes[tile.name] = ArrayVolume(WHOLE[tuple(slice(a, a + n) for a, n in zip(at, SHAPE, strict=True))], SPACING)
        true[tile.name] = at
    return Mosaic(tuple(paths)), volumes, true


def aligned(grid: tuple[int, int, int], error_px: int = 4, sign: int = 1, **options) -> tuple[AlignResult, dict]:
    mosaic, volumes, true = tiles(grid, error_px, sign=sign)
    options = {"matching": FAST, "n_workers": 2, **options}
    return align.run(align.plan(AlignOptions(mosaic=mosaic, volumes=volumes, **options))), true


def errors(result: AlignResult, true: dict) -> np.ndarray:
    found = np.array([result.placement.origin_px[n] for n in true])
    wanted = np.array(list(true.values()), dtype=float)
    return (found - found.mean(axis=0)) - (wanted - wanted.mean(axis=0))


@pytest.mark.parametrize("grid", [(1, 2, 1), (1, 1, 2), (1, 2, 2)])
def test_finds_the_tiles(grid: tuple[int, int, int]) -> None:
    """spimstitch adds the offset it found, which is minus the stage's error, and so doubles the error."""
    result, true = aligned(grid)
    assert all(not k.reason for k in result.placement.links)
    assert np.abs(errors(result, true)).max() < 0.15


def test_finds_the_tiles_of_a_2_x_2_x_2_grid() -> None:
    """spimstitch stops with a KeyError."""
    result, true = aligned((2, 2, 2))
    assert len(result.placement.links) == 12
    assert np.abs(errors(result, true)).max() < 0.25


def test_without_stage_errors_nothing_moves() -> None:
    result, true = aligned((1, 2, 2), error_px=0)
    assert np.abs(errors(result, true)).max() < 0.05
    assert result.voxel_size.used_um == 1.8


def test_catches_errors_beyond_the_reach_of_a_climb() -> None:
    mosaic, volumes, true = tiles((1, 2, 1), 0)
    names = list(true)
    moved = {names[0]: volumes[names[0]], names[1]: ArrayVolume(volumes[names[1]].array[:, 15:], SPACING)}
    true[names[1]] = true[names[1]] + [0, 15, 0]
    for search, reason in ((16, ""), (0, "no place stands out")):
        matching = MatchOptions(window_px=(11, 13, 13), sample_count=12, search_px=(4, search, 4))
        options = AlignOptions(mosaic=mosaic, volumes=moved, matching=matching, allow_unaligned=True)
        result = align.run(align.plan(options))
        assert result.placement.links[0].reason.startswith(reason)
        if search:
            assert np.abs(errors(result, true)).max() < 0.15


def test_only_y_without_align_xz() -> None:
    result, true = aligned((1, 2, 1), align_xz=False)
    found = np.array(list(result.placement.origin_px.values()))
    np.testing.assert_allclose(found[:, [0, 2]], 0, atol=1e-9)
    assert np.abs(errors(result, true)[:, 1]).max() < 0.15


def test_negative_y() -> None:
    result, true = aligned((1, 2, 1), sign=-1, negative_y=True)
    assert np.abs(errors(result, true)).max() < 0.15
    result, _ = aligned((1, 2, 1), sign=-1, negative_y=False, allow_unaligned=True)
    assert result.placement.links[0].reason


def test_same_seed_same_result_with_any_number_of_threads() -> None:
    results = [aligned((1, 2, 1), n_workers=n)[0] for n in (1, 3)]
    points = [[m.fixed_px for m in r.placement.links[0].matches] for r in results]
    assert points[0] == points[1]
    other, _ = aligned((1, 2, 1), matching=dataclasses.replace(FAST, seed=1))
    assert [m.fixed_px for m in other.placement.links[0].matches] != points[0]


def test_voxel_size_one_percent_off() -> None:
    """The stage goes 40 voxels of 1.8 um, which the user takes for 1.818 um; only of an exact stage that shows."""
    exact = {"error_px": 0, "voxel_size_um": 1.818, "stage_repeatability_um": 0.02}
    result, true = aligned((1, 2, 1), **exact)
    assert result.voxel_size.estimate_um == pytest.approx(1.8, rel=2e-3)
    assert result.voxel_size.is_significant and result.spacing.y_um == result.voxel_size.estimate_um
    assert abs(result.voxel_size.estimate_um - 1.8) < result.voxel_size.uncertainty_um < 0.018
    assert np.abs(errors(result, true)).max() < 0.05
    assert "nominal 1.818 um does not fit" in result.summary
    unknown, _ = aligned((1, 2, 1), error_px=0, voxel_size_um=1.818)
    assert unknown.spacing.y_um == 1.818 and "nominal 1.818 um fits" in unknown.summary
    assert unknown.voxel_size.uncertainty_um > 0.05


def test_the_size_to_go_on_with_can_be_told(tmp_path: Path) -> None:
    for y_size, used in (("measured", pytest.approx(1.8, rel=2e-3)), ("nominal", 1.818)):
        output = tmp_path / f"{y_size}.json"
        result, _ = aligned((1, 2, 1), error_px=0, voxel_size_um=1.818, y_size=y_size, output=output)
        content = json.loads(output.read_text())
        assert content["voxel_size"] == result.spacing.y_um == used
        assert content["voxel_size_estimate"] == pytest.approx(1.8, rel=2e-3)
        assert content["voxel_size_basis"] == {
            "links": 1, "tiles": 2, "rows": 2, "stage_repeatability": None, "y_size": y_size,
        }  # fmt: skip
        assert content["voxel_sizes_measured"][1] == (y_size == "measured")


def test_a_size_that_nothing_measures_is_not_gone_on_with(tmp_path: Path) -> None:
    output = tmp_path / "align.json"
    with pytest.raises(AlignmentError, match="no link joins two rows"):
        aligned((1, 1, 2), y_size="measured", output=output)
    mosaic, volumes, _ = tiles((1, 2, 2), 0)
    blank = {
        n: v if n in list(volumes)[:2] else ArrayVolume(np.zeros_like(v.array), SPACING) for n, v in volumes.items()
    }
    options = AlignOptions(mosaic=mosaic, volumes=blank, matching=FAST, y_size="measured", output=output)
    plan = align.plan(options)
    with pytest.raises(AlignmentError, match="`y_size` is measured, but no link joins two rows"):
        align.run(plan)
    assert not output.exists()
    assert align.run(align.plan(dataclasses.replace(options, y_size="auto"))).spacing.y_um == 1.8


def test_border_and_window_sizes_are_those_of_their_axis() -> None:
    """spimstitch takes the border of y for that of z."""
    mosaic, volumes, _ = tiles((1, 2, 1), 0)
    read: list[tuple[int, ...]] = []

    class Recorder(ArrayVolume):
        def read(self, box: Box) -> np.ndarray:
            read.append(box.shape)
            return super().read(box)

    moving = list(volumes)[1]
    volumes[moving] = Recorder(volumes[moving].array, SPACING)
    matching = MatchOptions(window_px=(9, 11, 13), border_px=(1, 3, 5), search_px=(0, 0, 0), sample_count=5)
    align.run(align.plan(AlignOptions(mosaic=mosaic, volumes=volumes, matching=matching)))
    # The window, its neighbours for the 27 shifts, and the border, on both sides.
    assert max(read) == (9 + 2 + 2, 11 + 2 + 6, 13 + 2 + 10)


def test_overlap_smaller_than_the_window() -> None:
    matching = MatchOptions(window_px=(51, 35, 51), search_px=(4, 4, 4))
    result, _ = aligned((1, 2, 1), error_px=0, matching=matching, allow_unaligned=True)
    link = result.placement.links[0]
    assert "has no room for a window" in link.reason and link.matches == ()
    assert len(result.placement.unlinked) == 2


@pytest.mark.parametrize("value", [0, 300, 65535])
def test_flat_tiles_give_no_link_and_no_nan(value: int, tmp_path: Path) -> None:
    mosaic, volumes, _ = tiles((1, 2, 1), 0)
    flat = {name: ArrayVolume(np.full(SHAPE, value, np.uint16), SPACING) for name in volumes}
    output = tmp_path / "align.json"
    options = AlignOptions(mosaic=mosaic, volumes=flat, matching=FAST, output=output)
    with pytest.raises(AlignmentError, match="none of 1 overlap gave a link"):
        align.run(align.plan(options))
    assert not output.exists()
    result = align.run(align.plan(dataclasses.replace(options, allow_unaligned=True)))
    assert "shows no structure" in result.placement.links[0].reason
    assert len(result.placement.unlinked) == 2
    content = json.loads(output.read_text(), parse_constant=lambda c: pytest.fail(c))
    assert content["unaligned"] is True and content["voxel_sizes_measured"] == [False, False, False]
    assert content["voxel_size_estimate"] is None and content["voxel_size"] == 1.8


def test_matches_that_do_not_agree_make_no_link() -> None:
    """Tiles of different tissue, whatever correlates: what few matches agree do so by chance."""
    mosaic, volumes, _ = tiles((1, 2, 1), 0)
    name = list(volumes)[1]
    volumes[name] = ArrayVolume(tissue(SHAPE, seed=99), SPACING)
    matching = MatchOptions(
        window_px=(9, 9, 9), search_px=(0, 0, 0), sample_count=40, min_correlation=-1, min_matches=1
    )
    options = AlignOptions(mosaic=mosaic, volumes=volumes, matching=matching, allow_unaligned=True)
    result = align.run(align.plan(options))
    assert "matches agree" in result.placement.links[0].reason


def test_unlike_tiles_are_told_apart() -> None:
    mosaic, volumes, _ = tiles((1, 2, 1), 0)
    name = list(volumes)[1]
    volumes[name] = ArrayVolume(tissue(SHAPE, seed=99), SPACING)
    options = AlignOptions(mosaic=mosaic, volumes=volumes, matching=FAST, allow_unaligned=True)
    result = align.run(align.plan(options))
    assert result.placement.links[0].reason
    assert name in result.placement.unlinked


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_report_as_a_picture(tmp_path: Path, suffix: str, magic: bytes) -> None:
    report = tmp_path / f"align{suffix}"
    aligned((1, 2, 1), report=report)
    assert report.read_bytes().startswith(magic)
    assert list(tmp_path.iterdir()) == [report]


def test_a_picture_without_matplotlib_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"gpustitch\[report\]"):
        aligned((1, 2, 1), report=tmp_path / "align.png")


def test_file_and_report(tmp_path: Path) -> None:
    output, report = tmp_path / "align.json", tmp_path / "align.md"
    result, _ = aligned((1, 2, 1), output=output, report=report)
    found = read_alignment(output)
    placement = found.placement(result.spacing)
    for name, position in result.placement.origin_px.items():
        np.testing.assert_allclose(placement.origin_px[name], position, atol=1e-9)
    assert "## Accepted links" in report.read_text()
    with pytest.raises(OutputExistsError):
        aligned((1, 2, 1), output=output)


def test_oblique_tiles_are_compared_only_where_both_were_seen() -> None:
    """Raw frames, de-obliqued on demand; outside the parallelogram a tile holds zeros."""
    pixel, step, n_frames, rows, columns = 1.8, 1.8 / 2**0.5, 110, 72, 40
    specimen = tissue((columns, rows, n_frames + columns + 62))
    volumes, paths, true = {}, [], {}
    for i, x in enumerate((2, 52)):
        frames = np.stack([specimen[range(columns), :, range(x + f, x + f + columns)].T for f in range(n_frames)])
        tile = TilePath(Path("t"), (round(50 * step * i, 1), 0.0, 0.0))
        paths.append(tile)
        scan = ObliqueScan(*frames.shape, pixel, step)
        volumes[tile.name] = ObliqueTile(_Stack(frames), scan)
        true[tile.name] = np.array([0, 0, x + (3 if i else 0)])
    shifted = volumes[paths[1].name]
    shifted.frames = _Stack(np.concatenate([shifted.frames.array[3:], shifted.frames.array[:3]]))
    shifted.frames.array[-3:] = 0
    result = align.run(align.plan(AlignOptions(mosaic=Mosaic(tuple(paths)), volumes=volumes, matching=FAST)))
    assert not result.placement.links[0].reason
    assert np.abs(errors(result, true)).max() < 0.15


@pytest.mark.parametrize("broken", [False, True])
def test_points_beside_holes_are_compared_and_points_on_them_are_not(broken: bool) -> None:
    """Frames are absent, or turn out to be unreadable while points are compared."""
    step, n_frames, rows, columns = 1.8 / 2**0.5, 100, 60, 32
    specimen = tissue((columns, rows + 40, n_frames + columns), seed=3)
    lost = ({30, 31, 70}, {52})
    volumes, paths, true = {}, [], {}
    for i, y in enumerate((0, 38)):
        cut = specimen[:, y : y + rows]
        frames = np.stack([cut[range(columns), :, range(f, f + columns)].T for f in range(n_frames)])
        tile = TilePath(Path("t"), (0.0, 1.8 * 36 * i, 0.0))
        paths.append(tile)
        stack = Holed(frames, () if broken else lost[i], lost[i] if broken else ())
        scan = ObliqueScan(*frames.shape, 1.8, step)
        volumes[tile.name] = ObliqueTile(Readable(stack, skips=True), scan)
        true[tile.name] = np.array([0, y, 0])
    matching = dataclasses.replace(FAST, sample_count=20)
    result = align.run(align.plan(AlignOptions(mosaic=Mosaic(tuple(paths)), volumes=volumes, matching=matching)))
    (link,) = result.placement.links
    assert not link.reason and len(link.matches) >= 3
    assert np.abs(errors(result, true)).max() < 0.15
    fixed, moving = (volumes[tile.name].coverage for tile in paths)
    assert broken or (set(fixed.absent), set(moving.absent)) == lost
    half = [n // 2 for n in matching.window_px or ()]
    assert are_covered(fixed, [match.fixed_px for match in link.matches], half).all()
    assert are_covered(moving, np.rint([match.moving_px for match in link.matches]), half).all()
    assert result.record.absent_frames == ({tile.name: len(volumes[tile.name].coverage.absent) for tile in paths})


class _Stack:
    absent: frozenset[int] = frozenset()

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        return self.array[start:stop, rows, columns]


class _Seen:
    """A volume without voxels."""

    dtype, spacing = np.dtype(np.uint16), SPACING

    def __init__(self, coverage: Coverage) -> None:
        self.coverage = coverage

    def read(self, box: object) -> np.ndarray:
        raise NotImplementedError


@pytest.mark.parametrize("absent", [((), ()), ((11,), (14,)), ((0, 9, 10, 19), (3, 12))])
@pytest.mark.parametrize("shear", [0.0, 0.7, 1.0])
def test_centres_are_where_both_masks_hold_a_whole_window(shear: float, absent: tuple[tuple[int, ...], ...]) -> None:
    a, b = Coverage(20, 9, 8, shear, absent[0]), Coverage(17, 8, 10, shear, absent[1])
    offset, half = (1, -2, 6), (1, 2, 1)
    centres = Centres(Overlap(_Seen(a), _Seen(b), offset), half)
    size = [2 * h + 1 for h in half]
    around = Box((-20,) * 3, (60,) * 3)
    whole = {coverage: sliding_window_view(coverage.mask(around), size).all(axis=(3, 4, 5)) for coverage in (a, b)}

    def fits(coverage: Coverage, at: np.ndarray) -> np.ndarray:
        return whole[coverage][tuple((at - np.array(half) - around.start).T)]

    grid = np.array(list(np.ndindex(12, 12, 34))) - [1, 3, 1]
    expected = fits(a, grid) & fits(b, grid - offset)
    np.testing.assert_array_equal(centres.contains(grid), expected)
    assert expected.any()
    drawn = centres.sample(np.random.default_rng(0), 300)
    assert centres.contains(drawn).all()
    assert len(np.unique(drawn, axis=0)) > 0.5 * min(sum(expected), 300)
    inside = grid[expected]
    assert centres.bounds.start == tuple(inside.min(axis=0)) and centres.bounds.stop == tuple(inside.max(axis=0) + 1)
    some = grid[::7]
    assert are_covered(a, some, half).tolist() == fits(a, some).tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_px": (21, 20, 21)},
        {"window_px": (0, 21, 21)},
        {"window_px": (-3, 21, 21)},
        {"border_px": (10, -1, 10)},
        {"search_px": (-1, 0, 0)},
        {"blob_window_px": (64, 0, 64)},
        {"sigma_um": -1.0},
        {"sigma_um": float("nan")},
        {"sample_count": 0},
        {"min_matches": 0},
        {"min_correlation": 1.5},
    ],
)
def test_bad_parameters(wrong: dict) -> None:
    with pytest.raises(ParameterError):
        MatchOptions(**wrong)


def test_nothing_to_align() -> None:
    with pytest.raises(ParameterError, match="a folder of volumes"):
        align.plan(AlignOptions())
    mosaic, volumes, _ = tiles((1, 2, 1), 0)
    with pytest.raises(ParameterError, match="`volumes` holds no volume for the tiles"):
        align.plan(AlignOptions(mosaic=mosaic, volumes={}))
    volumes[next(iter(volumes))] = ArrayVolume(np.zeros((3, 3, 3), np.uint16), Spacing(1, 1, 1))
    with pytest.raises(MosaicError):
        align.plan(AlignOptions(mosaic=mosaic, volumes=volumes))


def test_volumes_called_oblique_get_a_parallelogram() -> None:
    mosaic, volumes, _ = tiles((1, 1, 1), 0)
    plan = align.plan(AlignOptions(mosaic=mosaic, volumes=volumes, is_oblique=True))
    coverage = next(iter(plan.volumes.values())).coverage
    assert coverage.shape == SHAPE and coverage.shear == pytest.approx(1.8 / 2**0.5 / 1.28, rel=0.02)
    volumes = {name: ArrayVolume(np.zeros((50, 3, 20), np.uint16), SPACING) for name in volumes}
    with pytest.raises(MosaicError, match="too short"):
        align.plan(AlignOptions(mosaic=mosaic, volumes=volumes, is_oblique=True))
