"""What is opened as a tile, and what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpustitch.errors import MosaicError
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.fuse import stage as fuse
from gpustitch.oblique.fuse.options import StitchOptions, TreeOptions
from gpustitch.ops.pyramid import downsample


def written(path: Path, sidecar: dict[str, object] | None = None) -> Path:
    """A small volume."""
    shape = (8, 8, 8)
    with open_output(
        path, shape, np.uint16, Spacing(1, 1, 1), downsample=downsample, levels=1, sidecar=sidecar
    ) as output:
        output.write(Box.of_shape(shape), np.ones(shape, np.uint16))
    return path


@pytest.mark.parametrize("place", ["0/0_0/0", "out/volume", "v.zarr"])
@pytest.mark.parametrize("is_marked", [True, False])
def test_a_stitched_volume_is_no_mosaic(tmp_path: Path, place: str, is_marked: bool) -> None:
    path = written(tmp_path / "t" / place, {"tiles": [{"name": "0_0_0"}, {"name": "0_9_0"}]} if is_marked else None)
    if place.startswith("0") and not is_marked:
        fuse.plan_tree(TreeOptions(path), StitchOptions(tmp_path / "a"))  # a tile by its name
        return
    match = "stitched of 2 tiles" if is_marked else "is one volume, not a folder of tiles"
    with pytest.raises(MosaicError, match=match):
        fuse.plan_tree(TreeOptions(path), StitchOptions(tmp_path / "a"))
    with pytest.raises(MosaicError, match=match):
        align.plan(AlignOptions(path, tmp_path / "a.json"))


def test_places_in_another_unit_are_refused_by_alignment_and_fusion(tmp_path: Path) -> None:
    for y in (0, 4):
        written(tmp_path / f"t/0/0_{y}/0")
    with pytest.raises(MosaicError, match="tenths of a micron"):
        fuse.plan_tree(TreeOptions(tmp_path / "t"), StitchOptions(tmp_path / "a"))
    with pytest.raises(MosaicError, match="tenths of a micron"):
        align.plan(AlignOptions(tmp_path / "t", tmp_path / "a.json"))


def test_tiles_with_gaps_are_fused_and_that_is_said(tmp_path: Path) -> None:
    for y in (0, 120):
        written(tmp_path / f"t/0/0_{y}/0")
    notes = fuse.plan_tree(TreeOptions(tmp_path / "t"), StitchOptions(tmp_path / "a")).mosaic.notes
    assert any("no two tiles overlap" in note for note in notes)
