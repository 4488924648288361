"""The page in a browser: it fits screens wide and narrow, asks for nothing, and its pictures are drawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpustitch.oblique.report.stage import ReportOptions, plan, run
from tests.oblique.report.conftest import Made

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("report")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found[0] if found else None, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"there is no Chromium: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = made.copied(tmp_path_factory.mktemp("page") / "out")
    return run(plan(ReportOptions(output))).page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 600])
def test_the_page_fits_and_is_drawn(browser: Any, page_file: Path, scheme: str, width: int) -> None:
    asked: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=True
    )
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(url == page_file.as_uri() or url.startswith("data:") for url in asked)
    pictures = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert pictures and all(pictures)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    boxes = page.evaluate(
        "[...document.querySelectorAll('svg text.name')].map(t => t.getBBox()).map(b => [b.x, b.y, b.width, b.height])"
    )
    overlaps = [
        (a, b)
        for n, a in enumerate(boxes)
        for b in boxes[n + 1 :]
        if a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
    ]
    assert len(boxes) == 4 and not overlaps, "names of tiles keep apart"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    context.close()
