"""The page can be read: text stands out from what lies behind it, on light and on dark screens."""

from __future__ import annotations

import re

import pytest

from gpustitch.oblique.report.style import style

# Least contrast of text by the Web Content Accessibility Guidelines, level AA.
LEAST = 4.5


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def rules(text: str) -> dict[str, str]:
    """Colours by what they colour: selector and property."""
    found = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
        for name, colour in re.findall(r"(color|background|fill|stroke):\s*(#[0-9a-f]{6})", body):
            for selector in selectors.split(","):
                found[f"{selector.strip()} {name}"] = colour
    return found


@pytest.mark.parametrize("is_dark", [False, True])
def test_text_stands_out(is_dark: bool) -> None:
    light, _, dark = style().partition("@media screen and (prefers-color-scheme: dark) {")
    found = rules(dark.partition("@media print")[0] if is_dark else light)
    papers = {found["body background"], found[".verdict background"]}
    inks = {name: found[f"{name} color"] for name in ("body", ".soft", "a", ".pass", ".warn", ".fail", ".not")}
    inks |= {name: found[f"{name} fill"] for name in ("svg text", "svg text.cross")}
    weak = {(name, paper): contrast(ink, paper) for name, ink in inks.items() for paper in papers}
    assert min(weak.values()) >= LEAST, weak
    lines = [found[f".c{n} stroke"] for n in range(1, 7)]
    assert len(set(lines)) == 6 and all(contrast(line, found["body background"]) >= 3 for line in lines)


def test_paper_is_light_whatever_the_screen() -> None:
    """Dark colours are for screens alone, and come after the light ones that they replace."""
    text = style()
    assert text.count("prefers-color-scheme: dark") == text.count("screen and (prefers-color-scheme: dark)") == 1
    assert text.index("prefers-color-scheme") > text.index("body { background")
