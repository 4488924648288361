"""What JSON files and folders of several channels are said to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec
from gpustitch.errors import DamagedInputError
from gpustitch.io.provenance import provenance
from gpustitch.show.describe import describe_path


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"images": 3, "cut_off_pixels": 0}, "destriped images"),
        ({"iterations": 5, "largest_move_sections": 0.1}, "positions of sections"),
        ({"first_plane_at_section": 0}, "a volume of sections"),
        ({"verdict": {}}, "a volume of slices"),
        ({"absent_planes": {}}, "similarities of sections"),
        ({"tiles": []}, "stitched tiles"),
        ({}, "a run"),
    ],
)
def test_records_are_called_by_what_they_are_of(content: dict[str, object], what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**provenance({}, [tmp_path]), **content}))
    (line,) = describe_path(path)
    assert f"record of {what} by gpustitch" in line and str(tmp_path) in line


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}'])
def test_other_files_of_json_are_no_alignment(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DamagedInputError, match="not an alignment"):
        list(describe_path(path))


def test_a_folder_of_channels_is_described_channel_by_channel(tmp_path: Path) -> None:
    spec = PhantomSpec(grid=(2, 1, 1), n_frames=8, n_rows=16, n_columns=16, n_channels=2)
    truth = make_phantom(tmp_path / "phantom", spec)
    said = list(describe_path(tmp_path / "phantom"))
    assert said[0].endswith("phantom: 2 channels")
    assert sum("2 tiles on a grid of 2 x 1 x 1" in line for line in said) == 2
    assert next(describe_path(tmp_path / "phantom" / "truth.json")).endswith("truth of a phantom")
    assert len(list(describe_path(truth.channel()))) == 3
