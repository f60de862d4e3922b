"""The page in a browser: by keyboard alone, by touch on a phone, and without a request to anywhere else."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Request, async_playwright, expect

from tercet.subnets.kit.beacon import derive
from tercet.subnets.labelling import Labelling, read_collection
from tercet.subnets.labelling.items import own_digits
from tercet.subnets.labelling.pictures import encode_png
from tercet.subnets.labelling.tasks import build_task

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium: apt-get install chromium"),
]
expect.set_options(timeout=20_000)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


@asynccontextmanager
async def browsing(folder: Path, **context: Any) -> AsyncIterator[Page]:
    """A page that may ask this machine only, and may not complain; a picture of its end stays in the test's folder."""
    strayed, complaints = [], []

    def watch(request: Request) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            strayed.append(request.url)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await (await browser.new_context(**context)).new_page()
        page.on("request", watch)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            yield page
        finally:
            await page.screenshot(path=folder / "end.png")
            await browser.close()
    assert (strayed, complaints) == ([], [])


@asynccontextmanager
async def mining(**options: Any) -> AsyncIterator[tuple[Labelling, str]]:
    """A miner whose answers come from a page."""
    miner = Labelling(by="people", patience=60, **options)
    await miner.open("miner")
    try:
        assert miner._crew is not None
        yield miner, miner._crew.url
    finally:
        await miner.close()


async def last_piece(miner: Labelling, task: Any) -> Any:
    return [piece async for piece in miner.answer(task)][-1]


async def reviews(folder: Path) -> Any:
    path = folder / "rows.csv"
    path.write_text("text\nlong battery life\nbroke at once\n<img src=x onerror=alert(1)>\n")
    return build_task(read_collection(path, classes=["good", "bad", "neither"]), [0, 1, 2], derive(b"s"))


async def test_a_batch_is_labelled_by_keyboard_alone(tmp_path: Path) -> None:
    """Join, choose by number and by arrows, undo, be unsure, pass; what is hostile in an item is text."""
    async with mining(own=str(_lessons(tmp_path))) as (miner, url), browsing(tmp_path) as page:
        await page.goto(url)
        answer = asyncio.create_task(last_piece(miner, await reviews(tmp_path)))
        await page.keyboard.type("Somebody")
        await page.keyboard.press("Enter")
        await expect(page.locator("#text")).to_have_text("long battery life")
        await page.keyboard.press("2")
        await expect(page.locator("#text")).to_have_text("broke at once")
        await page.keyboard.press("Backspace")
        await expect(page.locator("#text")).to_have_text("long battery life")
        await page.keyboard.press("1")
        await expect(page.locator("#text")).to_have_text("broke at once")
        await page.keyboard.press("/")
        await expect(page.locator("#unsure")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("Enter")
        await expect(page.locator("#text")).to_have_text("<img src=x onerror=alert(1)>")
        await page.screenshot(path=tmp_path / "text.png")
        await page.keyboard.press("-")
        piece = await asyncio.wait_for(answer, 30)
        await expect(page.locator("#word")).to_contain_text("Training")
    assert [(row["label"], row["confidence"]) for row in piece["answers"]] == [("good", 0.95), ("bad", 0.6)]


async def test_training_says_what_was_right(tmp_path: Path) -> None:
    """A wrong training item stays with the right label until a key is pressed; nothing of it is answered."""
    lessons = _lessons(tmp_path)
    async with mining(own=str(lessons)) as (_, url), browsing(tmp_path) as page:
        await page.goto(url)
        await page.keyboard.type("Somebody")
        await page.keyboard.press("Enter")
        await expect(page.locator("#word")).to_contain_text("Training")
        for right in (True, False):
            text = await page.locator("#text").text_content()
            good = text is not None and text.startswith("fine")
            await page.keyboard.press("2" if good == right else "1")
            await expect(page.locator("#word")).to_contain_text("Right" if right else "This one is")
            await page.screenshot(path=tmp_path / f"training-{right}.png")
        await expect(page.locator("#labels .truth")).to_contain_text("good" if good else "bad")
        await page.keyboard.press("Space")
        await expect(page.locator("#word")).to_have_text("Training: 1 of 2 right")
        await expect(page.locator("#done")).to_have_text("0")


def _lessons(folder: Path) -> Path:
    path = folder / "lessons.csv"
    path.write_text("text,label\n" + "".join(f"fine {n},good\npoor {n},bad\n" for n in range(6)))
    return path


async def test_it_works_on_a_phone(tmp_path: Path) -> None:
    """Everything in sight without scrolling, targets large enough for a thumb, digits by touch."""
    validator = Labelling(items=4)
    await validator.open("validator")
    task = validator.challenge(derive(b"phone"))
    phone = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    lessons = str(_small_pictures(tmp_path / "lessons"))
    async with mining(rate="18", own=lessons) as (miner, url), browsing(tmp_path, **phone, color_scheme="dark") as page:
        answer = asyncio.create_task(last_piece(miner, task))
        await page.goto(url)
        await expect(page.locator("#door")).to_contain_text("18.00 credit an hour")
        await page.locator("#name").fill("Somebody")
        await page.get_by_role("button", name="Begin").tap()
        await expect(page.locator("#left")).to_have_text("4")
        for count in range(1, 5):
            scroll = await page.evaluate("document.documentElement.scrollHeight - innerHeight")
            sizes = await page.evaluate(
                "[...document.querySelectorAll('#work button')].map(b => b.getBoundingClientRect()).map(r => Math.min(r.width, r.height))"
            )
            assert scroll <= 0
            assert min(sizes) >= 44
            await page.screenshot(path=tmp_path / "phone.png")
            await page.locator("#labels button").nth(count).tap()
            await expect(page.locator("#done")).to_have_text(str(count))
        piece = await asyncio.wait_for(answer, 30)
        await expect(page.locator("#word")).to_contain_text("Training")
        await expect(page.locator("#picture.pixels")).to_be_visible()
        box = await page.locator("#picture").bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 150, "a picture of 8 x 8 pixels is no dot"
    assert [row["label"] for row in piece["answers"]] == ["1", "2", "3", "4"]


def _small_pictures(folder: Path) -> Path:
    for n, (item, label) in enumerate(own_digits(0, 20)):
        place = folder / f"like a {label}"  # other labels than the batch has: training comes after it
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{n}.png").write_bytes(encode_png(item.data, 8))
    return folder
