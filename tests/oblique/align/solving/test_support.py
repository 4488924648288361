from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.align.solving.support import supports

PAIRS = [tuple("abcdef"[i] for i in pair) for pair in itertools.combinations(range(6), 2)]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], "stage stage stage stage"),
        (["ab"], "link link stage stage"),
        (["ab", "ba"], "link link stage stage"),
        (["ab", "bc", "ca"], "loop loop loop stage"),
        (["ab", "bc", "ca", "cd"], "loop loop loop link"),
        (["aa"], "stage stage stage stage"),
    ],
)
def test_what_holds_each_tile(pairs: list[str], expected: str) -> None:
    assert supports("abcd", [(p[0], p[1]) for p in pairs]) == dict(zip("abcd", expected.split(), strict=True))


def groups(pairs: list[tuple[str, ...]]) -> int:
    group = {name: {name} for name in "abcdef"}
    for a, b in pairs:
        joined = group[a] | group[b]
        group.update(dict.fromkeys(joined, joined))
    return len({frozenset(members) for members in group.values()})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PAIRS), unique=True))
def test_a_tile_in_a_loop_has_a_link_without_which_nothing_falls_apart(pairs: list[tuple[str, ...]]) -> None:
    for name, support in supports("abcdef", [(a, b) for a, b in pairs]).items():
        own = [p for p in pairs if name in p]
        spare = any(groups([p for p in pairs if p != link]) == groups(pairs) for link in own)
        assert support == ("loop" if spare else "link" if own else "stage")
