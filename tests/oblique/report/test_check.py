"""Checks and the verdict on all of them."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from gpustitch.oblique.report.check import Check, State, summary, verdict

ORDER: tuple[State, ...] = ("fail", "warn", "pass", "not measured")


@pytest.mark.parametrize("states", itertools.product(ORDER, repeat=2))
def test_the_verdict_is_the_worst_and_not_measured_counts_for_nothing(states: tuple[State, State]) -> None:
    checks = [Check(str(n), state, "because") for n, state in enumerate(states)]
    assert verdict(checks) == min(states, key=ORDER.index)
    assert verdict([]) == "not measured"


def test_the_summary_counts() -> None:
    checks = [Check("a", "pass", ""), Check("b", "fail", ""), Check("c", "pass", ""), Check("d", "not measured", "")]
    assert summary(checks) == "4 checks: 1 failed, 2 passed, 1 not measured"


def test_the_record_is_json() -> None:
    check = Check("a", "warn", "because", math.pi, "um", 3.0, "`flat`")
    read = json.loads(json.dumps(check.record))
    assert read["value"] == pytest.approx(math.pi, rel=1e-5)
    assert set(read) == {"name", "state", "value", "unit", "limit", "reason", "helps"}
