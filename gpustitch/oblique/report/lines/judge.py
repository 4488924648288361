"""What the order of lines says of how frames were read."""

from __future__ import annotations

from collections.abc import Mapping

from gpustitch.oblique.report.check import Check
from gpustitch.oblique.report.lines.order import Order
from gpustitch.running.progress import listed

_NAMED = 4
_NAME = "rows and columns"


def lines(orders: Mapping[str, Order]) -> Check:
    """Whether rows and columns of tiles, by name, are those of the camera, in its order."""
    if not orders:
        return Check(_NAME, "not measured", "no raw tile can be read", helps="`channel`")
    told = [
        f"{tile}: {kind} {first} is the first one in truth"
        for tile, order in orders.items()
        for kind, first in (("row", order.first_row), ("column", order.first_column))
        if first is not None
    ]
    told += [
        f"{tile}: each line ends where the next one begins" for tile, order in orders.items() if order.is_cut_wrong
    ]
    if not told:
        text = f"nothing shows that rows or columns of {len(orders)} tiles are shifted round, or cut at a wrong length"
        return Check(_NAME, "pass", text, 0.0, "tiles", 0)
    n = sum(order != Order() for order in orders.values())
    text = f"frames of {n} of {len(orders)} tiles are read at a wrong place ({listed(told, _NAMED)})"
    helps = "record or copy the files again: what they say of their frames' size or place is wrong"
    return Check(_NAME, "fail", text, float(n), "tiles", 0, helps)
