"""Slices and what parts of them make."""

from __future__ import annotations

import numpy as np

from gpustitch.slices.parts.lying import Lying, members_of


def test_members_are_in_order_and_labels_as_they_first_come():
    lying = Lying(np.array([3.0, 1.0, 2.0, 0.0, 5.0]), 0.0, None, 0.01)
    assert [members.tolist() for members in members_of(lying, ["b", "a", "b", "a", "a"])] == [[2, 0], [3, 1, 4]]


def test_a_part_has_a_slice_at_each_place():
    along = np.concatenate([2.0 * np.arange(9), 2.0 * np.arange(9)])
    lying = Lying(along, 0.0, np.arange(18), 0.01, stated_mm=2.0)
    assert lying.is_doubled and lying.part(lying.order) is None and lying.part(np.array([4])) is None
    part = lying.part(np.arange(9))
    assert (part.fit.spacing_class, part.start_mm, part.stop_mm) == ("UNIFORM", 0.0, 16.0)
    assert lying.states(part.fit.spacing_mm) and not lying.states(1.0)
    # Volumes in time lie alike: one fit serves them all.
    assert lying.part(np.arange(9, 18)).fit is part.fit
