"""The state of the client: where voxels, tiles and links lie, in metres."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Coverage, Link, Match, Spacing
from gpustitch.show.state import Shown, TileOutline, read_outlines, state_of

SPACING = Spacing(1.3, 1.8, 1.2)
SHAPE = (4, 6, 8)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> PrecomputedVolume:
    folder = tmp_path_factory.mktemp("state") / "v"
    with PrecomputedWriter(folder, SHAPE, np.uint16, SPACING, Writing(levels=1, shard_bytes=0)) as writer:
        writer.write(Box.of_shape(SHAPE), np.ones(SHAPE, np.uint16))
    return PrecomputedVolume(folder)


def layers_of(state: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [layer for layer in state["layers"] if layer["type"] == kind]


def placed(annotation: dict[str, Any], layer: dict[str, Any], point: list[float]) -> list[float]:
    """Where a point of an annotation is shown, in voxels of the volume that lie from n to n + 1."""
    matrix = np.array(layer["source"]["transform"].get("matrix", np.eye(3, 4)))
    return list(matrix @ [*point, 1])


@settings(max_examples=50)
@given(
    st.tuples(*[st.floats(-50, 50)] * 3),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 30),
    st.floats(0, 2),
)
def test_outlines_are_the_coverage(
    volume: PrecomputedVolume, origin: tuple[float, float, float], frames: int, rows: int, columns: int, shear: float
) -> None:
    """The corners of the drawn box are those of the coverage: on every plane it begins and ends as the camera saw."""
    tile = TileOutline("a", origin, Coverage(frames, rows, columns, shear))
    (layer,) = layers_of(state_of([Shown("v", volume, (0, 1), (tile,))], "d"), "annotation")
    (box,) = layer["annotations"]
    z, y, x = origin
    for plane in (0, columns - 1):
        first, last = (float(v) for v in tile.coverage.x_bounds(plane))
        for corner, at in ((box["pointA"], first), (box["pointB"], last + 1)):
            middle = z + plane + 0.5  # voxels of a plane lie around its middle
            shown = placed(box, layer, [corner[0], corner[1], middle])
            assert math.isclose(shown[0], x + at, abs_tol=1e-9), (shown, at)
    assert box["pointA"][1:] == [y, z] and np.allclose(box["pointB"][1:], [y + rows, z + columns])


def test_links_join_the_middles_and_say_how_well(volume: PrecomputedVolume) -> None:
    tiles = tuple(TileOutline(name, at, Coverage(5, 3, 3, 1.0)) for name, at in (("a", (0, 0, 0)), ("b", (2, 4, 6))))
    matches = tuple(Match((1, 1, 1), (1.0, 1.0, 1.0), c) for c in (0.8, 0.9, 0.95))
    links = (
        Link("a", "b", (0, 0, 0), (0, 0, 0), matches),
        Link("b", "a", (0, 0, 0), (0, 0, 0), (), "too few points"),
        Link("a", "elsewhere", (0, 0, 0), (0, 0, 0), matches),
    )
    state = state_of([Shown("v", volume, (0, 1), tiles, links)], "d")
    lines = layers_of(state, "annotation")[-1]["annotations"]
    assert [line["description"] for line in lines] == [
        "a to b: correlation 0.900 of 3 points",
        "b to a: no points; rejected: too few points",
    ]
    assert [line["props"] for line in lines] == [[0.9, 1], [0.0, 0]]
    assert lines[0]["pointA"] == [3.5, 1.5, 1.5]  # frames 0..4 moved by one column on the middle plane
    assert lines[0]["pointB"] == [9.5, 5.5, 3.5]
    assert json.loads(json.dumps(state)) == state


def test_tiles_of_two_slants_are_two_layers(volume: PrecomputedVolume) -> None:
    tiles = tuple(TileOutline(f"{k}", (0, 0, 0), Coverage(5, 3, 3, k)) for k in (0.0, 1.0, 1.0))
    found = layers_of(state_of([Shown("v", volume, (0, 1), tiles)], "d"), "annotation")
    assert [len(layer["annotations"]) for layer in found] == [1, 2]
    assert len({layer["name"] for layer in found}) == 2


def test_the_whole_volume_is_seen_from_its_middle(volume: PrecomputedVolume) -> None:
    state = state_of([Shown("v", volume, (3, 9))], "http://h/data")
    assert state["dimensions"] == {"x": [1.2e-6, "m"], "y": [1.8e-6, "m"], "z": [1.3e-6, "m"]}
    assert state["position"] == [4, 3, 2]
    um_per_px = state["crossSectionScale"] * 1.2
    assert all(n * um / um_per_px < 400 for n, um in zip(SHAPE, SPACING.zyx_um, strict=True))
    (layer,) = state["layers"]
    assert layer["source"] == {"url": "precomputed://http://h/data/0/"}
    assert "range=[3, 9]" in layer["shader"] and "white" in layer["shader"]


def test_channels_have_colours(volume: PrecomputedVolume) -> None:
    tile = TileOutline("a", (0, 0, 0), Coverage(5, 3, 3))
    shown = [Shown(f"{n}", volume, (0, 1), (tile,)) for n in range(8)]
    state = state_of(shown, "d")
    images = layers_of(state, "image")
    colors = [layer["shader"].partition('default="')[2].partition('"')[0] for layer in images]
    assert len(set(colors[:5])) == 5 and "white" not in colors
    assert {layer["blend"] for layer in images} == {"additive"}
    assert [layer["visible"] for layer in layers_of(state, "annotation")] == [True] + [False] * 7


def test_voxels_are_counted_from_the_stated_origin(volume: PrecomputedVolume, tmp_path: Path) -> None:
    info = json.loads((volume.path / "info").read_text())
    info["scales"][0]["voxel_offset"] = [100, 200, 300]
    (tmp_path / "info").write_text(json.dumps(info))
    (chunk,) = (path for path in (volume.path / info["scales"][0]["key"]).iterdir() if path.is_file())
    x, y, z = (f"{o}-{o + n}" for o, n in zip((100, 200, 300), SHAPE[::-1], strict=True))
    (tmp_path / info["scales"][0]["key"]).mkdir()
    (tmp_path / info["scales"][0]["key"] / f"{x}_{y}_{z}").write_bytes(chunk.read_bytes())
    state = state_of([Shown("v", PrecomputedVolume(tmp_path), (0, 1))], "d")
    assert state["position"] == [104, 203, 302]


def zarr_image(folder: Path, unit: str | None) -> OmeZarrVolume:
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{folder}/0/"}}
    array = ts.open(spec, create=True, dtype=ts.uint16, shape=(1, *SHAPE)).result()
    array.write(np.ones((1, *SHAPE), np.uint16)).result()
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", **({"unit": unit} if unit else {})} for n in "zyx"]
    steps = [{"type": "scale", "scale": [1, 2, 1, 1]}, {"type": "translation", "translation": [0, 20, 5, 10]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(
        json.dumps({"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]})
    )
    return OmeZarrVolume(folder)


@pytest.mark.parametrize("unit", ["micrometer", None])
def test_images_of_zarr(tmp_path: Path, unit: str | None) -> None:
    """Numbers without a unit are um here; the client, which takes them as bare numbers, is told so."""
    state = state_of([Shown("v", zarr_image(tmp_path, unit), (0, 1))], "http://h/data")
    assert {axis: state["dimensions"][axis] for axis in "xyz"} == {"x": [1e-6, "m"], "y": [1e-6, "m"], "z": [2e-6, "m"]}
    # The client takes what OME-Zarr states for centres: its own bounds begin half a voxel before.
    assert state["position"][:3] == [13.5, 7.5, 11.5]
    source = state["layers"][0]["source"]
    assert source["url"] == "zarr://http://h/data/0/"
    if unit:
        assert "transform" not in source
    else:
        assert list(source["transform"]["outputDimensions"]) == ["c", "z", "y", "x"]
        assert np.array(source["transform"]["matrix"])[:, :4].diagonal().tolist() == [1, 1e-6, 1e-6, 1e-6]


def test_outlines_are_read_from_beside_the_volume(tmp_path: Path) -> None:
    assert read_outlines(tmp_path) == ()
    cover = {"n_frames": 5, "n_rows": 3, "n_columns": 2, "shear": 0.5}
    tile = {"name": "a", "origin_px": [1, 2, 3], "shear_px": 0.25, "coverage": cover}
    old = {name: value for name, value in tile.items() if name != "coverage"}
    (tmp_path / "gpustitch.json").write_text(json.dumps({"tiles": [tile, old]}))
    assert read_outlines(tmp_path) == (TileOutline("a", (1, 2, 3), Coverage(5, 3, 2, 0.75)),)
    (tmp_path / "gpustitch.json").write_text("{}")
    assert read_outlines(tmp_path) == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"tiles": 3}', '{"tiles": [{"coverage": {}, "name": "a"}]}'])
def test_outlines_that_cannot_be_understood(tmp_path: Path, text: str) -> None:
    (tmp_path / "gpustitch.json").write_text(text)
    with pytest.raises(DamagedInputError, match=r"gpustitch\.json"):
        read_outlines(tmp_path)


@pytest.mark.parametrize("at", [(0, 0, 0), (3, 5, 7), (1, 2, 3)])
def test_a_voxel_to_look_at_is_in_the_middle(volume: PrecomputedVolume, at: tuple[int, int, int]) -> None:
    """Voxel n lies from n to n + 1."""
    state = state_of([Shown("v", volume, (0, 1))], "d", at)
    assert state["position"] == [n + 0.5 for n in reversed(at)]
    middle = state_of([Shown("v", volume, (0, 1))], "d")
    assert middle["position"] == [n / 2 for n in reversed(SHAPE)]
