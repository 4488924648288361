"""Files of similarities: told from planes, written, read back, repaired where stated, refused otherwise."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, MosaicError, OutputExistsError, ParameterError
from gpustitch.sections.similarity.bands import full_matrix
from gpustitch.sections.similarity.file import is_similarity_file, read_pair_weights, read_similarity, write_similarity

N, MAX_LAG = 9, 3


@pytest.fixture
def strip():
    rng = np.random.default_rng(0)
    strip = np.exp(-0.2 * np.arange(MAX_LAG + 1)) * rng.uniform(0.9, 1, (N, MAX_LAG + 1))
    strip[:, 0] = 1
    strip[np.add.outer(np.arange(N), np.arange(MAX_LAG + 1)) >= N] = np.nan
    return strip


def test_a_half_strip_is_read_back_exactly_with_where_it_came_from(strip, tmp_path):
    path = tmp_path / "s.npz"
    write_similarity(path, strip, provenance={"program": "gpustitch"})
    found = read_similarity(path)
    assert found.is_half_strip and (found.number, found.max_lag) == (N, MAX_LAG)
    np.testing.assert_array_equal(found.values, strip)
    with np.load(path) as archive:
        assert json.loads(str(archive["provenance"])) == {"schema": 2, "program": "gpustitch"}
        assert archive["schema"] == 2
    assert is_similarity_file(path)


def test_a_tiff_holds_the_matrix(strip, tmp_path):
    path = tmp_path / "s.tif"
    write_similarity(path, strip)
    found = read_similarity(path)
    assert not found.is_half_strip
    np.testing.assert_array_equal(found.values, full_matrix(strip).astype(np.float32))
    assert is_similarity_file(path)


@pytest.mark.parametrize("suffix", [".csv", ".TXT", ".tsv", ".mat"])
def test_a_table_is_refused_with_what_is_read(strip, tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    assert not is_similarity_file(path)  # what is not there is told by what opens it
    np.savetxt(path, full_matrix(strip), delimiter=",")
    with pytest.raises(ParameterError, match=r"\.npz with 'matrix' or 'half_strip'"):
        is_similarity_file(path)


@pytest.mark.parametrize("suffix", ["npz", "npy", "tif"])
@pytest.mark.parametrize("is_half_strip", [False, True])
def test_matrices_and_half_strips_of_others(strip, tmp_path, suffix, is_half_strip):
    path, values = tmp_path / f"s.{suffix}", strip if is_half_strip else full_matrix(strip)
    if suffix == "npz":
        np.savez(path, **{"half_strip" if is_half_strip else "matrix": values})
    elif suffix == "npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values.astype(np.float32))
    found = read_similarity(path)
    assert found.is_half_strip == is_half_strip and is_similarity_file(path)
    np.testing.assert_allclose(found.values, values, rtol=1e-7)


def test_planes_are_no_similarities(tmp_path):
    np.save(tmp_path / "planes.npy", np.zeros((4, 5, 5)))
    tifffile.imwrite(tmp_path / "planes.tif", np.zeros((4, 5, 5), np.uint16), photometric="minisblack")
    tifffile.imwrite(tmp_path / "imagej.tif", np.zeros((4, 5, 5), np.uint16), imagej=True, truncate=True)
    files = [tmp_path / name for name in ("planes.npy", "planes.tif", "imagej.tif")]
    for path in (*files, tmp_path, tmp_path / "nothing", tmp_path / "*.tif"):
        assert not is_similarity_file(path)


def test_nan_on_the_diagonal_becomes_1_where_a_section_has_similarities(strip, tmp_path):
    matrix = full_matrix(strip)
    matrix[4, :] = matrix[:, 4] = np.nan
    matrix[6, 6] = np.nan
    np.savez(tmp_path / "s.npz", matrix=matrix)
    found = read_similarity(tmp_path / "s.npz")
    assert found.repaired == (6,)
    assert found.values[6, 6] == 1 and np.isnan(found.values[4, 4])
    strip[8, 0] = np.nan
    np.savez(tmp_path / "h.npz", half_strip=strip)
    assert read_similarity(tmp_path / "h.npz").repaired == (8,)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"matrix": np.ones((4, 5))}, "square, not 4 x 5"),
        ({"half_strip": np.ones((4, 5))}, "neither"),
        ({"half_strip": np.ones((5, 3))}, "neither"),
        ({"half_strip": np.full((5, 1), np.nan)}, "neither"),
        ({"matrix": np.ones((2, 2, 2))}, "shape"),
        ({"matrix": np.array([["a"]])}, "<U1"),
        ({"matrix": np.ones((0, 0))}, "shape"),
        ({"other": np.ones((4, 4))}, "holds other; an array 'matrix'"),
        ({"matrix": np.where(np.eye(4) > 0, 1, np.inf)}, "infinite"),
        ({"matrix": 1 - np.eye(4)}, "distances"),
    ],
)
def test_what_is_no_similarity_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(DamagedInputError, match=said):
        read_similarity(tmp_path / "s.npz")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputMissingError):
        read_similarity(tmp_path / "none.npz")
    for name in ("s.npz", "s.tif", "s.npy"):
        (tmp_path / name).write_bytes(b"nothing of the sort")
        with pytest.raises(DamagedInputError):
            read_similarity(tmp_path / name)
    np.savez(tmp_path / "pickled.npz", matrix=np.array([{}], object))
    with pytest.raises(DamagedInputError):
        read_similarity(tmp_path / "pickled.npz")


def test_outputs_of_other_kinds_or_too_many_values_are_refused(strip, tmp_path):
    with pytest.raises(ParameterError, match="written as"):
        write_similarity(tmp_path / "s.csv", strip)
    with pytest.raises(ParameterError, match=r"1\.6 GB"):
        write_similarity(tmp_path / "s.tif", np.ones((20000, 2)))
    assert not list(tmp_path.iterdir())


def test_similarities_above_one_are_refused(tmp_path):
    np.save(tmp_path / "s.npy", 100 * np.exp(-np.abs(np.subtract.outer(np.arange(9), np.arange(9))) / 4))
    with pytest.raises(DamagedInputError, match="similarities up to 100; correlations"):
        read_similarity(tmp_path / "s.npy")


def test_text_named_npz(tmp_path):
    (tmp_path / "s.npz").write_text("no archive")
    with pytest.raises(DamagedInputError, match=r"is no \.npz, or is cut short"):
        read_similarity(tmp_path / "s.npz")


def test_where_a_tiff_comes_from_is_written_beside_it(tmp_path):
    write_similarity(tmp_path / "s.tif", np.ones((4, 2)), provenance={"range": 1})
    assert json.loads((tmp_path / "s.tif.json").read_text()) == {"schema": 2, "range": 1}
    (tmp_path / "t.tif.json").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"t\.tif\.json"):
        write_similarity(tmp_path / "t.tif", np.ones((4, 2)), provenance={"range": 1})
    assert not (tmp_path / "t.tif").exists()


def test_similarities_of_a_later_version_are_refused(strip, tmp_path):
    np.savez(tmp_path / "s.npz", half_strip=strip, schema=np.array(3))
    with pytest.raises(DamagedInputError, match="of schema 3"):
        read_similarity(tmp_path / "s.npz")


def test_weights_of_pairs(tmp_path):
    weights = np.random.default_rng(0).uniform(0, 2, (6, 6))
    weights += weights.T
    np.savez(tmp_path / "w.npz", matrix=weights)
    np.testing.assert_array_equal(read_pair_weights(tmp_path / "w.npz", 6), weights)
    tifffile.imwrite(tmp_path / "w.tif", weights.astype(np.float32))
    np.testing.assert_allclose(read_pair_weights(tmp_path / "w.tif", 6), weights, rtol=1e-6)
    strip = np.full((6, 3), np.nan)
    for d in range(3):
        strip[: 6 - d, d] = np.diagonal(weights, d)
    np.savez(tmp_path / "h.npz", half_strip=strip)
    near = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) <= 2
    np.testing.assert_array_equal(read_pair_weights(tmp_path / "h.npz", 6), np.where(near, weights, 1))
    with pytest.raises(MosaicError, match="weights of 6 sections; there are 7"):
        read_pair_weights(tmp_path / "w.npz", 7)
    for bad, match in ((-1, "at least 0"), (np.nan, "at least 0"), (np.inf, "finite"), (5, "not symmetric")):
        changed = weights.copy()
        changed[1, 2] = bad
        np.savez(tmp_path / "bad.npz", matrix=changed)
        with pytest.raises(DamagedInputError, match=match):
            read_pair_weights(tmp_path / "bad.npz", 6)


def full_strip(strip, beyond):
    """``[i, MAX_LAG + d]`` of i and i + d, from a half strip."""
    full = np.full((len(strip), 2 * MAX_LAG + 1), beyond)
    for d in range(MAX_LAG + 1):
        full[: len(strip) - d, MAX_LAG + d] = full[d:, MAX_LAG - d] = strip[: len(strip) - d, d]
    return full


@pytest.mark.parametrize("beyond", [0.0, np.nan])
@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_full_strips_are_read_as_half_strips(strip, tmp_path, suffix, beyond):
    path, values = tmp_path / f"full.{suffix}", full_strip(strip, beyond)
    np.save(path, values) if suffix == "npy" else tifffile.imwrite(path, values.astype(np.float32))
    found = read_similarity(path)
    assert found.is_half_strip and found.max_lag == MAX_LAG
    np.testing.assert_allclose(found.values, strip, rtol=1e-6)


def test_a_full_strip_that_is_not_symmetric_or_not_empty_beyond_the_ends_is_refused(strip, tmp_path):
    for where in ((4, MAX_LAG + 1), (0, 0), (N - 1, 2 * MAX_LAG)):
        values = full_strip(strip, np.nan)
        values[where] = 0.5
        np.save(tmp_path / "full.npy", values)
        with pytest.raises(DamagedInputError, match="neither a square matrix nor"):
            read_similarity(tmp_path / "full.npy")


def test_what_may_be_a_full_strip_or_a_half_one_is_refused(tmp_path):
    """Nothing but NaN and the diagonal of one pair: either may be meant."""
    values = np.full((5, 3), np.nan)
    values[2, 1] = 0.5
    np.save(tmp_path / "s.npy", values)
    with pytest.raises(DamagedInputError, match="may be a full strip or not"):
        read_similarity(tmp_path / "s.npy")
    values = np.full((5, 3), np.nan)
    np.savez(tmp_path / "s.npz", half_strip=values)
    assert read_similarity(tmp_path / "s.npz").is_half_strip


@pytest.mark.parametrize("reach", [1, 3, 7])
def test_zeros_beyond_the_band_of_a_matrix_are_no_similarities(tmp_path, reach):
    distance = np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    matrix = np.where(distance > reach, 0.0, np.exp(-distance / 5))
    matrix[2, 3] = matrix[3, 2] = 0
    np.savez(tmp_path / "s.npz", matrix=matrix)
    np.testing.assert_array_equal(
        read_similarity(tmp_path / "s.npz").values, np.where(distance > reach, np.nan, matrix)
    )


def test_zeros_within_a_matrix_stay(tmp_path):
    """Of a whole matrix, and of sections that resemble no other."""
    distance = np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    matrix = np.exp(-distance / 5)
    matrix[4, :4] = matrix[:4, 4] = 0
    for values in (matrix, np.eye(N)):
        np.savez(tmp_path / "s.npz", matrix=values)
        np.testing.assert_array_equal(read_similarity(tmp_path / "s.npz").values, values)


def test_zeros_beyond_the_end_of_a_half_strip_are_none(strip, tmp_path):
    np.savez(tmp_path / "s.npz", half_strip=np.nan_to_num(strip))
    np.testing.assert_array_equal(read_similarity(tmp_path / "s.npz").values, strip)
