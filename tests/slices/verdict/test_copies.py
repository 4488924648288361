"""Of copies of a slice, the one that is whole is kept."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.demo.series.dicom import write_series
from gpustitch.slices.verdict.stage import judge


@pytest.mark.parametrize("name", ["A.dcm", "Z.dcm"])
def test_a_copy_that_was_cut_is_left_out_wherever_it_is(tmp_path, name):
    paths = write_series(tmp_path, np.arange(10) * 2.0)
    (tmp_path / name).write_bytes(paths[4].read_bytes()[:-20])
    (stack,) = judge([tmp_path])
    assert [stack.series.headers[i].path for i in stack.order] == paths
    (copies,) = (note.text for note in stack.notes if note.code == "SAME_INSTANCE")
    assert copies.endswith(f"{name} of IM0005.dcm")
