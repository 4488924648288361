from __future__ import annotations

import math

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.io.write.pyramid_layout import block_shape_of, check_block, level_shape, pyramid_bytes
from gpustitch.model import Spacing, level_factors

EVEN = level_factors(Spacing(1, 1, 1), 16)


def test_pyramid_bytes():
    assert pyramid_bytes((5, 4, 3), np.uint16, EVEN[:3]) == 2 * (60 + 3 * 2 * 2 + 2)
    assert level_shape((5, 4, 3), EVEN[1]) == (3, 2, 2)
    assert math.prod(level_shape((1, 1, 1), EVEN[9])) == 1


def test_a_block_that_would_not_fit_in_memory_is_refused() -> None:
    block = block_shape_of(EVEN[:7], (100, 100, 100))
    assert block == (1600, 1600, 1600)
    with pytest.raises(ParameterError, match=r"8\.2 GB"):
        check_block(block, (3000, 3000, 3000), np.uint16)
    check_block(block, (300, 300, 300), np.uint16)
    check_block(block_shape_of(EVEN[:7]), (10**6, 10**6, 10**6), np.uint16)
