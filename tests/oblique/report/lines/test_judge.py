"""What is said of lines in a wrong order."""

from __future__ import annotations

from gpustitch.oblique.report.lines.judge import lines
from gpustitch.oblique.report.lines.order import Order


def test_tiles_are_named_with_what_is_wrong() -> None:
    well = {"a": Order(), "b": Order()}
    assert lines(well).state == "pass" and lines({}).state == "not measured"
    check = lines({**well, "c": Order(first_row=7), "d": Order(first_column=2), "e": Order(is_cut_wrong=True)})
    assert check.state == "fail" and check.value == 3 and "3 of 5 tiles" in check.reason
    assert "c: row 7 is the first one" in check.reason and "d: column 2" in check.reason
    assert "e: each line ends where the next one begins" in check.reason
