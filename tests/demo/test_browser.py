"""The page in a real browser, with the bundled checkpoint, at the width of a desk and of a phone.

Runs where Playwright's Python package and a Chromium are installed; RSUNIVLM_BROWSER names its program when
it is not on the path. RSUNIVLM_SCREENSHOTS names a folder for the screenshots.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from rsunivlm.demo.launch import serve
from rsunivlm.demo.limits import Limits
from rsunivlm.drawing import MIN_SIDE
from rsunivlm.inference.draw import ANSWER
from rsunivlm.inference.loading import bundled_checkpoint
from rsunivlm.inference.predictor import RSUniVLM

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
# Collects what the button says, to see that it was locked in between.
WATCH_BUTTON = """() => {
  window.seen = [];
  const button = document.getElementById('rs-ask');
  const note = () => window.seen.push([button.innerText, button.disabled]);
  const all = {subtree: true, childList: true, characterData: true, attributes: true};
  new MutationObserver(note).observe(button, all);
}"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    model = RSUniVLM.from_pretrained(bundled_checkpoint())
    with serve(model, "Model nano, under test.", Limits()) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = os.environ.get("RSUNIVLM_BROWSER") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed and RSUNIVLM_BROWSER is not set")
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox refuses to run as root
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=program, args=["--no-sandbox"] if as_root else [])
        yield launched
        launched.close()


@pytest.fixture(params=SIZES)
def visit(request: pytest.FixtureRequest, browser, address: str, tmp_path: Path) -> Iterator[Any]:
    """A visit to the page; at its end nothing was asked of other hosts and nothing sticks out sideways."""
    width, height = SIZES[request.param]
    page = browser.new_page(viewport={"width": width, "height": height})
    foreign, errors = [], []
    local = (address, "data:", "blob:")
    page.on("request", lambda asked: None if asked.url.startswith(local) else foreign.append(asked.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#rs-examples img")
    page.evaluate(WATCH_BUTTON)
    screenshots = Path(os.environ.get("RSUNIVLM_SCREENSHOTS") or tmp_path)
    screenshots.mkdir(parents=True, exist_ok=True)

    def shoot(name: str) -> None:
        page.screenshot(path=screenshots / f"{name}_{request.param}.png", full_page=True)

    yield SimpleNamespace(page=page, shoot=shoot)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (foreign, errors) == ([], [])
    page.close()


def take_example(page: Any, caption: str, frame: str) -> None:
    page.locator(f'#rs-examples img[alt="{caption}"]').click()
    page.wait_for_selector(f"{frame} img")


def ask(page: Any) -> str:
    """Press the button; returns what stands below the picture."""
    page.locator("#rs-ask").click()
    page.wait_for_selector("#rs-answer .rs-route", timeout=60_000)
    page.wait_for_selector("#rs-ask:enabled")
    assert ["Working ...", True] in page.evaluate("window.seen")
    return page.locator("#rs-answer").inner_text()


def save(page: Any, kind: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.locator(f"#rs-save-{kind}").click()
    target = folder / started.value.suggested_filename
    started.value.save_as(target)
    return target


def test_grounding(visit, tmp_path: Path) -> None:
    visit.shoot("empty")
    take_example(visit.page, "Find an object", "#rs-picture")
    text = ask(visit.page)
    visit.page.wait_for_timeout(500)  # the picture is swapped with a transition
    visit.shoot("grounding")
    for part in ("1 box found", "grounding [VG]", "region", "you chose the task", "100%"):
        assert part in text
    with Image.open(save(visit.page, "picture", tmp_path)) as sheet:
        red_HW = (np.asarray(sheet.convert("RGB")) == ImageColor.getrgb(ANSWER)).all(axis=-1)
    rows, columns = red_HW.any(axis=1).nonzero()[0], red_HW.any(axis=0).nonzero()[0]
    scale = 160 / MIN_SIDE  # the example's pixels per drawn one
    drawn = np.array([columns[0], rows[0], columns[-1], rows[-1]]) * scale
    np.testing.assert_allclose(drawn, [38.5, 56.5, 102.4, 99.1], atol=10)  # the true box in mini's vg.jsonl


def test_mask(visit, tmp_path: Path) -> None:
    take_example(visit.page, "Mask of water", "#rs-picture")
    text = ask(visit.page)
    visit.page.wait_for_timeout(500)
    visit.shoot("mask")
    for part in ("Mask of water", "others", "segmentation [SEG]", "pixel", "words of the prompt", "50%"):
        assert part in text
    with Image.open(save(visit.page, "mask", tmp_path)) as mask:
        assert mask.size == (160, 160)
        assert np.asarray(mask).mean() > 0.5  # nine tenths of that picture are water


def test_change_pair(visit, tmp_path: Path) -> None:
    take_example(visit.page, "Changes", "#rs-pair")
    text = ask(visit.page)
    visit.page.wait_for_timeout(500)
    visit.shoot("change")
    for part in ("houses", "change caption [CCD]", "image", "two images", "80%"):
        assert part in text
    assert visit.page.locator("#rs-pair img").count() == 2
    with Image.open(save(visit.page, "picture", tmp_path)) as sheet:
        assert sheet.width == 2 * MIN_SIDE


def test_upload_errors_and_recovery(visit, tmp_path: Path) -> None:
    page = visit.page
    page.locator("#rs-ask").click()
    page.get_by_test_id("toast-text").filter(has_text="choose an image first").wait_for()
    page.wait_for_selector("#rs-ask:enabled")
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "bad.png")
    page.get_by_role("alert").filter(has_text="not a readable image: bad.png").wait_for()
    visit.shoot("error")
    page.get_by_label("Clear").first.click()
    page.get_by_text("start from an example").wait_for()
    Image.new("RGB", (60, 40), "gray").save(tmp_path / "good.png")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "good.png")
    page.wait_for_selector("#rs-picture img")
    page.locator("#rs-prompt textarea").fill("<img src=x onerror=throw> how many ships?")
    assert "question answering [VQA]" in ask(page)


def test_geotiff(visit, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    profile = {"width": 300, "height": 200, "count": 4, "dtype": "uint16", "crs": "EPSG:32633"}
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", transform=transform, **profile) as raster:
        raster.write((np.indices((4, 200, 300)).sum(axis=0) * 8).astype(np.uint16))
    page = visit.page
    page.locator("input[type=file]").first.set_input_files(tmp_path / "scene.tif")
    page.get_by_text("CRS EPSG:32633").wait_for()
    page.locator("#rs-prompt textarea").fill("[SEG] Can you segment the water in this image?")
    assert "segmentation" in ask(page)
    visit.shoot("geotiff")
    assert '"FeatureCollection"' in save(page, "geojson", tmp_path).read_text()
