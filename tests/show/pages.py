"""Pictures of a page of the viewer, taken when it draws no more: a fixed time is too short or too long."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

_TIMES = 400
_READY = "window.viewer && viewer.state.toJSON().layers && viewer.isReady()"
_TWO_FRAMES = "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"


def still_picture(
    page: Any, is_meant: Callable[[Image.Image], bool] = lambda _: True, **screenshot: Any
) -> Image.Image:
    """The picture of a page that has all it asked for, once two in a row are the same and show what is meant."""
    before = b""
    for _ in range(_TIMES):
        page.wait_for_function(_READY, timeout=60_000)
        page.evaluate(_TWO_FRAMES)
        taken = page.screenshot(**screenshot)
        if taken == before and is_meant(picture := Image.open(io.BytesIO(taken))):
            return picture
        before = taken
    raise AssertionError(f"none of {_TIMES} pictures of the page is the one that is meant")
