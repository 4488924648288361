"""Names, colours and contrast of channels in OME-Zarr."""

from __future__ import annotations

import colorsys
import itertools
import json

import numpy as np
import pytest

from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.omero import WHITE, colour_of, emission_nm, likely_emission_nm, omero
from gpustitch.model import Box, Spacing
from gpustitch.ops.contrast import shown_range
from gpustitch.ops.pyramid import downsample


def hue_of(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return colorsys.rgb_to_hsv(red, green, blue)[0]


@pytest.mark.parametrize("width", ["", "_50", "-20", "nm"])
@pytest.mark.parametrize("before", ["Ex_488_", "Ex-561-", "ex405 ", ""])
@pytest.mark.parametrize("said", ["Em_{}", "EM-{}", "em{}", "Emission {}"])
def test_the_emission_stands_in_the_name(said: str, before: str, width: str) -> None:
    number = int(np.random.default_rng(len(said + before + width)).integers(400, 700))
    assert emission_nm(before + said.format(number) + width) == number


@pytest.mark.parametrize("name", ["", "brain", "Ex_488_Ch0", "Em_1", "stem_525", "Em_12345", "system525", "525"])
def test_other_numbers_are_no_emission(name: str) -> None:
    assert emission_nm(name) is None and colour_of(emission_nm(name)) == WHITE


def test_longer_waves_are_redder() -> None:
    """From violet on, hues turn back towards red, and never leave the rim of the circle."""
    colours = [colour_of(nm) for nm in range(380, 781)]
    hues = [hue_of(colour) for colour in colours]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(hues))
    assert all(min(colour[n : n + 2] for n in (0, 2, 4)) == "00" for colour in colours)
    assert hues[0] > 0.8 and hues[-1] == 0
    assert colour_of(379) == colour_of(781) == colour_of(None) == WHITE


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_window_holds_what_is_shown(dtype: str) -> None:
    block = omero("Em_600", np.dtype(dtype), (3.0, 90.0), 5.0, 80.0)
    window = block["channels"][0]["window"]
    assert window["min"] <= window["start"] < window["end"] <= window["max"]
    if dtype != "float32":
        assert (window["min"], window["max"]) == (0, np.iinfo(dtype).max)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("levels", [1, 3])
def test_the_contrast_is_that_of_what_was_written(tmp_path, levels: int, version: str) -> None:
    rng = np.random.default_rng(levels)
    voxels = (rng.integers(200, 4000, (18, 25, 31)) * (rng.random((18, 25, 31)) < 0.7)).astype(np.uint16)
    options = {"downsample": downsample, "levels": levels, "chunk_shape": (8, 8, 8), "flush": False}
    path = tmp_path / "brain.zarr"
    with OmeZarrWriter(
        path, voxels.shape, np.uint16, Spacing(2, 1, 1), Writing(version=version, channel="Ex_1_Em_525", **options)
    ) as writer:
        writer.write(Box.of_shape(voxels.shape), voxels)
    file = path / ("zarr.json" if version == "0.5" else ".zattrs")
    found = json.loads(file.read_text())
    found = found["attributes"]["ome"] if version == "0.5" else found
    (channel,) = found["omero"]["channels"]
    assert channel["label"] == "Ex_1_Em_525" and channel["color"] == colour_of(525)
    assert (channel["window"]["start"], channel["window"]["end"]) == shown_range(voxels)
    assert found["multiscales"][0]["name"] == "brain"


def test_few_cells_in_much_background_are_within_the_contrast(tmp_path) -> None:
    """Three times halved they would be as dark as it; most of the volume was never written."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(90, 110, (32, 96, 256)).astype(np.uint16)
    voxels[rng.random(voxels.shape) < 0.02] = 5000
    path = tmp_path / "cells.zarr"
    options = {"downsample": downsample, "levels": 4, "chunk_shape": (8, 8, 8), "shard_bytes": 1 << 13, "flush": False}
    with OmeZarrWriter(path, (320, 96, 256), np.uint16, Spacing(1, 1, 1), Writing(**options)) as writer:
        for box in Box.of_shape(voxels.shape).blocks(writer.block_shape):
            writer.write(box, voxels[box.slices()])
    (channel,) = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["omero"]["channels"]
    assert 90 <= channel["window"]["start"] < 110 and channel["window"]["end"] == 5000


@pytest.mark.parametrize(
    ("name", "nm"), [("Ex_488_Em_1", 518), ("Ex_561_Em_600", 600), ("Ex_642_Ch0", 672), ("b", None)]
)
def test_a_name_without_emission_is_coloured_by_its_excitation(name, nm):
    assert likely_emission_nm(name) == nm
    channel = omero(name, np.dtype("uint16"), (1.0, 2.0), 0, 9)["channels"][0]
    assert channel["color"] == colour_of(nm)
