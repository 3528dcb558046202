"""The page itself, over HTTP and in a browser."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from toca.pipelines.demo import fields
from toca.pipelines.demo.serving import offered, serving


def test_offered_are_the_models_that_come_along_or_the_one_that_is_named():
    assert {"emoji", "fashion"} <= set(offered(None)) and "flux-dev" not in offered(None)
    assert offered("owner/name") == ("owner/name",)


@pytest.fixture(scope="module")
def address():
    pytest.importorskip("gradio", reason="the demo needs gradio: the extra `demo`")
    with serving("fashion", "127.0.0.1") as blocks:
        yield blocks.local_url.rstrip("/")


def test_a_wish_over_http(address):
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False)
    asked = ["fashion", "sneaker", 7, fields.TUNED, 0, 20, None, None]
    full, cached, table, plan, _, _, python, command, gallery = client.predict(*asked, api_name="/make")
    pictures = [np.asarray(Image.open(path)) for path in (full, cached, plan)]
    assert pictures[0].shape == pictures[1].shape and not np.array_equal(pictures[0], pictures[1])
    assert "as fast" in table and "speedup=" in python and "--speedup" in command and len(gallery) == 1
    for place, wrong, why in ((1, "unicorn", "has no class|not in the list"), (3, "/etc/passwd", "not in the list"),
                              (0, "emoji", "not in the list"), (4, -1, "seed|minimum|less than")):  # fmt: skip
        with pytest.raises(AppError, match=why):
            client.predict(*[*asked[:place], wrong, *asked[place + 1 :]], api_name="/make")


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", __file__])
def test_no_file_is_served_that_is_no_picture_of_its_own(address, path):
    import httpx

    for start in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
        assert httpx.get(address + start + path, follow_redirects=True).status_code in (403, 404), start
    sent = httpx.post(f"{address}/gradio_api/upload", files={"files": ("large.bin", b"x" * 100_000)})
    assert sent.status_code == 413


@pytest.mark.parametrize("width", [1280, 390])
def test_a_click_makes_a_picture(address, width, tmp_path):
    """In a real browser, that asks nobody else for anything."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.click("#make")
        page.wait_for_selector("#facts table", timeout=60_000)
        page.wait_for_selector("#pictures img")
        assert page.locator("#pictures img").count() == 2
        assert "as fast" in page.inner_text("#facts")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing scrolls sideways"
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        browser.close()
    assert asked and all(re.match(f"{address}|data:|blob:", url) for url in asked), asked
