"""Places of slices whose files do not state positions."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.demo.series.dicom import write_series
from gpustitch.slices.verdict.stage import judge

UNPLACED = {"origin_mm": None, "row_and_column": None, "spacing_between": 3.0}


@pytest.mark.parametrize("step", [1, 2, -1])
def test_places_of_missing_numbers_are_left_free(tmp_path, step):
    numbers = np.delete(np.arange(30), [4, 11, 12]) * step + 100
    write_series(tmp_path, np.arange(27), numbers=numbers.tolist(), **UNPLACED)
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, stack.spacing_mm[0], stack.fit.n_output) == ("MISSING", 3.0, 30)
    assert {str(note.code) for note in stack.notes} == {"SPACING_TAG_USED", "SLICES_MISSING", "FILES_LOST"}


@pytest.mark.parametrize("numbers", [[*range(5), *range(90, 95)], [0, 1, 2, 3, 4, 7, 9, 12, 13, 20], [None] * 10])
def test_numbers_that_count_no_slices_leave_nothing_free(tmp_path, numbers):
    write_series(tmp_path, np.arange(10), numbers=numbers, **UNPLACED)
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, stack.fit.n_output) == ("UNIFORM", 10) and stack.spacing_mm[0] == 3.0
