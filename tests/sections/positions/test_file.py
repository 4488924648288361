"""Tables of positions: written, read back, those of others, and what is refused."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from gpustitch.errors import DamagedInputError, InputMissingError, OutputExistsError, ParameterError
from gpustitch.sections.positions.file import COLUMNS, ZPositions, read_z_positions, write_z_positions

POSITIONS = np.array([0.0, 2.5, 1.0 + 1 / 3, 4.0, 3.5])
ORDER = np.array([0, 2, 1, 4, 3])


def some(**changed):
    given = {
        "positions": POSITIONS,
        "order": ORDER,
        "uncertainty": np.array([0.1, np.nan, 0.2, 0.3, 1e-9]),
        "weights": np.array([1.0, 0.0, 0.5, 1.0, 0.25]),
    }
    return ZPositions(**(given | changed))


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "z.csv"
        path.write_text(text)
        return path

    return write


def test_what_is_written_is_read_back_exactly(tmp_path):
    write_z_positions(tmp_path / "z.csv", some())
    z = read_z_positions(tmp_path / "z.csv")
    for name in ("positions", "order", "uncertainty", "weights"):
        np.testing.assert_array_equal(getattr(z, name), getattr(some(), name))
    assert z.order.dtype == np.int64


def test_columns_are_those_of_the_plugin_then_two_more(tmp_path):
    write_z_positions(tmp_path / "z.csv", some())
    with (tmp_path / "z.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert rows[2] == ["1", "2.5", repr(float(POSITIONS[2])), "2", "2", "nan", "0.0"]
    assert [int(row[4]) for row in rows[1:]] == ORDER.tolist()
    assert [int(row[3]) for row in rows[1:]] == np.argsort(ORDER).tolist()


def test_nothing_is_overwritten_unless_asked(tmp_path):
    write_z_positions(tmp_path / "z.csv", some())
    with pytest.raises(OutputExistsError):
        write_z_positions(tmp_path / "z.csv", some())
    write_z_positions(tmp_path / "z.csv", some(), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["z.csv"]


def test_names_decide_not_the_order_of_columns_or_rows(table):
    z = read_z_positions(table("weight,Mapping,z-index\n0.5,3.0,2\n1,0.0,0\n1,3.0,1\n"))
    assert z.positions.tolist() == [0, 3, 3]
    assert z.order.tolist() == [0, 1, 2]
    assert z.weights.tolist() == [1, 1, 0.5]
    assert np.isnan(z.uncertainty).all()


def test_the_five_columns_of_the_plugin_without_names(table):
    z = read_z_positions(table("0,0.0,0.0,0,0\n1,2.0,1.0,2,2\n2,1.0,2.0,1,1\n"))
    assert z.positions.tolist() == [0, 2, 1]
    assert z.order.tolist() == [0, 2, 1]


def test_permutations_are_taken_either_way_round(table):
    positions, order = [20.0, 0.0, 10.0, 30.0], [1, 2, 0, 3]
    rank = np.argsort(order).tolist()
    for forward, backward in ((rank, order), (order, rank)):
        rows = zip(range(4), positions, sorted(positions), forward, backward, strict=True)
        text = "\n".join(",".join(map(str, row)) for row in rows)
        assert read_z_positions(table(text)).order.tolist() == order


def test_equal_positions_keep_the_order_that_is_stated(tmp_path):
    twice = some(positions=np.array([0.0, 1.0, 1.0, 2.0, 3.0]), order=np.array([0, 2, 1, 3, 4]))
    write_z_positions(tmp_path / "z.csv", twice)
    assert read_z_positions(tmp_path / "z.csv").order.tolist() == [0, 2, 1, 3, 4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("z-index,mapping\n", "no positions"),
        ("z-index,position\n0,1\n", "no column mapping"),
        ("z-index;mapping\n0;0,5\n1;1,5\n", "with commas in place of semicolons, and points in numbers"),
        ("0;0,5\n1;1,5\n", "with commas in place of semicolons"),
        ("z-index\tmapping\n0\t0.5\n", "with commas in place of tabs"),
        ("0,1,2\n", "3 columns without names"),
        ("z-index,mapping\n0,0\n1,nan\n", r"\[1\] are not finite"),
        ("z-index,mapping\n0,0\n1,one\n", "row 1"),
        ("z-index,mapping\n0,0\n1\n", "row 1"),
        ("z-index,mapping\n0,0\n2,1\n", "from 0 to 1"),
        ("z-index,mapping\n0,0\n0,1\n", "each once"),
        ("z-index,mapping,backward permutation\n0,1,0\n1,0,1\n", "neither permutation"),
        ("z-index,mapping,backward permutation\n0,0,0\n1,1,0.5\n", "neither permutation"),
        ("\x00\x01", "row|column"),
    ],
)
def test_other_tables_are_refused(table, text, said):
    with pytest.raises(DamagedInputError, match=said):
        read_z_positions(table(text))


def test_no_file(tmp_path):
    with pytest.raises(InputMissingError):
        read_z_positions(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"positions": np.array([0.0, 2.5, np.nan, 4.0, 3.5])}, r"\[2\] are not finite"),
        ({"order": np.arange(5)}, "order"),
        ({"weights": np.ones(4)}, "one length"),
    ],
)
def test_no_table_is_made_of_what_would_mislead(changed, said):
    with pytest.raises(ParameterError, match=said):
        some(**changed)
