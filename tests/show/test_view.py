"""What the viewer is given: every voxel, its size and a contrast that shows it."""

from __future__ import annotations

import gc
import json
import re
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from gpustitch.errors import InputMissingError, MissingExtraError, ParameterError
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.show import view
from gpustitch.show.view import ViewOptions


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).integers(100, 4000, (40, 50, 60)).astype(np.uint16)
    with PrecomputedWriter(
        tmp_path / "v", voxels.shape, np.uint16, Spacing(1.3, 1.8, 1.2), downsample=downsample
    ) as writer:
        writer.write(Box.of_shape(voxels.shape), voxels)
    return tmp_path / "v"


def test_served_to_a_browser(volume: Path) -> None:
    neuroglancer = pytest.importorskip("neuroglancer", reason="the extra [view] is not installed")
    served = view.run(view.plan(ViewOptions([volume, volume])))
    gc.collect()
    url = served.url
    try:
        with urllib.request.urlopen(url) as page:
            assert b"neuroglancer" in page.read().lower()
        state = neuroglancer.server.global_server.viewers[url.rstrip("/").rpartition("/")[2]].state.to_json()
        assert [layer["name"] for layer in state["layers"]] == ["0 v", "1 v"]
        source = str(state["layers"][0]["source"])
        base = url.partition("/v/")[0]
        key = re.search(r"python://volume/([\w.]+)", source)
        assert key
        with urllib.request.urlopen(f"{base}/neuroglancer/info/{key[1]}") as answer:
            info = json.load(answer)
        np.testing.assert_allclose(info["coordinateSpace"]["x"][0], 1.2e-6)
        np.testing.assert_allclose(info["coordinateSpace"]["z"][0], 1.3e-6)
        assert info["dataType"] == "uint16"
    finally:
        neuroglancer.server.stop()


def test_contrast_spans_what_is_there(volume: Path) -> None:
    low, high = view._contrast(volume)
    assert 100 <= low < 2000 < high <= 4000


def test_what_cannot_be_shown(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError):
        view.plan(ViewOptions([]))
    with pytest.raises(ParameterError, match="port"):
        view.plan(ViewOptions([volume], port=70000))
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(MissingExtraError, match="view"):
        view.plan(ViewOptions([volume]))
    monkeypatch.setattr(view, "_neuroglancer", lambda: None)
    with pytest.raises(InputMissingError):
        view.plan(ViewOptions([tmp_path / "none"]))
