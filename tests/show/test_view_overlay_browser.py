"""One volume in both formats and on all its levels, in one view: all lie in one place, to a tenth of a voxel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from gpustitch.io.volumes.record import RECORD, RECORD_KEY
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.show import view
from gpustitch.show.view import ViewOptions
from tests.show.pages import still_picture
from tests.show.test_view_browser import browser as browser

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

SHAPE, LEVELS = (16, 120, 160), 3
# Halved along all axes, along y and x first, and along y and z first.
SPACINGS = [Spacing(1.0, 1.0, 1.0), Spacing(2.0, 1.0, 1.0), Spacing(1.0, 1.0, 1.6)]
PX_PER_VOXEL = 5
SCREEN = {"width": 900, "height": 520}
# 80 x 80 voxels around the middle of the panel, away from what lies around it.
MIDDLE = {"x": 250, "y": 80, "width": 80 * PX_PER_VOXEL, "height": 80 * PX_PER_VOXEL}
Picture = npt.NDArray[np.float64]


def smooth() -> npt.NDArray[np.uint8]:
    """Structure of a dozen voxels along y and x, and none along z: pictures of thick planes are those of thin ones."""
    coarse = np.random.default_rng(3).uniform(30, 220, (10, 13))
    plane = ndimage.zoom(coarse, [n / m for n, m in zip(SHAPE[1:], coarse.shape, strict=True)], order=3)
    return np.broadcast_to(np.clip(plane, 1, 255).astype(np.uint8), SHAPE).copy()


def one_level(volume: Path, level: int) -> Path:
    """A volume of one of the levels alone, which a viewer must show."""
    alone = volume.with_name(f"{level}_{volume.name}")
    alone.mkdir()
    for name in ("info", "zarr.json"):
        if not (volume / name).exists():
            continue
        content = json.loads((volume / name).read_text())
        if name == "info":
            content["scales"] = content["scales"][level : level + 1]
            folder = content["scales"][0]["key"]
        else:
            del content["attributes"][RECORD_KEY]
            image = content["attributes"]["ome"]["multiscales"][0]
            image["datasets"] = image["datasets"][level : level + 1]
            folder = str(level)
        (alone / name).write_text(json.dumps(content))
        shutil.copytree(volume / folder, alone / folder)
    assert not (alone / RECORD).exists()
    return alone


@pytest.fixture(scope="module", params=SPACINGS, ids=lambda spacing: "-".join(map(str, spacing.zyx_um)))
def pictures(request: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Picture]]:
    """Pictures of the middle of each volume at one place and scale, by its name."""
    folder = tmp_path_factory.mktemp("overlay")
    places = []
    for writer, name in ((PrecomputedWriter, "v"), (OmeZarrWriter, "v.zarr")):
        options = {"downsample": downsample, "levels": LEVELS, "chunk_shape": (16, 32, 32)}
        with writer(folder / name, SHAPE, np.uint8, request.param, Writing(**options)) as output:
            output.write(Box.of_shape(SHAPE), smooth())
        places += [one_level(folder / name, level) for level in range(LEVELS)]
    with view.run(view.plan(ViewOptions(tuple(places), browser=False))) as served:
        page = browser.new_page(viewport=SCREEN)
        page.goto(served.url)
        still_picture(page)
        yield {place.name: picture_of(page, number) for number, place in enumerate(places)}
        page.close()


def picture_of(page: Any, number: int) -> Picture:
    """The xy panel with one layer visible."""
    for shown in (-1, number):
        page.evaluate(
            """([number, scale, middle]) => {
                const state = JSON.parse(JSON.stringify(viewer.state.toJSON()));
                state.layers.forEach((layer, n) => {
                    layer.visible = n === number;
                    if (layer.shader) layer.shader = 'void main() { emitGrayscale(toNormalized(getDataValue())); }';
                });
                Object.assign(state, {layout: 'xy', crossSectionScale: scale, position: middle, showAxisLines: false,
                                      showScaleBar: false, showDefaultAnnotations: false,
                                      selectedLayer: {visible: false}});
                viewer.state.restoreState(state);
            }""",
            [shown, 1 / PX_PER_VOXEL, [SHAPE[2] / 2, SHAPE[1] / 2, SHAPE[0] / 2]],
        )
        # Of no layer the middle is even: what is seen thereafter is this layer, not the one before.
        picture = still_picture(page, lambda taken, seen=shown >= 0: (np.std(taken) > 0) == seen, clip=MIDDLE)
    return np.asarray(picture.convert("L"), np.float64)


def shift_px(fixed: Picture, moving: Picture) -> npt.NDArray[np.float64]:
    """How far (rows, columns) a picture lies off another, by least squares on slopes; three steps."""
    # Coarse voxels are squares: both are smoothed alike.
    fixed, moving = (ndimage.gaussian_filter(picture, 3 * PX_PER_VOXEL) for picture in (fixed, moving))
    found = np.zeros(2)
    inner = (slice(60, -60), slice(60, -60))
    for _ in range(3):
        laid = ndimage.shift(moving, -found, order=3, mode="nearest")
        slopes = np.stack([axis[inner].ravel() for axis in np.gradient(laid)], 1)
        step, *_ = np.linalg.lstsq(slopes, (fixed - laid)[inner].ravel(), rcond=None)
        found += step
    return found


def test_the_measure_finds_shifts() -> None:
    plane = ndimage.zoom(smooth()[0].astype(float), PX_PER_VOXEL, order=1)[:400, :400]
    for shift in ((0.0, 0.0), (2.5, -1.0), (-0.4, 0.7)):
        np.testing.assert_allclose(
            shift_px(plane, ndimage.shift(plane, shift, order=3, mode="nearest")), shift, atol=0.1
        )


def test_all_formats_and_levels_lie_in_one_place(pictures: dict[str, Picture]) -> None:
    fixed = pictures["0_v"]
    assert fixed.std() > 10  # there is something to see
    for name, picture in pictures.items():
        off = shift_px(fixed, picture) / PX_PER_VOXEL
        correlation = float(np.corrcoef(fixed.ravel(), picture.ravel())[0, 1])
        print(f"{name}: {off[0]:+.3f}, {off[1]:+.3f} voxels off (y, x), correlation {correlation:.4f}")
        assert correlation > 0.95
        assert np.abs(off).max() < 0.1, name
