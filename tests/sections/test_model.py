"""Options of the estimate: presets."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from gpustitch.errors import ParameterError
from gpustitch.sections.model import EstimateOptions


def test_fiji_is_the_default():
    for options in (EstimateOptions(), EstimateOptions(inner_iterations=3)):
        assert options.with_preset("fiji") == options


def test_trakem2_has_no_least_thickness_unless_one_is_asked_for():
    """And nothing else is other than asked for."""
    options = EstimateOptions(inner_iterations=3, max_lag=7)
    found = options.with_preset("trakem2")
    assert found.minimum_section_thickness == 0 < options.minimum_section_thickness
    others = [field.name for field in fields(options) if field.name != "minimum_section_thickness"]
    assert all(getattr(found, name) == getattr(options, name) for name in others)
    asked = replace(options, minimum_section_thickness=0.2)
    assert asked.with_preset("trakem2") == asked


def test_another_preset_is_refused():
    with pytest.raises(ParameterError, match="`preset` is trekem2"):
        EstimateOptions().with_preset("trekem2")  # type: ignore[arg-type]
