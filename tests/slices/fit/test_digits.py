"""What digits of written numbers leave open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.slices.fit.digits import plain_quanta, quanta_by_digits, quantum_of, single_errors
from tests.slices.drawn_digits import STYLES, quantum_of_text


def written(values, style):
    """Numbers as a style writes them, and the values of their last decimals."""
    texts = [STYLES[style](v) for v in values]
    return np.array([float(text) for text in texts]), np.array([quantum_of_text(text) for text in texts])


@given(st.integers(0, 9999), st.sampled_from(["%.5g", "%.6g", "%.7g", "8 characters"]))
def test_no_number_of_so_many_digits_is_further_off_than_half_its_last_one(seed, style):
    rng = np.random.default_rng(seed)
    true = np.sort(rng.uniform(-1, 1, 60) * 10 ** rng.uniform(0, 4))
    values, quanta = written(true, style)
    last = quanta_by_digits(quanta, values)
    assert (np.abs(values - true) <= last / 2 * (1 + 1e-6) + 1e-12 * np.abs(true)).all()
    assert (last <= np.maximum(quanta, quanta.min())).all()


@given(st.integers(0, 9999), st.integers(0, 5))
def test_numbers_of_so_many_decimals_are_as_fine_as_the_finest(seed, decimals):
    """But for the greatest, where no number of their size shows its last decimal."""
    true = np.random.default_rng(seed).uniform(100, 999, 60)
    texts = [f"{v:.{decimals}f}" for v in true]
    values = np.array([float(text) for text in texts])
    last = quanta_by_digits(np.array([quantum_of_text(f"{v:.12g}") for v in values]), values)
    assert (last == pytest.approx(10.0**-decimals)) if decimals else (last <= 1).all()


def test_zeros_at_the_end_do_not_hide_digits():
    values = np.array([99.5, 99.75, 100.0, 100.25, 1000.0])
    assert quanta_by_digits(np.array([0.1, 0.01, 1.0, 0.01, 1.0]), values).tolist() == [0.01, 0.01, 0.01, 0.01, 0.1]


def test_a_single_negative_number_is_no_licence():
    values = np.array([-5.0, 1.251, 3.752, 6.253])
    assert quanta_by_digits(np.array([1.0, 1e-3, 1e-3, 1e-3]), values)[0] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("value", "quantum"),
    [(0.30000000000000004, 0.1), (1100.4, 0.1), (-250.0, 1), (1 / 3, 1e-12), (0.0, 1), (2e-7, 1e-7)],
)
def test_noise_of_binary_numbers_is_no_decimal(value, quantum):
    assert quantum_of(value) == pytest.approx(min(quantum, 1.0) if value != -250 else 10.0)
    assert plain_quanta(np.array([quantum_of_text(repr(value))]), np.array([value]))[0] <= 1.0


@given(st.integers(0, 9999), st.sampled_from(["float32", "float32 as double"]))
def test_numbers_of_32_bits_are_known(seed, style):
    rng = np.random.default_rng(seed)
    true = rng.uniform(-1, 1, 40) * 10 ** rng.uniform(0, 4)
    values, quanta = written(true, style)
    errors = single_errors(quanta, values)
    assert (np.abs(values - true) <= errors * (1 + 1e-9)).all()
    # As few digits as tell numbers of 32 bits apart may be off by a step of them, all digits by half of one.
    step = np.spacing(np.abs(values).astype(np.float32))
    np.testing.assert_array_equal(errors, step if style == "float32" else step / 2)


@given(st.integers(0, 9999), st.sampled_from(["%.6g", "%.3f", "%.9f"]))
def test_other_numbers_are_none_of_32_bits(seed, style):
    true = np.random.default_rng(seed).uniform(100, 900, 40)
    texts = [style % v for v in true]
    assert not single_errors(np.array([quantum_of_text(t) for t in texts]), np.array([float(t) for t in texts])).any()
