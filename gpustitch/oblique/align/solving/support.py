"""What holds each tile in place: links that close a loop, links that close none, or the stage alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpustitch.model import Support


def supports(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> dict[str, Support]:
    """The support of each tile, from the pairs that accepted links join; two links of one pair close no loop."""
    beside: dict[str, set[str]] = {name: set() for name in names}
    for a, b in pairs:
        if a != b:
            beside[a].add(b)
            beside[b].add(a)
    bridges = _bridges(beside)
    found: dict[str, Support] = {}
    for name in names:
        closes = any(frozenset((name, other)) not in bridges for other in beside[name])
        found[name] = "loop" if closes else "link" if beside[name] else "stage"
    return found


def _bridges(beside: dict[str, set[str]]) -> set[frozenset[str]]:
    """Pairs without which fewer tiles would hang together: they are in no loop."""
    reached: dict[str, int] = {}
    lowest: dict[str, int] = {}
    bridges = set()
    for root in beside:
        if root in reached:
            continue
        reached[root] = lowest[root] = len(reached)
        path: list[tuple[str, str | None, list[str]]] = [(root, None, sorted(beside[root]))]
        while path:
            tile, before, left = path[-1]
            if left:
                other = left.pop()
                if other not in reached:
                    reached[other] = lowest[other] = len(reached)
                    path.append((other, tile, sorted(beside[other])))
                elif other != before:
                    lowest[tile] = min(lowest[tile], reached[other])
                continue
            path.pop()
            if before is not None:
                lowest[before] = min(lowest[before], lowest[tile])
                if lowest[tile] > reached[before]:
                    bridges.add(frozenset((before, tile)))
    return bridges
