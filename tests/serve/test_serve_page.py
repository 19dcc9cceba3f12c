"""The page in a real headless browser."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle

HOSTILE = '<img src=x onerror="window.hit=1">'
CLASSES = ("red", HOSTILE, "蓝色 blue")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASTE = """(bytes) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
  document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""
UNNAMED = """() => [...document.querySelectorAll('button, input, select, img, a')]
  .filter(e => e.checkVisibility() && !e.hasAttribute('alt')
    && !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"""
DROP = PASTE.replace(
    'new ClipboardEvent("paste", {clipboardData', 'new DragEvent("drop", {dataTransfer'
)


def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=120)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=False, timeout=280)
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("THE PAGE IS NOT TESTED: no chromium here and it could not be installed")
    return path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is not tested")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    colours = write_colour_bundle(folder / "colours", CLASSES, gain=0.02, rejection_threshold=0.6)
    with running_service([colours.path]) as service:
        yield service.url


@pytest.fixture
def page(browser, url):
    context = browser.new_context(locale="en-GB", viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(10_000)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    assert page.evaluate("window.hit") is None, "a label or file name ran as script"
    assert [c for c in complaints if "status of 4" not in c] == []
    assert all(u.startswith((url, "blob:", "data:")) for u in asked), "something from elsewhere"
    context.close()


def files(folder: Path):
    pictures = {
        "red shoe.png": picture("PNG", (240, 20, 20), (320, 240)),
        f"{HOSTILE.replace('/', '')}.jpg": picture("JPEG", (10, 230, 20), (200, 300)),
        "grey.webp": picture("WEBP", (90, 90, 90), (240, 240)),
        "broken.jpg": picture("JPEG", size=(300, 300))[:400],
        "notes.txt": b"not a picture at all",
    }
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in pictures]


def upload(page, paths):
    page.set_input_files("#pick", paths)
    page.wait_for_function(
        "n => document.querySelectorAll('.card:not([data-phase=waiting])').length === n",
        arg=len(paths),
    )


def card(page, name):
    return page.locator(".card").filter(has=page.locator("h3", has_text=name)).first


def test_pictures_of_every_kind_get_their_answer(page, tmp_path):
    upload(page, files(tmp_path))
    red = card(page, "red shoe.png")
    assert red.locator(".labels .name").all_text_contents()[0] == "red"
    assert red.locator(".share").first.text_content().endswith("%")
    assert red.locator(".bar").first.evaluate("e => e.offsetWidth > 20")
    assert not red.locator(".unsure").is_visible()
    assert red.locator("img").evaluate("e => e.naturalWidth") == 320
    assert card(page, "onerror").locator(".labels .name").first.text_content() == HOSTILE
    assert card(page, "grey.webp").locator(".unsure").is_visible()
    assert card(page, "broken.jpg").locator(".problem").is_visible()
    assert "format is not allowed" in card(page, "notes.txt").locator(".problem").text_content()
    assert card(page, "notes.txt").locator(".no-preview").is_visible()
    assert page.locator("#live").text_content() != ""
    page.screenshot(path=tmp_path / "desktop.png", full_page=True)
    assert (tmp_path / "desktop.png").stat().st_size > 10_000


def test_paste_and_drop(page):
    for name, how in (("pasted.png", PASTE), ("dropped.png", DROP.replace("pasted", "dropped"))):
        page.evaluate(how, list(picture("PNG", (240, 20, 20))))
        card(page, name).locator(".labels .name").first.wait_for()
    page.locator("#clear").click()
    assert page.locator(".card").count() == 0
    assert page.locator("#results").is_hidden()


def test_the_shown_code_works(page, tmp_path, url):
    upload(page, files(tmp_path)[:1])
    page.locator("summary").click()
    code = card(page, "red shoe.png").locator("[data-code]").all_text_contents()
    curl = subprocess.run(code[0], shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert '"label":"red"' in curl.stdout, curl
    python = subprocess.run(
        [shutil.which("python3") or "python", "-c", code[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert python.stdout.startswith("red: "), python
    button = card(page, "red shoe.png").locator("[data-copy=curl]")
    button.click()
    page.wait_for_function("e => e.textContent !== 'Copy'", arg=button.element_handle())


def test_hostile_names_stay_inert_in_the_shown_code(page, tmp_path):
    name = "it's $(touch hit) `touch hit`.png"
    (tmp_path / name).write_bytes(picture("PNG", (240, 20, 20)))
    upload(page, [tmp_path / name])
    code = page.locator("[data-code]").all_text_contents()
    got = subprocess.run(code[0], shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert '"label":"red"' in got.stdout, got
    assert not (tmp_path / "hit").exists()


def test_languages(page, browser, url, tmp_path):
    assert page.locator("h2").first.text_content() == "What is in your picture?"
    upload(page, files(tmp_path)[3:4])
    page.locator("#language").click()
    assert page.locator("h2").first.text_content() == "这张图片里是什么？"
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert "无法解码" in page.locator(".problem").text_content()
    page.reload()
    assert page.locator("h2").first.text_content() == "这张图片里是什么？", "the choice is kept"
    context = browser.new_context(locale="zh-CN")
    chinese = context.new_page()
    chinese.goto(url)
    assert chinese.locator("h2").first.text_content() == "这张图片里是什么？"
    context.close()


def test_keyboard_and_names_for_everything_that_can_be_operated(page, tmp_path):
    upload(page, files(tmp_path)[:2])
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"pick", "language", "clear", "remove quiet"} <= reached
    unnamed = page.evaluate(UNNAMED)
    assert unnamed == []


def test_a_narrow_dark_screen_shows_everything(browser, url, tmp_path):
    context = browser.new_context(
        color_scheme="dark", viewport={"width": 400, "height": 800}, locale="zh-CN"
    )
    page = context.new_page()
    page.goto(url)
    upload(page, files(tmp_path))
    page.locator("summary:visible").first.click()
    page.screenshot(path=tmp_path / "mobile.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_several_models_can_be_chosen(browser, tmp_path):
    bundles = [
        write_colour_bundle(tmp_path / "english", ("red", "green", "blue")).path,
        write_colour_bundle(tmp_path / "german", ("rot", "grün", "blau")).path,
    ]
    with running_service(bundles) as service:
        context = browser.new_context(locale="en")
        page = context.new_page()
        page.goto(service.url)
        page.select_option("#model", "german")
        upload(page, files(tmp_path)[:1])
        assert page.locator(".labels .name").first.text_content() == "rot"
        context.close()
