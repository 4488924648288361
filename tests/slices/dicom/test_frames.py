from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedUSVolumeStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from gpustitch.demo.series.dicom import ORIGIN
from gpustitch.slices.dicom.headers import read_dicom
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.dicom.series import find_dicom_series
from gpustitch.slices.model import Code
from tests.slices.dicom.dicom_multiframe import write_dose, write_enhanced, write_nuclear, write_plain

OBLIQUE = ((0.6, 0.8, 0.0), (0.0, 0.0, -1.0))
ALONG = [0.0, 2.5, 5.0, 10.0]
X, Y, Z = ORIGIN


def _positions(path):
    return [one.header.position_mm for one in read_dicom(path).slices]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless]
)
def test_enhanced_frames_have_their_own_positions(tmp_path, shared, syntax):
    pixels = write_enhanced(tmp_path / "a.dcm", ALONG, directions=OBLIQUE, shared=shared, transfer_syntax=syntax)
    (series,), notes = find_dicom_series([tmp_path / "a.dcm"])
    assert not notes and not series.notes and len(series.headers) == 4
    normal = np.cross(*OBLIQUE)
    for i, header in enumerate(series.headers):
        assert header.position_mm == pytest.approx(np.array(ORIGIN) + ALONG[i] * normal)
        assert header.row_direction == pytest.approx(OBLIQUE[0])
        assert header.column_direction == pytest.approx(OBLIQUE[1])
        assert (header.frame, header.number, header.shape) == (i, i + 1, (6, 5))
        assert header.pixel_spacing_mm == (0.75, 0.5)
        assert (header.thickness_mm, header.spacing_between_mm) == (2.0, 2.5)
    order = [2, 0, 3]
    assert np.array_equal(DicomPlanes(series, order).read(0, 3), pixels[order])


def test_enhanced_frames_have_their_own_scales_and_numbers(tmp_path):
    scales = [(1.0, 0.0), (0.5, 0.0), (0.25, 3.0), (2.0, -1.0)]
    pixels = write_enhanced(tmp_path / "a.dcm", ALONG, per_frame_rescale=scales, stack_numbers=True)
    (series,), _ = find_dicom_series([tmp_path / "a.dcm"])
    assert [header.number for header in series.headers] == [4, 3, 2, 1]
    assert [note.code for note in series.notes] == [Code.RESCALE_VARIES]
    slope, intercept = np.array(scales).T[:, :, None, None]
    assert np.array_equal(DicomPlanes(series, range(4)).read(0, 4), pixels * slope + intercept)


def test_enhanced_echoes_are_told_apart_when_asked(tmp_path):
    write_enhanced(tmp_path / "a.dcm", [0, 0, 2, 2, 4, 4], echoes=[1.5, 3.0] * 3)
    (together,), _ = find_dicom_series([tmp_path / "a.dcm"])
    assert len(together.headers) == 6
    series, _ = find_dicom_series([tmp_path / "a.dcm"], ["echo"])
    assert [[header.frame for header in one.headers] for one in series] == [[0, 2, 4], [1, 3, 5]]
    assert [one.key["echo"] for one in series] == ["1.5", "3"]
    assert not any(note.code is Code.SERIES_SPLIT for one in series for note in one.notes)


@pytest.mark.parametrize(
    ("split", "sequence", "inner"),
    [
        ("gradient", "MRDiffusionSequence", ("DiffusionGradientOrientation", [0.6, 0.0, 0.8], [0.6, 0.8, 0.0])),
        ("cardiac-phase", "CardiacSynchronizationSequence", ("NominalPercentageOfCardiacPhase", 35.0, 75.0)),
    ],
)
def test_what_groups_of_frames_state_is_kept_with_their_slices(tmp_path, split, sequence, inner):
    name, *values = inner

    def edit(data):
        for i, group in enumerate(data.PerFrameFunctionalGroupsSequence):
            item = Dataset()
            setattr(item, name, values[i % 2])
            if split == "gradient":
                outer = Dataset()
                outer.DiffusionGradientDirectionSequence = [item]
                item = outer
            setattr(group, sequence, [item])

    write_enhanced(tmp_path / "a.dcm", [0, 0, 2, 2, 4, 4], edit=edit)
    (series,), _ = find_dicom_series([tmp_path / "a.dcm"])
    assert list(series.tags) == [split]
    assert len(set(series.tags[split])) == 2 and series.tags[split][::2] == (series.tags[split][0],) * 3


def test_what_a_frame_states_comes_before_what_all_share(tmp_path):
    def edit(data):
        measures = copy.deepcopy(data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence)
        measures[0].PixelSpacing = ["3", "2"]
        data.PerFrameFunctionalGroupsSequence[2].PixelMeasuresSequence = measures

    write_enhanced(tmp_path / "a.dcm", ALONG, edit=edit)
    spacings = [one.header.pixel_spacing_mm for one in read_dicom(tmp_path / "a.dcm").slices]
    assert spacings == [(0.75, 0.5), (0.75, 0.5), (3.0, 2.0), (0.75, 0.5)]


def test_missing_functional_groups_are_named(tmp_path):
    def edit(data):
        del data.PerFrameFunctionalGroupsSequence[3]
        del data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence

    write_enhanced(tmp_path / "a.dcm", ALONG, edit=edit)
    (series,), _ = find_dicom_series([tmp_path / "a.dcm"])
    assert [header.position_mm is None for header in series.headers] == [False, True, False, True]
    (note,) = series.notes
    assert note.code is Code.TAG_BAD and "a.dcm" in note.text
    assert "PerFrameFunctionalGroupsSequence (5200,9230) describes 3 frames of 4" in note.text


def test_dose_offsets_from_the_position_run_along_the_normal(tmp_path):
    pixels = write_dose(tmp_path / "a.dcm", [0, 3, 6.5], directions=OBLIQUE)
    normal = np.cross(*OBLIQUE)
    expected = [np.array(ORIGIN) + offset * normal for offset in (0, 3, 6.5)]
    assert np.array(_positions(tmp_path / "a.dcm")) == pytest.approx(np.array(expected))
    # Only the offsets, of no and of one decimal, are rounded from plane to plane.
    quanta = np.array([one.header.quantum_mm for one in read_dicom(tmp_path / "a.dcm").slices])
    assert np.abs(quanta) @ np.abs(normal) == pytest.approx(np.array([1.0, 1.0, 0.1]))
    (series,), _ = find_dicom_series([tmp_path / "a.dcm"])
    assert DicomPlanes(series, range(3)).read(0, 3) == pytest.approx(pixels * 0.001, rel=1e-6)


@pytest.mark.parametrize("flipped", [False, True])
def test_dose_offsets_that_begin_with_the_position_are_coordinates(tmp_path, flipped):
    directions = ((1.0, 0, 0), (0, -1.0, 0)) if flipped else ((1.0, 0, 0), (0, 1.0, 0))
    write_dose(tmp_path / "a.dcm", [Z, Z + 3, Z + 6.25], directions=directions)
    assert _positions(tmp_path / "a.dcm") == [(X, Y, Z), (X, Y, Z + 3), (X, Y, Z + 6.25)]
    assert [one.header.quantum_mm for one in read_dicom(tmp_path / "a.dcm").slices][2] == (0, 0, 0.01)


def test_dose_offsets_that_begin_elsewhere_are_distances_with_a_warning(tmp_path):
    write_dose(tmp_path / "a.dcm", [5, 8])
    assert _positions(tmp_path / "a.dcm") == [(X, Y, Z + 5), (X, Y, Z + 8)]
    (problem,) = read_dicom(tmp_path / "a.dcm").problems
    assert problem.code is Code.POSITION_BAD and problem.tag == "GridFrameOffsetVector"


def test_dose_offsets_of_another_count_place_nothing(tmp_path):
    def edit(data):
        data.GridFrameOffsetVector = ["0", "3"]

    write_dose(tmp_path / "a.dcm", [0, 3, 6], edit=edit)
    assert _positions(tmp_path / "a.dcm") == [None] * 3
    (problem,) = read_dicom(tmp_path / "a.dcm").problems
    assert "'0\\\\3'; 3 numbers were expected" in problem.text


@pytest.mark.parametrize("spacing", [4.5, -4.5])
def test_nuclear_slices_lie_at_multiples_of_the_spacing(tmp_path, spacing):
    write_nuclear(tmp_path / "a.dcm", 3, spacing)
    assert _positions(tmp_path / "a.dcm") == [(X, Y, Z + i * spacing) for i in range(3)]


def test_nuclear_slice_vector_gives_the_order(tmp_path):
    def edit(data):
        data.SliceVector = [3, 1, 2]

    write_nuclear(tmp_path / "a.dcm", 3, 4.0, edit=edit)
    assert _positions(tmp_path / "a.dcm") == [(X, Y, Z + 8), (X, Y, Z), (X, Y, Z + 4)]


def test_projections_and_frames_without_geometry_have_no_positions(tmp_path):
    write_nuclear(tmp_path / "a.dcm", 3, 4.0, kind="TOMO")
    write_plain(tmp_path / "b.dcm", 3)
    for name in ("a.dcm", "b.dcm"):
        assert _positions(tmp_path / name) == [None] * 3
    (_, plain), _ = find_dicom_series([tmp_path / "a.dcm", tmp_path / "b.dcm"])
    assert [note.code for note in plain.notes] == [Code.NO_PIXEL_SPACING]
    assert [header.frame for header in plain.headers] == [0, 1, 2]


def _same_series(**tags):
    def edit(data):
        data.SeriesInstanceUID = "1.2.3"
        for keyword, value in tags.items():
            setattr(data, keyword, value)

    return edit


def test_doses_of_one_series_are_volumes_of_their_own(tmp_path):
    for beam, offsets in (("beam 1", [0, 3]), ("beam 2", [0, 3, 6]), ("beam 3", [1.5, 4.5])):
        write_dose(tmp_path / f"{beam}.dcm", offsets, edit=_same_series())
    files = sorted(tmp_path.iterdir())
    series, _ = find_dicom_series(files)
    assert [{header.path.stem for header in one.headers} for one in series] == [{"beam 1"}, {"beam 2"}, {"beam 3"}]
    assert [one.name for one in series] == [f"{file.stem} (series 1), part {k} of 3" for k, file in enumerate(files, 1)]
    for one in series:
        note = next(note for note in one.notes if note.code is Code.SERIES_SPLIT)
        assert "ConcatenationUID" in note.text and "1.2.3" in note.text and "2 + 3 + 2 slices" in note.text
        assert one.key["SOPInstanceUID"] == one.headers[0].instance
    asked, _ = find_dicom_series(files, ["file"])
    assert [len(one.headers) for one in asked] == [2, 3, 2]
    assert not any(note.code is Code.SERIES_SPLIT for one in asked for note in one.notes)
    assert [one.key["file"] for one in asked] == [str(file) for file in files]


def test_files_of_one_concatenation_are_one_volume(tmp_path):
    for k, along in enumerate(([0.0, 2.5], [5.0, 7.5, 10.0])):
        edit = _same_series(ConcatenationUID="1.2.3.4", ConcatenationFrameOffsetNumber=2 * k)
        write_enhanced(tmp_path / f"{k}.dcm", along, edit=edit)
    files = sorted(tmp_path.iterdir())
    (series,), _ = find_dicom_series(files)
    assert series.notes == () and series.key["ConcatenationUID"] == "1.2.3.4"
    assert [header.number for header in series.headers] == [1, 2, 3, 4, 5]
    assert [header.position_mm[2] for header in series.headers] == [Z, Z + 2.5, Z + 5, Z + 7.5, Z + 10]
    assert [len(one.headers) for one in find_dicom_series(files, ["file"])[0]] == [2, 3]


def test_files_of_one_frame_each_are_one_volume(tmp_path):
    for k in range(4):
        write_enhanced(tmp_path / f"{k}.dcm", [2.5 * k], edit=_same_series())
    (series,), _ = find_dicom_series(sorted(tmp_path.iterdir()))
    assert len(series.headers) == 4 and series.notes == ()


def test_copies_of_a_file_of_frames_are_one_volume(tmp_path):
    write_enhanced(tmp_path / "a.dcm", ALONG)
    shutil.copy(tmp_path / "a.dcm", tmp_path / "b.dcm")
    (series,), _ = find_dicom_series(sorted(tmp_path.iterdir()))
    assert len(series.headers) == 8 and len({(one.instance, one.frame) for one in series.headers}) == 4


def _ultrasound(data):
    """Positions in the frame of reference of the volume, as Enhanced US Volume has them."""
    data.SOPClassUID, data.Modality = EnhancedUSVolumeStorage, "US"
    shared = data.SharedFunctionalGroupsSequence[0]
    (orientation,) = shared.PlaneOrientationSequence
    item = Dataset()
    item.ImageOrientationVolume = [float(v) for v in orientation.ImageOrientationPatient]
    shared.PlaneOrientationVolumeSequence = [item]
    del shared.PlaneOrientationSequence
    for group in data.PerFrameFunctionalGroupsSequence:
        item = Dataset()
        item.ImagePositionVolume = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        group.PlanePositionVolumeSequence = [item]
        del group.PlanePositionSequence


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_ultrasound_frames_have_positions_in_their_volume(tmp_path, syntax):
    write_enhanced(tmp_path / "a.dcm", ALONG, directions=OBLIQUE, transfer_syntax=syntax, edit=_ultrasound)
    (series,), _ = find_dicom_series([tmp_path / "a.dcm"])
    for i, header in enumerate(series.headers):
        assert header.position_mm == pytest.approx(np.array(ORIGIN) + ALONG[i] * np.cross(*OBLIQUE))
        assert header.row_direction == pytest.approx(OBLIQUE[0])
        assert header.quantum_mm == (0, 0, 0) and header.pixel_spacing_mm == (0.75, 0.5)
    (note,) = series.notes
    assert note.code is Code.VOLUME_FRAME and "a.dcm: ImagePositionVolume (0020,9301)" in note.text


def test_positions_in_the_body_come_before_those_in_the_volume(tmp_path):
    def edit(data):
        for group in data.PerFrameFunctionalGroupsSequence:
            item = Dataset()
            item.ImagePositionVolume = [1.0, 2.0, 3.0]
            group.PlanePositionVolumeSequence = [item]

    write_enhanced(tmp_path / "a.dcm", ALONG, edit=edit)
    assert _positions(tmp_path / "a.dcm") == [(X, Y, Z + t) for t in ALONG]


def test_a_real_dose_grid():
    path = get_testdata_file("rtdose.dcm", download=False)
    (series,), notes = find_dicom_series([path])
    assert not notes and len(series.headers) == 15
    z = [header.position_mm[2] for header in series.headers]
    assert z == pytest.approx(-761.87 + 5 * np.arange(15))
    assert {header.pixels.slope for header in series.headers} == {1e-6}
