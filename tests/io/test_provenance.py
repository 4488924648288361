"""Provenance holds what a person needs to repeat a run, in plain JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpustitch.io.provenance import plain, provenance, write_json


@dataclass(frozen=True)
class Options:
    path: Path
    flat: np.ndarray | None
    sigma: float


def test_record_of_a_run(tmp_path: Path) -> None:
    source = tmp_path / "in.dcimg"
    source.write_bytes(b"12345")
    record = provenance(Options(source, np.zeros((2, 3), np.float32), 2.5), [source])
    write_json(tmp_path / "out.json", record, schema=7)
    back = json.loads((tmp_path / "out.json").read_text())
    assert (back["program"], back["schema"]) == ("gpustitch", 7)
    assert back["parameters"] == {"path": str(source), "flat": "array (2, 3) float32", "sigma": 2.5}
    assert back["inputs"][0]["path"] == str(source)
    assert back["inputs"][0]["bytes"] == 5


def test_everything_becomes_plain() -> None:
    values = {"a": (1, np.int64(2)), "b": np.float32(0.5), 3: float("nan"), "p": Path("x")}
    assert plain(values) == {"a": [1, 2], "b": 0.5, "3": None, "p": "x"}


def test_an_input_that_went_away_is_named_without_size(tmp_path: Path) -> None:
    """A run that has read it all ends well, and says by other means that it is gone."""
    gone, folder = tmp_path / "gone.dcimg", tmp_path / "no" / "x.tif"
    nothing = {"bytes": None, "changed": None}
    assert provenance({}, [gone, folder])["inputs"] == [{"path": str(p), **nothing} for p in (gone, folder)]
