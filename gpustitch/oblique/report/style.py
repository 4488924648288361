"""How the page looks: light and dark, on a screen and on paper, in colours that everybody tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

# Colours 1 to 4 are for what is right, near, off and wrong, each with a mark or dashes of its own beside the colour.
_LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "ink": "#16191d", "soft": "#4b5560", "line": "#c6ccd3", "card": "#f4f6f8", "c1": "#0072b2",
    "c2": "#00795c", "c3": "#a85a00", "c4": "#b3301b", "c5": "#5f6673", "c6": "#8e4585",
}  # fmt: skip
_DARK: Mapping[str, str] = {
    "paper": "#14171b", "ink": "#eceff2", "soft": "#b4bcc6", "line": "#3d454f", "card": "#1e232a", "c1": "#6db6ea",
    "c2": "#4fd0a7", "c3": "#f0b040", "c4": "#ff8d73", "c5": "#a3acb8", "c6": "#d79ad0",
}  # fmt: skip

_COLOURS = Template("""
body { background: $paper; color: $ink; } .soft, figcaption { color: $soft; } a { color: $c1; }
.verdict, code, pre, .pair { background: $card; } .pair, th, td { border-color: $line; } .verdict ul { color: $ink; }
.pass { color: $c1; } .warn { color: $c3; } .fail { color: $c4; } .not { color: $c5; }
svg text { fill: $ink; } svg text.name { stroke: $paper; } svg text.cross { fill: $c4; }
.tile { fill: $c5; stroke: $soft; } .dot { fill: $ink; } .error { fill: $c6; stroke: $c6; } .axis { stroke: $soft; }
.c1 { stroke: $c1; } .c2 { stroke: $c2; } .c3 { stroke: $c3; } .c4 { stroke: $c4; } .c5 { stroke: $c5; }
.c6 { stroke: $c6; }
""")
_SHAPES = """
:root { color-scheme: light dark; } * { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 20px; margin: 40px 0 8px; }
h3 { font-size: 16px; margin: 18px 0 6px; } p { margin: 6px 0; } .soft, figcaption { font-size: 14px; }
.verdict { border: 2px solid; border-left-width: 14px; border-radius: 8px; padding: 14px 18px; margin: 16px 0; }
.verdict > b { font-size: 24px; } .verdict ul { margin: 8px 0 0; padding-left: 22px; }
.state { font-weight: 700; white-space: nowrap; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
th { text-align: left; border-bottom: 2px solid; padding: 6px 10px 6px 0; vertical-align: bottom; }
td { border-bottom: 1px solid; padding: 7px 10px 7px 0; vertical-align: top; }
td.helps { min-width: 170px; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font: 14px/1.45 ui-monospace, Consolas, monospace; border-radius: 4px; }
code { padding: 1px 4px; overflow-wrap: anywhere; } pre { padding: 10px 12px; overflow-x: auto; margin: 6px 0; }
figure { margin: 0; } .row { display: flex; flex-wrap: wrap; gap: 18px; align-items: flex-start; }
.pair { border: 1px solid; border-radius: 8px; padding: 10px 12px; max-width: min(100%, 700px); }
img { image-rendering: pixelated; max-width: 100%; display: block; background: #000; }
svg { max-width: 100%; height: auto; display: block; } svg text { font: 13px system-ui, sans-serif; }
svg text.name { paint-order: stroke; stroke-width: 4px; } svg text.cross { font-size: 17px; font-weight: 700; }
.tile { fill-opacity: 0.13; stroke-width: 1; } .error { fill-opacity: 0.35; }
.outline { fill: none; stroke: #ffd34d; stroke-width: 1.2; }
.bar { fill: #fff; } .under { fill: #000; fill-opacity: 0.55; } svg text.onbar { fill: #fff; }
.keys { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; } .key { white-space: nowrap; }
.key svg { display: inline-block; vertical-align: middle; }
details > summary { cursor: pointer; }
"""
_PRINT = """@media print { main { max-width: none; padding: 0; }
  figure, .pair, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


def style() -> str:
    """The style sheet of the page. Paper is light, whatever the screen is."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{ {_COLOURS.substitute(_DARK)} }}"
    return _SHAPES + _COLOURS.substitute(_LIGHT) + dark + _PRINT
