from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, InputMissingError, OutputExistsError
from gpustitch.model import Candidate, Link, Match, Placement, Spacing, Support
from gpustitch.oblique.mosaic.file import AlignmentRecord, alignment_json, read_alignment, write_alignment
from tests.paths import DATA

SPACING = Spacing(1.782 / math.sqrt(2), 1.782, 1.28)
REFERENCE = json.loads((DATA / "align_json.json").read_text())


FITTING = (
    Candidate((0.875, 164.75, -2.875), (0.03, 0.04, 0.05), 0.9),
    Candidate((3.0, 160.0, 1.0), (0.5, 0.5, 0.5), 0.05),
)


def record() -> AlignmentRecord:
    stage = {"0_0_0": (0.0, 0.0, 0.0), "0_3312_0": (0.0, 331.2, 0.0), "713_0_0": (71.3, 0.0, 0.0)}
    matches = (Match((50, 170, 100), (49.25, 5.5, 102.75), 0.97), Match((40, 171, 90), (39.0, 6.0, 93.0), 0.99))
    links = (
        Link(
            "0_0_0",
            "0_3312_0",
            (0.875, 164.75, -2.875),
            (0.1, 0.2, 0.3),
            matches,
            "",
            (0.03, 0.04, 0.05),
            FITTING,
            (0.0, 1.5, 0.2),
        ),
        Link("0_0_0", "713_0_0", (0.0, 0.0, 56.0), (0.0, 0.0, 0.0), (), "no room"),
    )
    origin = {"0_0_0": (0.0, 0.0, 2.875), "0_3312_0": (0.875, 164.75, 0.0), "713_0_0": (0.4, 0.0, 58.5)}
    residual = {("0_0_0", "0_3312_0"): (0.01, -0.02, 0.0)}
    sigma = {"0_0_0": (0.1, 0.2, 0.3), "713_0_0": (3.5, 4.5, 5.5)}
    support: dict[str, Support] = {"0_0_0": "link", "0_3312_0": "link", "713_0_0": "stage"}
    return AlignmentRecord(
        placement=Placement(origin, residual, links, ("713_0_0",), sigma, support),
        stage_um=stage,
        nominal_px={"0_0_0": (0, 0, 0), "0_3312_0": (0, 184, 0), "713_0_0": (0, 0, 56)},
        spacing=SPACING,
        voxel_size_nominal_um=1.8,
        voxel_size_estimate_um=1.782,
        voxel_size_uncertainty_um=0.004,
        counts={("0_0_0", "0_3312_0"): (20, 5, 2)},
        align_xz=True,
        negative_y=False,
    )


@pytest.mark.parametrize("case", range(len(REFERENCE)))
def test_has_every_key_of_the_reference_program(case: int) -> None:
    reference, ours = REFERENCE[case]["json"], alignment_json(record())
    assert {key for key in reference if not key.startswith("[")} <= ours.keys()
    pair = "[[0.0, 0.0, 0.0], [0.0, 331.2, 0.0]]"
    assert {key: type(v) for key, v in reference[pair][0].items()}.items() <= {
        key: type(v) for key, v in ours[pair][0].items()
    }.items()
    assert "[0.0, 331.2, 0.0]" in reference["alignments"] and "[0.0, 331.2, 0.0]" in ours["alignments"]
    assert len(reference["voxel_sizes"]) == len(ours["voxel_sizes"])


def test_points_are_in_voxels_of_the_mosaic_by_the_stage() -> None:
    point = alignment_json(record())["[[0.0, 0.0, 0.0], [0.0, 331.2, 0.0]]"][0]
    assert [point[k] for k in ("xa", "ya", "za")] == [100, 170, 50]
    assert [point[k] for k in ("xb", "yb", "zb")] == [103, 6 + 184, 49]
    assert point["moving_px"] == [49.25, 5.5, 102.75]


@pytest.mark.parametrize("case", range(len(REFERENCE)))
def test_reads_the_reference_programs_files(case: int, tmp_path: Path) -> None:
    reference = REFERENCE[case]
    path = tmp_path / "align.json"
    path.write_text(json.dumps(reference["json"]))
    found = read_alignment(path)
    assert len(found.origin_um) == 9
    for key, um in reference["json"]["alignments"].items():
        assert found.origin_um[tuple(json.loads(key))] == tuple(um)
    assert found.voxel_size_um is None and found.x_step_um is None and found.links == ()
    spacing = Spacing(1.8 / math.sqrt(2), 1.8, 2.0)
    px = found.placement(spacing).origin_px
    assert np.min(list(px.values()), axis=0) == pytest.approx([0, 0, 0])
    um = [np.array(found.origin_um[k]) for k in ((0.0, 0.0, 0.0), (142.5, 331.2, 0.0))]
    moved = np.subtract(px["1425_3312_0"], px["0_0_0"])
    np.testing.assert_allclose(moved[::-1] * [2.0, 1.8, 1.8 / math.sqrt(2)], um[1] - um[0])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    wanted, path = record(), tmp_path / "align.json"
    write_alignment(path, wanted)
    found = read_alignment(path)
    assert (found.voxel_size_um, found.x_step_um) == (SPACING.y_um, SPACING.x_um)
    assert (found.voxel_size_nominal_um, found.voxel_size_estimate_um) == (1.8, 1.782)
    assert found.voxel_size_uncertainty_um == 0.004
    placement = found.placement(SPACING)
    for name, position in wanted.placement.origin_px.items():
        np.testing.assert_allclose(placement.origin_px[name], position, atol=1e-9)
    assert placement.links == wanted.placement.links
    assert placement.residual_px == wanted.placement.residual_px
    assert placement.unlinked == ("713_0_0",)
    assert placement.support == wanted.placement.support
    assert placement.sigma_px.keys() == wanted.placement.sigma_px.keys()
    for name, sigma in wanted.placement.sigma_px.items():
        np.testing.assert_allclose(placement.sigma_px[name], sigma)


def test_states_each_tiles_standard_error_in_um_as_x_y_z_and_what_holds_it() -> None:
    tiles = alignment_json(record())["tiles"]
    assert tiles["[71.3, 0.0, 0.0]"]["support"] == "stage"
    assert tiles["[71.3, 0.0, 0.0]"]["standard_error_um"] == pytest.approx(
        (5.5 * SPACING.x_um, 4.5 * SPACING.y_um, 3.5 * SPACING.z_um)
    )
    assert tiles["[0.0, 331.2, 0.0]"] == {"standard_error_um": None, "support": "link"}


_ERRORS = st.tuples(*[st.floats(0, 100) | st.sampled_from([math.inf, math.nan])] * 3)


@settings(max_examples=25, deadline=None)
@given(
    sigma=st.dictionaries(st.sampled_from(list(record().stage_um)), _ERRORS),
    support=st.dictionaries(st.sampled_from(list(record().stage_um)), st.sampled_from(get_args(Support))),
)
def test_what_is_not_known_of_a_tile_is_read_as_not_known(
    sigma: dict[str, tuple[float, float, float]],
    support: dict[str, Support],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    wanted, path = record(), tmp_path_factory.mktemp("known") / "align.json"
    wanted = dataclasses.replace(
        wanted, placement=dataclasses.replace(wanted.placement, sigma_px=sigma, support=support)
    )
    write_alignment(path, wanted)
    json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(c))
    found = read_alignment(path).placement(SPACING)
    known = {name: values for name, values in sigma.items() if np.isfinite(values).all()}
    assert found.support == support and found.sigma_px.keys() == known.keys()
    for name, values in known.items():
        np.testing.assert_allclose(found.sigma_px[name], values, atol=1e-9)


@pytest.mark.parametrize(
    ("link", "is_measured"),
    [
        (Link("0_0_0", "713_0_0", (0, 0, 56), (0, 0, 0), (), "no room"), False),
        (Link("0_0_0", "713_0_0", (0, 0, 56), (0, 0, 0), (), "contradicts the others", (0.5, 0.5, 0.5)), True),
        (Link("0_0_0", "713_0_0", (0, 0, 56), (0, 0, 0), (), "", (0.5, 0.5, 0.5)), True),
    ],
)
def test_an_offset_from_the_whole_overlap_is_measured_without_points(link: Link, is_measured: bool) -> None:
    wanted = record()
    wanted = dataclasses.replace(wanted, placement=dataclasses.replace(wanted.placement, links=(link,)))
    (entry,) = alignment_json(wanted)["links"]
    assert entry["measured"] == is_measured


def test_a_file_without_confidences_states_none(tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    content, path = alignment_json(record()), tmp_path / "align.json"
    del content["tiles"]
    for entry in content["links"]:
        del entry["sigma_px"], entry["candidates"]
    path.write_text(json.dumps(content))
    found = read_alignment(path).placement(SPACING)
    assert found.sigma_px == {} and found.support == {}
    assert [(link.sigma_px, link.candidates) for link in found.links] == [(None, ())] * 2


def test_file_is_strict_json_and_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "align.json"
    write_alignment(path, record())
    json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(c))
    with pytest.raises(OutputExistsError):
        write_alignment(path, record())
    write_alignment(path, record(), overwrite=True)


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "align.json"
    write_alignment(path, record())
    content = json.loads(path.read_text())
    assert content["schema"] == 1
    path.write_text(json.dumps(content | {"schema": 2}))
    with pytest.raises(DamagedInputError, match="of schema 2, and this version of gpustitch reads 1 to 1"):
        read_alignment(path)
    del content["schema"]
    path.write_text(json.dumps(content))
    assert read_alignment(path).voxel_size_um is not None


def test_an_alignment_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="alignment file"):
        read_alignment(tmp_path / "align.json")


LINK = alignment_json(record())["links"][0]
CANDIDATE = LINK["candidates"][0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"alignments": {"x": [0, 0, 0]}}',
        '{"alignments": {"[0, 0, 0]": [0, 0]}}',
        '{"alignments": {"[0, 0, 0]": [0, 0, NaN]}}',
        '{"alignments": {}, "voxel_size": -1}',
        '{"alignments": {}, "voxel_size": "wide"}',
        '{"voxel_size": 1.8, "links": [{"fixed": [0, 0, 0]}]}',
        '{"voxel_size": 1.8, "tiles": {"[0, 0, 0]": {"support": "loop"}}}',
        '{"voxel_size": 1.8, "tiles": {"[0, 0, 0]": {"standard_error_um": [1, 1, -1], "support": "loop"}}}',
        '{"voxel_size": 1.8, "tiles": {"[0, 0, 0]": {"standard_error_um": null, "support": "glue"}}}',
        json.dumps({"voxel_size": 1.8, "links": [{**LINK, "sigma_px": [0, -1, 0]}]}),
        json.dumps({"voxel_size": 1.8, "links": [{**LINK, "candidates": [{**CANDIDATE, "confidence": 2}]}]}),
    ],
)
def test_damaged_alignments_are_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "align.json"
    path.write_text(text)
    with pytest.raises(DamagedInputError, match="alignment file"):
        read_alignment(path)


def test_an_image_as_alignment_is_refused_in_a_few_words(tmp_path: Path) -> None:
    path = tmp_path / "flat.tiff"
    path.write_bytes(b"II*\x00\xff" * 4000)
    with pytest.raises(DamagedInputError, match="not an alignment file") as refusal:
        read_alignment(path)
    assert len(str(refusal.value)) < len(str(path)) + 200


def test_not_a_number_as_voxel_size_is_none(tmp_path: Path) -> None:
    """The reference program writes NaN where it found nothing."""
    path = tmp_path / "align.json"
    path.write_text('{"voxel_size": NaN, "voxel_sizes": []}')
    assert read_alignment(path).voxel_size_um is None
