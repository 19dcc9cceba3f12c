"""The page in a real headless browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle

HOSTILE = '<img src=x onerror="window.hit=1">'
CLASSES = ("red", HOSTILE, "蓝色 blue")
SETS = {"method": "lac", "thresholds": {"95": [0.8]}, "level": 95, "n": 200}
"""Every class with a fifth of the probability is in a picture's set."""
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
    colours = write_colour_bundle(
        folder / "colours", CLASSES, gain=0.02, rejection_threshold=0.6, conformal=SETS
    )
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
    page.complaints = complaints
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
    page.wait_for_function("() => !document.querySelector('.ask[data-phase=waiting]')")


def card(page, name):
    return page.locator(".card").filter(has=page.locator("h3", has_text=name)).first


def test_pictures_of_every_kind_get_their_answer(page, tmp_path):
    upload(page, files(tmp_path))
    red = card(page, "red shoe.png")
    assert red.locator(".labels .name").all_text_contents()[0] == "red"
    assert red.locator(".share").first.text_content().endswith("%")
    assert red.locator(".bar").first.evaluate("e => e.offsetWidth > 20")
    assert not red.locator(".unsure").is_visible()
    assert red.locator(".shown").evaluate("e => e.naturalWidth") == 320
    assert card(page, "onerror").locator(".labels .name").first.text_content() == HOSTILE
    assert card(page, "grey.webp").locator(".unsure").is_visible()
    assert card(page, "broken.jpg").locator(".problem").is_visible()
    assert "format is not allowed" in card(page, "notes.txt").locator(".problem").text_content()
    assert card(page, "notes.txt").locator(".no-preview").is_visible()
    assert page.locator("#live").text_content() != ""
    page.screenshot(path=tmp_path / "desktop.png", full_page=True)
    assert (tmp_path / "desktop.png").stat().st_size > 10_000


def test_the_set_of_likely_classes_is_shown(page, browser, two_models, tmp_path):
    upload(page, files(tmp_path)[:3])
    told = [".likely-words", ".likely-names bdi"]
    red, grey = card(page, "red shoe.png"), card(page, "grey.webp")
    words, names = (red.locator(one).all_text_contents() for one in told)
    assert (words, names) == (["Only this is likely:"], ["red"])
    words, names = (grey.locator(one).all_text_contents() for one in told)
    assert words == ["Likely one of 3:"]
    assert set(names) == set(CLASSES)
    assert card(page, "onerror").locator(".likely bdi").text_content() == HOSTILE
    page.locator("#language").click()
    assert grey.locator(".likely-words").text_content() == "很可能是以下 3 类之一："
    page.screenshot(path=tmp_path / "sets.png", full_page=True)
    context, without = opened(browser, two_models)
    upload(without, files(tmp_path)[:1])
    assert without.locator(".labels .name").first.is_visible()
    assert without.locator(".likely").is_hidden(), "no set where the Bundle has none"
    context.close()


def test_paste_and_drop(page):
    for name, how in (("pasted.png", PASTE), ("dropped.png", DROP.replace("pasted", "dropped"))):
        page.evaluate(how, list(picture("PNG", (240, 20, 20))))
        card(page, name).locator(".labels .name").first.wait_for()
    page.locator("#clear").click()
    assert page.locator(".card").count() == 0
    assert page.locator("#results").is_hidden()


def test_the_shown_code_works(page, tmp_path, url):
    upload(page, files(tmp_path)[:1])
    page.locator(".from-code summary").click()
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
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"pick", "language", "key", "tab-try", "clear", "remove quiet"} <= reached
    unnamed = page.evaluate(UNNAMED)
    assert unnamed == []


def half(folder: Path) -> Path:
    """Grey on the left, red on the right."""
    from PIL import Image

    image = Image.new("RGB", (64, 64), (100, 100, 100))
    image.paste((230, 0, 0), (32, 0, 64, 64))
    image.save(folder / "half.png")
    return folder / "half.png"


def test_why_lays_a_map_over_the_picture_and_says_whether_it_is_true(page, tmp_path):
    upload(page, [half(tmp_path)])
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    heat = page.locator(".heat")
    assert heat.is_hidden()
    page.locator(".why summary").click()
    page.locator(".why-verdict").wait_for()
    assert len(asked) == 1, "asked once, when it is opened"
    assert page.locator(".why-verdict").text_content() != ""
    assert "random" in page.locator(".why-scores").text_content()
    page.wait_for_function("() => document.querySelector('.heat').naturalWidth > 0")
    boxes = [page.locator(f"figure {name}").bounding_box() for name in (".shown", ".heat")]
    assert boxes[0] == boxes[1], "exactly over the picture"
    page.locator(".opacity").fill("20")
    assert heat.evaluate("e => getComputedStyle(e).opacity") == "0.2"
    right, left = (
        page.evaluate(
            """(x) => {
              const heat = document.querySelector(".heat");
              const canvas = Object.assign(document.createElement("canvas"), {
                width: heat.naturalWidth, height: heat.naturalHeight});
              const context = canvas.getContext("2d");
              context.drawImage(heat, 0, 0);
              return context.getImageData(x * canvas.width, canvas.height / 2, 1, 1).data[3];
            }""",
            x,
        )
        for x in (0.75, 0.2)
    )
    assert right > left, "the red half speaks for red"
    page.locator(".why summary").click()
    heat.wait_for(state="hidden")
    page.locator(".why summary").click()
    heat.wait_for(state="visible")
    assert page.evaluate(UNNAMED) == []


def test_why_not_another_class(page, tmp_path):
    upload(page, [half(tmp_path)])
    page.locator(".why summary").click()
    page.locator(".why-verdict").wait_for()
    others = page.locator(".against option").evaluate_all("e => e.map(o => o.value)")
    assert others[0] == ""
    assert HOSTILE in others[1:]
    assert "red" not in others
    before = page.locator(".why-scores").text_content()
    with page.expect_response("**/v1/explain?*") as response:
        page.locator(".against").select_option("蓝色 blue")
    assert parse_qs(urlsplit(response.value.url).query)["against"] == ["蓝色 blue"]
    page.wait_for_function(
        "b => document.querySelector('.why-verdict').checkVisibility()"
        " && document.querySelector('.why-scores').textContent !== b",
        arg=before,
    )


def test_a_refused_explanation_is_asked_for_again(page, tmp_path):
    upload(page, [half(tmp_path)])
    page.route("**/v1/explain?*", lambda route: route.abort())
    summary = page.locator(".why summary")
    summary.click()
    page.locator(".why-verdict.doubtful").wait_for()
    assert page.locator(".heat").is_hidden()
    assert page.locator(".why-opacity").is_hidden()
    page.unroute("**/v1/explain?*")
    page.complaints.clear()  # the aborted request
    summary.click()
    with page.expect_response("**/v1/explain?*") as response:
        summary.click()
    assert response.value.ok
    page.locator(".why-opacity").wait_for()


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


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    bundles = [
        write_colour_bundle(folder / "english", ("red", "green", "blue")).path,
        write_colour_bundle(folder / "german", ("rot", "grün", "blau")).path,
    ]
    with running_service(bundles, store=folder / "store") as service:
        yield service.url


def opened(browser, url, **options):
    context = browser.new_context(**{"locale": "en", **options})
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.goto(url)
    return context, page


def test_several_models_answer_side_by_side(browser, two_models, tmp_path):
    context, page = opened(browser, two_models)
    boxes = page.locator("#models input")
    assert [boxes.nth(i).is_checked() for i in range(2)] == [True, False], "one to begin with"
    page.get_by_label("german").check()
    upload(page, files(tmp_path)[:1])
    columns = page.locator(".card .ask")
    assert columns.count() == 2
    said = [columns.nth(i).locator(".labels .name").first.text_content() for i in range(2)]
    assert said == ["red", "rot"]
    names = columns.locator(".tag-name").all_text_contents()
    assert names == ["english", "german"]
    assert columns.first.locator(".tag-time").text_content().endswith("ms")
    left, right = (columns.nth(i).bounding_box() for i in range(2))
    assert left["x"] + left["width"] <= right["x"], "beside each other, not below"
    page.get_by_label("english").uncheck()
    page.locator("#clear").click()
    upload(page, files(tmp_path)[:1])
    assert page.locator(".labels .name").first.text_content() == "rot"
    page.screenshot(path=tmp_path / "two.png", full_page=True)
    context.close()


def test_the_live_view_shows_traffic_models_and_drift(browser, two_models, tmp_path):
    context, page = opened(browser, two_models)
    page.locator("#tab-service").click()
    page.locator("#rows tr").first.wait_for()
    assert page.locator("#try").is_hidden()
    assert page.locator("#rows th").all_text_contents() == ["english", "german"]
    assert page.locator("#rows .role").all_text_contents() == ["production", "production"]
    body = picture("PNG", (240, 20, 20))
    for _ in range(20):
        page.request.post(f"{two_models}/v1/recognize?model=german", data=body)
    page.wait_for_function(
        "() => Number(document.querySelector('#tiles dd').textContent.replace(',', '')) > 0"
    )
    assert " ms" in page.locator("#tiles dd").nth(2).text_content()
    page.wait_for_function(
        "() => document.querySelector('.chart .line').getAttribute('d').includes('L')"
    )
    answered = page.locator("#rows tr").nth(1).locator("td").last.text_content()
    assert int(answered) >= 20
    assert page.locator("#drifts li").count() == 2
    assert "no reference" in page.locator("#drifts").text_content()
    page.screenshot(path=tmp_path / "service.png", full_page=True)
    page.keyboard.press("Tab")
    page.locator("#tab-service").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#service").is_hidden()
    assert page.evaluate("document.activeElement.id") == "tab-try"
    context.close()


def test_a_correction_is_sent_with_the_picture_only_when_ticked(browser, two_models, tmp_path):
    context, page = opened(browser, two_models)
    sent = []
    page.on("request", lambda r: sent.append(r) if r.url.endswith("/v1/feedback") else None)
    upload(page, files(tmp_path)[:1])
    page.locator(".wrong summary").click()
    page.locator(".right-label").fill("rust")
    page.locator(".correct button").click()
    page.wait_for_function("() => document.querySelector('.corrected').textContent !== ''")
    assert "Thank you" in page.locator(".corrected").text_content()
    posted = [request.post_data_json for request in sent if request.method == "POST"]
    assert set(posted[0]) == {"label", "request"}, "no picture unless it is ticked"
    page.locator(".with-picture").check()
    with page.expect_response("**/v1/feedback") as response:
        page.locator(".correct button").click()
    assert response.value.json()["picture"] is True
    context.close()


def test_corrections_are_not_offered_where_none_are_taken(page, tmp_path):
    upload(page, files(tmp_path)[:1])
    assert page.locator(".wrong").is_hidden()


@pytest.fixture(scope="module")
def locked(tmp_path_factory, colours):
    store = tmp_path_factory.mktemp("locked") / "store"
    command = [sys.executable, "-m", "clearsight", "keys", "create", "--name", "page"]
    command += ["--scopes", "recognize,metrics", "--store", str(store), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with running_service([colours], store=store) as service:
        yield service.url, done.stdout.strip()


STORED = """async () => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,
  location.href, await indexedDB.databases(), await caches.keys(),
  document.documentElement.outerHTML,
  [...document.querySelectorAll('input')].map(e => e.value)])"""


def test_the_key_stays_in_memory(browser, locked, tmp_path):
    url, key = locked
    context, page = opened(browser, url)
    page.locator("#need-key").wait_for()
    upload(page, files(tmp_path)[:1])
    assert "valid key is needed" in page.locator(".problem").text_content()
    page.locator("#clear").click()
    page.locator("#tab-service").click()
    page.locator("#service-note").wait_for()
    page.locator("#key").click()
    assert page.evaluate("document.activeElement.id") == "key-input"
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    page.locator("#need-key").wait_for(state="hidden")
    page.locator("#rows tr").first.wait_for()
    upload(page, files(tmp_path)[:1])
    assert page.locator(".labels .name").first.text_content() == "red"
    assert "CLEARSIGHT_KEY" in page.locator("[data-code=curl]").text_content()
    assert key not in page.evaluate(STORED), "the key is kept nowhere"
    page.reload()
    page.locator("#need-key").wait_for()
    context.close()


# --- CHECK 37 ---------------------------------------------------------------------------------


def hostile(count=50):
    """Return texts that run as script wherever they are taken for markup, address or code."""
    forms = [
        "<script>window.hit={n}</script>",
        '<img src=x onerror="window.hit={n}">',
        "<svg onload=window.hit={n}>",
        "<svg><script>window.hit={n}</script></svg>",
        '"><img src=x onerror=window.hit={n}>',
        "'><svg onload='window.hit={n}'>",
        '</h3><iframe srcdoc="<script>parent.hit={n}</script>">',
        "javascript:window.hit={n}//",
        "<details open ontoggle=window.hit={n}>",
        "<input autofocus onfocus=window.hit={n}>",
        "${window.hit={n}}",
        "{{constructor.constructor('window.hit={n}')()}}",
        "</template><img src=x onerror=window.hit={n}>",
        "</style><script>window.hit={n}</script>",
        "<math><mtext></p><style><img src=x onerror=window.hit={n}></style>",
        "<body onpageshow=window.hit={n}>",
        "<video><source onerror=window.hit={n}></video>",
    ]
    return [forms[n % len(forms)].replace("{n}", str(n + 1)) for n in range(count)]


@pytest.fixture(scope="module")
def hostile_models(tmp_path_factory):
    """Ten models of five hostile labels each: side by side a picture shows all fifty."""
    folder, labels = tmp_path_factory.mktemp("hostile"), hostile()
    bundles = [
        write_colour_bundle(folder / f"m{n}", labels[5 * n : 5 * n + 5]).path for n in range(10)
    ]
    with running_service(bundles, store=folder / "store") as service:
        yield service.url


def show_hostile(page):
    for box in page.locator("#models input").all():
        box.check()
    red = picture("PNG", (240, 20, 20), (24, 24))
    page.set_input_files("#pick", [{"name": "first", "mimeType": "image/png", "buffer": red}])
    page.wait_for_function("() => document.querySelectorAll('.labels .name').length === 50")
    for box in page.locator("#models input").all()[1:]:
        box.uncheck()
    pictures = [
        {"name": name, "mimeType": "image/png", "buffer": red if n % 2 else red[:40]}
        for n, name in enumerate(hostile())
    ]
    page.set_input_files("#pick", pictures)
    page.wait_for_function("() => document.querySelectorAll('.card').length === 51")
    page.wait_for_function("() => !document.querySelector('.ask[data-phase=waiting]')")
    page.locator("#language").click()  # everything is written once more
    page.wait_for_timeout(300)


def test_fifty_hostile_labels_and_names_run_nothing(browser, hostile_models):
    context, page = opened(browser, hostile_models)
    show_hostile(page)
    assert set(page.locator(".labels .name").all_text_contents()) == set(hostile())
    assert set(page.locator("h3").all_text_contents()) == {*hostile(), "first"}
    assert page.evaluate("window.hit") is None
    assert page.locator("main script, main iframe, main [onerror], main [onload]").count() == 0
    context.close()


def test_a_page_that_took_labels_for_markup_would_be_caught(browser, hostile_models):
    context = browser.new_context(locale="en", bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(10_000)

    def spoil(route):
        answer = route.fetch()
        text = answer.text().replace('$(".name", row).textContent', '$(".name", row).innerHTML')
        assert "innerHTML" in text
        route.fulfill(response=answer, body=text)

    page.route("**/cards.js", spoil)
    page.goto(hostile_models)
    for box in page.locator("#models input").all():
        box.check()
    red = picture("PNG", (240, 20, 20), (24, 24))
    page.set_input_files("#pick", [{"name": "first", "mimeType": "image/png", "buffer": red}])
    page.wait_for_function("() => window.hit !== undefined")
    context.close()


def test_the_policy_alone_would_stop_them_too(page):
    page.evaluate("""() => {
      const box = document.createElement('div');
      box.innerHTML = '<img src=x onerror="window.hit=1"><svg onload="window.hit=1"></svg>';
      document.body.append(box);
      const script = document.createElement('script');
      script.textContent = 'window.hit=1';
      document.body.append(script);
    }""")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") is None
    page.complaints.clear()  # the browser complains of the policy, as it should


# --- everybody can use it -----------------------------------------------------------------------


def serious(page):
    """Return what axe finds that keeps somebody out."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="NO AXE HERE")
    found = axe.Axe().run(page).response["violations"]
    return [
        (each["id"], each["impact"], [node["target"] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("scheme", "locale"), [("light", "en"), ("dark", "zh-CN")])
def test_no_serious_accessibility_finding(browser, two_models, tmp_path, scheme, locale):
    context, page = opened(browser, two_models, color_scheme=scheme, locale=locale)
    assert serious(page) == []
    for box in page.locator("#models input").all():
        box.check()
    upload(page, files(tmp_path))
    for summary in page.locator("summary:visible").all():
        summary.click()
    assert serious(page) == []
    page.locator("#key").click()
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.locator("#tab-service").click()
    page.locator("#rows tr").first.wait_for()
    page.wait_for_timeout(300)
    assert serious(page) == []
    page.screenshot(path=tmp_path / "service.png", full_page=True)
    context.close()


def test_a_serious_finding_would_be_seen(browser, two_models):
    context, page = opened(browser, two_models)
    page.evaluate("""() => {
      const button = document.createElement('button');
      document.querySelector('main').append(button);
    }""")
    assert [found[0] for found in serious(page)] == ["button-name"]
    context.close()


def test_the_live_view_fits_a_narrow_screen(browser, two_models, tmp_path):
    context, page = opened(
        browser, two_models, viewport={"width": 380, "height": 800}, color_scheme="dark"
    )
    page.locator("#tab-service").click()
    page.locator("#rows tr").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=tmp_path / "narrow.png", full_page=True)
    context.close()
