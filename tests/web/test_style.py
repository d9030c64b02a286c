"""The colours of the pages: text can be read on all that it stands on, in the dark and in the light (WCAG 2.2)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STYLE = (Path(__file__).resolve().parents[2] / "web" / "style.css").read_text()
AA = 4.5
TEXT = ("ink", "dim", "accent", "bad", "self", "rail")
GROUNDS = ("ground", "raised", "panel")


def colours(theme: str) -> dict[str, str]:
    """Name → "#rrggbb" of a theme; what the light one does not name is the dark one's."""
    blocks = [re.search(r":root \{(.*?)\}", STYLE, re.S)]
    if theme == "light":
        blocks.append(re.search(r':root\[data-theme="light"\] \{(.*?)\}', STYLE, re.S))
    found: dict[str, str] = {}
    for block in blocks:
        assert block is not None
        found.update(re.findall(r"--([\w-]+): (#[0-9a-f]{6}|rgb\([^)]*\));", block[1]))
    return found


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2); of "rgb(r g b / …)" as if nothing shone through."""
    found = re.findall(r"\d+", colour)[:3] if colour.startswith("rgb") else []
    parts = [int(part) for part in found] or [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    linear = [p / 255 / 12.92 if p / 255 <= 0.04045 else ((p / 255 + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_stands_out(theme: str) -> None:
    found = colours(theme)
    pairs = [(text, ground) for text in TEXT for ground in GROUNDS] + [("on-accent", "accent"), ("ink", "floor")]
    weak = {pair: round(contrast(found[pair[0]], found[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < AA} == {}
