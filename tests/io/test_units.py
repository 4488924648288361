"""Units of length, as image files name them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.io.units import length_of, mm_per, spacing_of, um_per
from gpustitch.model import Spacing

UNITS = {
    "pm": 1e-6, "nm": 1e-3, "um": 1.0, "µm": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6,
    "inch": 25400.0, "in": 25400.0, "ft": 304800.0, "thou": 25.4, "nanometer": 1e-3, "micrometer": 1.0,
    "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6, "angstrom": 1e-4,
}  # fmt: skip
LENGTHS = st.floats(1e-9, 1e9)


@settings(deadline=None)
@given(st.sampled_from(sorted(UNITS)), st.text(" \t\0", max_size=3), st.sampled_from([str, str.upper, str.title]))
def test_capitals_spaces_and_plurals_do_not_matter(name, space, write):
    written = name if name == "µm" else write(name)  # the capital of a micro sign is a Greek M
    assert um_per(f"{space}{written}{space}") == UNITS[name]
    assert mm_per(written) == UNITS[name] / 1e3
    if len(name) > 4:
        assert um_per(write(name + "s")) == um_per(write(name.replace("meter", "metre"))) == UNITS[name]


@pytest.mark.parametrize(
    "name", ["µm", "μm", "\\u00B5m", "\\u00b5m", "\\u03BCm", "Âµm", "\ufffdm", "µ", "Microns", "MICROMETRES", "um\0"]
)
def test_a_micron_by_its_many_names(name):
    assert um_per(name) == 1.0


@pytest.mark.parametrize("name", ["\\u00C5", "\u212b", "\u00c5", "Angstroms"])
def test_an_angstrom(name):
    assert um_per(name) == 1e-4


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_positive_length_or_none(text):
    assert um_per(text) is None or um_per(text) > 0


@pytest.mark.parametrize(
    "name", ["", " ", "pixel", "pixels", "px", "parsec", "reference frame", "s", "\\u00B5", None, 3]
)
def test_what_is_no_length(name):
    assert um_per(name) == (1.0 if name == "\\u00B5" else None)
    assert name == "\\u00B5" or (mm_per(name) is None and length_of(1.0, name) is None)


@settings(deadline=None)
@given(LENGTHS, st.sampled_from(sorted(UNITS)), st.booleans(), st.booleans())
def test_lengths_of_numbers_and_of_their_text(length, unit, negative, as_text):
    given_length = -length if negative else length
    assert length_of(repr(given_length) if as_text else given_length, unit) == pytest.approx(length * UNITS[unit])


@pytest.mark.parametrize("text", ["0", "-0.0", "nan", "inf", "-inf", "1e400", "", "1,5", "one", None, [1.0]])
def test_numbers_that_are_no_lengths(text):
    assert length_of(text, "um") is None


@settings(deadline=None)
@given(*[st.none() | st.floats()] * 3)
def test_a_spacing_is_whole_or_nothing(z, y, x):
    known = all(v is not None and 1e-12 <= v <= 1e12 for v in (z, y, x))
    assert spacing_of(z, y, x) == (Spacing(z, y, x) if known else None)
