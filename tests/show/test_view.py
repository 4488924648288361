"""What the viewer is given: every volume, its voxel size, a contrast that shows it, and no more than is named."""

from __future__ import annotations

import json
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpustitch.errors import InputMissingError, MissingExtraError, ParameterError
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from gpustitch.show import view
from gpustitch.show.view import ViewOptions
from tests.paths import DATA

pytestmark = pytest.mark.skipif(find_spec("neuroglancer") is None, reason="the extra [view] is not installed")


def written(folder: Path, voxels: npt.NDArray[Any], **options: Any) -> Path:
    writer = OmeZarrWriter if folder.suffix == ".zarr" else PrecomputedWriter
    sidecar = options.pop("sidecar", None)
    with writer(
        folder, voxels.shape, voxels.dtype, Spacing(1.3, 1.8, 1.2), Writing(sidecar=sidecar, **options)
    ) as output:
        output.write(Box.of_shape(voxels.shape), voxels)
    return folder


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    voxels = np.random.default_rng(0).integers(100, 4000, (40, 50, 60)).astype(np.uint16)
    return written(tmp_path_factory.mktemp("view") / "v", voxels)


def state_at(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}state.json") as answer:
        state: dict[str, Any] = json.load(answer)
    return state


def test_served_to_a_browser(volume: Path) -> None:
    with view.run(view.plan(ViewOptions([volume, volume]))) as served:
        assert not served.caution
        with urllib.request.urlopen(served.url) as page:
            assert b"neuroglancer" in page.read().lower()
            assert page.url.startswith(f"{served.url}v/view/")
        state = state_at(served.url)
        assert [layer["name"] for layer in state["layers"]] == ["0 v", "1 v"]
        np.testing.assert_allclose(state["dimensions"]["x"][0], 1.2e-6)
        np.testing.assert_allclose(state["dimensions"]["z"][0], 1.3e-6)
        for layer in state["layers"]:
            source = layer["source"]["url"].removeprefix("precomputed://")
            with urllib.request.urlopen(f"{source}info") as answer:
                assert json.load(answer)["data_type"] == "uint16"


def test_voxels_come_over_http_as_they_lie(volume: Path, tmp_path: Path) -> None:
    """Another program reads precomputed and OME-Zarr volumes through the server, voxel by voxel."""
    voxels = np.random.default_rng(1).integers(0, 200, (40, 50, 60)).astype(np.uint8)
    image = written(tmp_path / "i.zarr", voxels)
    with view.run(view.plan(ViewOptions([volume, image]))) as served:
        layers = state_at(served.url)["layers"]
        kinds = [layer["source"]["url"].partition("://")[::2] for layer in layers]
        assert [kind for kind, _ in kinds] == ["precomputed", "zarr"]
        spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "http", "base_url": kinds[0][1]}}
        local = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{volume}/"}}
        assert np.array_equal(ts.open(spec).result().read().result(), ts.open(local).result().read().result())
        level = {"driver": "zarr3", "kvstore": {"driver": "http", "base_url": f"{kinds[1][1]}0/"}}
        assert np.array_equal(ts.open(level).result().read().result(), voxels)


def test_an_output_of_the_pipeline(volume: Path, tmp_path: Path) -> None:
    """Its volume, the outlines of its tiles, and the links of its alignment."""
    cover = {"n_frames": 30, "n_rows": 50, "n_columns": 40, "shear": 0.7}
    names = ("10000_0_0", "20000_0_0")
    tiles = [{"name": n, "origin_px": [0, 0, 9], "shear_px": 0.0, "coverage": cover} for n in names]
    written(tmp_path / "out-488" / "volume", np.ones((40, 50, 60), np.uint8), sidecar={"tiles": tiles})
    link = {"fixed": [1000, 0, 0], "moving": [2000, 0, 0], "reason": "", "residual_px": None}
    link |= {"offset_px": [0, 0, 9], "scatter_px": [0, 0, 0]}
    point = {"fixed_px": [1, 2, 3], "moving_px": [1, 2, 3], "corr": 0.97}
    content = {"voxel_size": 1.8, "links": [link], "[[1000.0, 0.0, 0.0], [2000.0, 0.0, 0.0]]": [point]}
    (tmp_path / "out-488" / "align.json").write_text(json.dumps(content))
    for path in (tmp_path / "out-488", tmp_path / "out-488" / "volume"):
        with view.run(view.plan(ViewOptions([path]))) as served:
            layers = state_at(served.url)["layers"]
        assert [layer["name"] for layer in layers] == ["0 out-488", "0 out-488: tiles", "0 out-488: links"]
        assert [box["id"] for box in layers[1]["annotations"]] == list(names)
        assert "correlation 0.970" in layers[2]["annotations"][0]["description"]


def test_other_machines_may_look_if_so_asked(volume: Path) -> None:
    with view.run(view.plan(ViewOptions([volume], address="0.0.0.0"))) as served:
        assert "`address`" in served.caution


def test_contrast_spans_what_is_there(volume: Path) -> None:
    low, high = view.plan(ViewOptions([volume])).shown[0].contrast
    assert 100 <= low < 2000 < high <= 4000


def some_values(dtype: str) -> st.SearchStrategy[npt.NDArray[Any]]:
    numbers = st.integers(0 if dtype[0] == "u" else -100, 100)
    return arrays(dtype, (3, 4, 5), elements=numbers.map(np.dtype(dtype).type))


@settings(max_examples=20)
@given(st.sampled_from(["uint8", "uint16", "int16", "float32"]).flatmap(some_values))
def test_contrast_of_all_values(tmp_path_factory: pytest.TempPathFactory, voxels: npt.NDArray[Any]) -> None:
    """Two different numbers within the values, or beside them if all are alike; whole for whole numbers."""
    volume = written(tmp_path_factory.mktemp("contrast") / "v.zarr", voxels, levels=1)
    low, high = view.plan(ViewOptions([volume])).shown[0].contrast
    assert low < high
    data = voxels[voxels != 0] if voxels.any() else voxels
    assert data.min() <= low and high <= max(data.max(), low + 1)
    assert voxels.dtype.kind == "f" or {type(low), type(high)} == {int}


def test_contrast_needs_no_fine_level(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a coarse level says is enough: a large volume is not read for it."""
    monkeypatch.setattr(view, "_LARGEST_SAMPLE", 10**4)
    moved = tmp_path / "v"
    written(moved, np.full((40, 50, 60), 77, np.uint16), levels=3)
    for key in ("1_1_1", "2_2_2"):
        for chunk in (moved / key).iterdir():
            if chunk.is_file():
                chunk.write_bytes(b"\xff" * chunk.stat().st_size)
    assert view.plan(ViewOptions([moved])).shown[0].contrast == (77, 78)


def test_what_cannot_be_shown(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError):
        view.plan(ViewOptions([]))
    with pytest.raises(ParameterError, match="port"):
        view.plan(ViewOptions([volume], port=70000))
    with pytest.raises(InputMissingError):
        view.plan(ViewOptions([tmp_path / "none"]))
    with pytest.raises(ParameterError, match="Neuroglancer does not read"):
        view.plan(ViewOptions([DATA / "blockfs_70x133x129"]))
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(MissingExtraError, match="view"):
        view.plan(ViewOptions([volume]))


def test_codecs_that_neuroglancer_lacks_are_refused(tmp_path):
    for name, compressor in (("a", numcodecs.Zlib()), ("b", numcodecs.LZMA())):
        array = zarr.create_array(
            tmp_path / name, shape=(4, 5, 6), chunks=(2, 5, 6), dtype="u2", zarr_format=2, compressors=compressor
        )
        array[:] = np.arange(120).reshape(4, 5, 6)
    assert view.plan(ViewOptions([tmp_path / "a"])).shown
    with pytest.raises(ParameterError, match="compressed in a way that Neuroglancer does not read"):
        view.plan(ViewOptions([tmp_path / "b"]))
