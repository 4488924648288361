"""What napari gets of a path: through its own plugin machinery, from the plugin's manifest to the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import npe2

import gpustitch


def levels_in_napari(path: Path) -> tuple[list[Any], dict[str, Any]]:
    """The levels of the one layer that napari shows of a volume, fine to coarse, and what it is told of the layer."""
    manager = npe2.PluginManager()
    manager.register(npe2.PluginManifest.from_file(Path(gpustitch.__file__).with_name("napari.yaml")))
    with mock.patch.object(npe2.PluginManager, "instance", return_value=manager):
        ((data, about, kind),) = npe2.read([str(path)], stack=False)
    assert kind == "image"
    return (list(data) if about["multiscale"] else [data]), about
