"""Neuroglancer in a browser, through ``gpustitch view``: it reads the level that the screen needs, and shows it."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from gpustitch.show import view
from gpustitch.show.view import ViewOptions
from tests.show.pages import still_picture

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

SPACING = Spacing(1.0, 1.0, 1.0)
SHAPE = (4, 2000, 3000)
SCREEN = {"width": 1280, "height": 800}
# A GPU is not needed: the browser draws with the CPU.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("neuroglancer", reason="the extra [view] is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found[0] if found else None, args=FLAGS)
        except api.Error as error:
            pytest.skip(f"there is no Chromium: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def plane() -> npt.NDArray[np.uint8]:
    """Smooth structure that no turn, flip or shift leaves as it is."""
    coarse = np.random.default_rng(0).uniform(0, 1, (20, 26)) + np.linspace(0, 1, 26)
    smooth = ndimage.zoom(coarse, [n / m for n, m in zip(SHAPE[1:], coarse.shape, strict=True)], order=1)
    return (20 + 100 * smooth).astype(np.uint8)


@pytest.fixture(scope="module", params=["v", "v.direct", "v.zarr"])
def volume(request: Any, plane: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(tmp_path_factory.mktemp("large") / request.param)
    writer = OmeZarrWriter if folder.suffix == ".zarr" else PrecomputedWriter
    kind: dict[str, Any] = {"writer": "direct"} if folder.suffix == ".direct" else {}
    kind |= {"levels": 6, "chunk_shape": (4, 128, 128)}
    with writer(folder, SHAPE, np.uint8, SPACING, Writing(**kind)) as output:
        output.write(Box.of_shape(SHAPE), np.broadcast_to(plane, SHAPE))
    return folder


def shown(browser: Any, url: str) -> tuple[npt.NDArray[np.float64], dict[str, Any], Counter[str]]:
    """The picture of the xy panel, the state of the view, and the bytes that came of each level."""
    page = browser.new_page(viewport=SCREEN)
    sent: Counter[str] = Counter()

    def count(response: Any) -> None:
        found = re.search(r"/data/0/(\w+)/", response.url)
        if found and response.ok and response.request.method == "GET":  # others ask for the size of a file
            sent[found[1]] += int(response.headers.get("content-length", 0))

    page.on("response", count)
    page.goto(url)
    still_picture(page)
    state = page.evaluate("JSON.parse(JSON.stringify(viewer.state.toJSON()))")
    edges = page.evaluate(
        """Array.from(viewer.display.panels).map(panel => panel.element.getBoundingClientRect())
           .filter(r => r.width && r.height).map(r => [r.left, r.top, r.width, r.height])"""
    )
    left, top, width, height = min((edge for edge in edges if edge[2] > 200), key=lambda edge: edge[0] + edge[1])
    clip = {"x": left, "y": top, "width": width, "height": height}
    picture = np.asarray(still_picture(page, clip=clip).convert("L"), np.float64)
    page.close()
    return picture, state, sent


def test_a_volume_larger_than_the_screen(browser: Any, volume: Path, plane: npt.NDArray[np.uint8]) -> None:
    with view.run(view.plan(ViewOptions([volume], browser=False))) as served:
        picture, state, sent = shown(browser, served.url)
    um_per_px = state["crossSectionScale"] * min(SPACING.zyx_um)
    # Fit for the screen is the coarsest level whose voxels are no larger than a pixel.
    level = max(n for n in range(6) if 2**n <= um_per_px)
    folder = volume / (f"{level}" if volume.suffix == ".zarr" else f"{2**level}_{2**level}_{2**level}")
    needed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{um_per_px:.2f} um a pixel, level {level} of {needed} bytes; sent {dict(sent)}")
    assert 0 < sum(sent.values()) <= 2 * needed

    rows, columns = np.indices(picture.shape)
    x = state["position"][0] + (columns + 0.5 - picture.shape[1] / 2) * um_per_px / SPACING.x_um
    y = state["position"][1] + (rows + 0.5 - picture.shape[0] / 2) * um_per_px / SPACING.y_um
    inside = (x >= 0) & (x < SHAPE[2]) & (y >= 0) & (y < SHAPE[1])
    assert inside.mean() > 0.3

    def correlation(rows_off: float = 0, columns_off: float = 0) -> float:
        at_y = np.clip(y[inside] + rows_off * um_per_px, 0, SHAPE[1] - 1).astype(int)
        at_x = np.clip(x[inside] + columns_off * um_per_px, 0, SHAPE[2] - 1).astype(int)
        return float(np.corrcoef(picture[inside], plane[at_y, at_x])[0, 1])

    print(f"correlation of picture and volume {correlation():.4f}")
    assert correlation() >= 0.9
    assert correlation() > max(correlation(a, b) for a, b in ((0, 3), (0, -3), (3, 0), (-3, 0)))  # it is in its place
    assert picture[~inside].mean() < 30  # nothing is shown beside the volume
