"""The local page in a real browser: upload, result, faults, sizes, two at once, a narrow screen, no other address.

Skipped without a Chromium on the path and Playwright, `pip install playwright`.
"""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from media import write_clip

playwright = pytest.importorskip("playwright.sync_api")
CHROME = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROME is None, reason="no chromium or google-chrome on the path"),
]
PATIENCE = 120_000
"""Milliseconds; a busy machine is slow."""


@pytest.fixture(scope="module")
def address(chain):
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    command = [sys.executable, "-m", "apt_lightning", "serve", str(checkpoint), "--port=0", "--megabytes=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[0]
    process.terminate()
    assert process.wait(30) in (0, -15)


@pytest.fixture
def browser():
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROME, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "mine.mp4", 50)


def visit(browser, address, width=1100):
    """A page, what it asked for, and what its console said."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    return page, asked, said


@pytest.mark.parametrize("width", [360, 1100])
def test_a_clip_is_uploaded_and_its_result_fits_the_screen(browser, address, clip, width, tmp_path):
    page, asked, said = visit(browser, address, width)
    page.set_input_files("#clip", clip)
    page.fill("#transcript", "we are calm")
    page.click("text=Score")
    page.wait_for_selector("article img")
    assert "Not for hiring" in page.inner_text("article .notice") and "mine.mp4" in page.inner_text("article h2")
    assert page.evaluate("document.querySelector('article img').naturalWidth") > 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("summary")
    assert page.locator("tbody tr").count() == 5
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the table"
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert said == []
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(address).netloc}


def test_faults_and_sizes_are_told_in_the_page(browser, address, tmp_path):
    page, _, _ = visit(browser, address)
    for name, data, answer in (("a.mp4", b"no video", "not-a-video"), ("b.mp4", b"\0" * 2_000_000, "larger than 1 MB")):
        (tmp_path / name).write_bytes(data)
        page.set_input_files("#clip", tmp_path / name)
        page.click("text=Score")
        page.wait_for_selector(f"article >> text={answer}")


def test_a_recording_is_scored(browser, address):
    page, _, said = visit(browser, address)
    page.click("#record")
    page.wait_for_selector("text=Stop")
    page.wait_for_timeout(3000)
    page.click("#record")
    page.wait_for_selector("text=Record again")
    page.click("text=Score")
    page.wait_for_selector("article h2")
    assert re.fullmatch(r"recording\.(webm|mp4)", page.inner_text("article h2"))
    assert page.locator("article img").count() == 1 and said == []


def test_two_at_once_get_their_own_results(address, clip):
    def send(name):
        return httpx.post(f"{address}api/score", files={"clip": (name, clip.read_bytes())}, timeout=120).json()

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(send, ["one.mp4", "two.mp4"])
    assert (one["clip"], two["clip"]) == ("one.mp4", "two.mp4") and one["traits"] == two["traits"]
