"""What is shown of outputs that hold several formats or channels."""

from __future__ import annotations

import itertools
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.write.channels import join_channels
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.oblique.channels.file import write_state
from gpustitch.ops.pyramid import downsample
from gpustitch.show import view
from gpustitch.show.state import state_of
from gpustitch.show.view import ViewOptions
from tests.show.pages import still_picture

pytestmark = pytest.mark.skipif(find_spec("neuroglancer") is None, reason="the extra [view] is not installed")

SPACING = Spacing(2, 1, 1)
PLACES = {"precomputed": "volume", "ome-zarr": "volume.zarr", "tiff": "volume.tif", "nifti": "volume.nii"}
CHANNELS = ("Ex_488_Em_525", "Ex_561_Em_600", "Ex_642_Em_680")


def written(place: Path, voxels: Any, **options: Any) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    chunks = {"levels": 2, "chunk_shape": (16, 16, 16)} if place.suffix in ("", ".zarr") else {}
    with open_output(place, voxels.shape, voxels.dtype, SPACING, downsample=downsample, **chunks, **options) as output:
        for box in output.blocks():
            output.write(box, voxels[box.slices()])
    return place


def noise(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(100, 1000, (9, 20, 30)).astype(np.uint16)


def shown(*paths: Path, formats: tuple[str, ...] = ()) -> list[Path]:
    return [item.volume.path for item in view.plan(ViewOptions(list(paths), formats=formats)).shown]


def of_channels(folder: Path, names: tuple[str, ...]) -> Path:
    """An output of a run over several channels, as such a run leaves it."""
    images = [written(folder / name / "volume.zarr", noise(n), channel=name) for n, name in enumerate(names)]
    join_channels(images, folder / "volume.zarr")
    for n, (image, name) in enumerate(zip(images, names, strict=True)):
        shutil.rmtree(image)
        written(folder / name / "volume", noise(n))
    write_state(folder, {"is_finished": True, "channels": list(names)})
    return folder


@pytest.mark.parametrize(
    "held", [held for n in range(1, 5) for held in itertools.combinations(PLACES, n)], ids="+".join
)
def test_of_several_formats_one_is_shown_or_those_that_are_asked_for(tmp_path: Path, held: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    for name in held:
        written(out / PLACES[name], noise())
    can_show = [name for name in ("precomputed", "ome-zarr") if name in held]
    if can_show:
        assert shown(out) == [out / PLACES[can_show[0]]]
    for asked in (*itertools.permutations(can_show, 1), *itertools.permutations(can_show, 2)):
        assert shown(out, formats=asked) == [out / PLACES[name] for name in asked]
    for name in {"precomputed", "ome-zarr"} - set(held):
        with pytest.raises(ParameterError, match=f"holds no volume of `formats` {name}") as told:
            shown(out, formats=(name,))
        assert all(other in str(told.value) for other in can_show)
    with pytest.raises(ParameterError, match="precomputed and ome-zarr, not tiff"):
        shown(out, formats=("tiff",))


def test_a_volume_is_asked_what_it_is_and_not_its_name(tmp_path: Path) -> None:
    volume = written(tmp_path / "image", noise(), format="ome-zarr")
    assert shown(volume) == shown(volume, formats=("ome-zarr",)) == [volume]
    with pytest.raises(ParameterError, match="but ome-zarr"):
        shown(volume, formats=("precomputed",))


@pytest.mark.parametrize("n", [2, 3])
def test_channels_are_layers_in_either_format(tmp_path: Path, n: int) -> None:
    out = of_channels(tmp_path / "out", CHANNELS[:n])
    assert shown(out) == shown(out, formats=("precomputed",)) == [out / name / "volume" for name in CHANNELS[:n]]
    for how in (ViewOptions([out], formats=("ome-zarr",)), ViewOptions([out / "volume.zarr"])):
        items = view.plan(how).shown
        assert [item.name for item in items] == [f"{k} volume.zarr {name}" for k, name in enumerate(CHANNELS[:n])]
        assert {item.volume.path for item in items} == {out / "volume.zarr"}
        for number, item in enumerate(items):
            assert isinstance(item.volume, OmeZarrVolume)
            np.testing.assert_array_equal(item.volume.read(Box.of_shape(item.volume.shape)), noise(number))
            low, high = item.contrast
            assert noise(number).min() <= low < high <= noise(number).max()
        layers = state_of(items, "http://x")["layers"]
        assert [layer["localPosition"] for layer in layers] == [[k] for k in range(n)]
        assert len({layer["shader"].split('default="')[1].split('"')[0] for layer in layers}) == n


def test_one_channel_alone_has_no_such_axis(tmp_path: Path) -> None:
    image = join_channels([written(tmp_path / "a.zarr", noise(), channel="a")], tmp_path / "all.zarr")
    items = view.plan(ViewOptions([image])).shown
    assert len(items) == 1 and "localPosition" not in state_of(items, "http://x")["layers"][0]


@pytest.mark.browser
def test_channels_of_one_image_are_drawn_in_their_colours(tmp_path: Path) -> None:
    """Left of the middle the first channel is bright, above it the second one."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    first, second = np.zeros((2, 8, 64, 64), np.uint8)
    first[:, :, :32], second[:, :32] = 200, 200
    first[:, :, :2], second[:, :2] = 100, 100  # something to span a contrast
    images = [written(tmp_path / f"{name}.zarr", v, channel=name) for name, v in (("a", first), ("b", second))]
    image = join_channels(images, tmp_path / "all.zarr")
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with view.run(view.plan(ViewOptions([image]))) as served, api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=flags)
        except api.Error as error:
            pytest.skip(f"there is no Chromium: {str(error).splitlines()[0]}")
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(served.url)
        picture = np.asarray(still_picture(page).convert("RGB"), np.int16)
        browser.close()
    # The panel of x and y is at the top left: its middle is that of the volume.
    middle_y, middle_x, away = 236, 320, 60
    quarters = {(b, a): picture[middle_y + away * b, middle_x + away * a] for b in (-1, 1) for a in (-1, 1)}
    is_lit = {place: tuple((quarter > 100).tolist()) for place, quarter in quarters.items()}
    lime, magenta = (False, True, False), (True, False, True)
    assert is_lit == {(-1, -1): (True,) * 3, (-1, 1): magenta, (1, -1): lime, (1, 1): (False,) * 3}
