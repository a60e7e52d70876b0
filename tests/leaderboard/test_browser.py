"""The site in headless Chromium: sorting, switches, the keyboard, a phone's width, dark mode, and no foreign code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from leaderboard_records import write_leaderboard
from test_site import write_hostile

from ltgen_bench.leaderboard.site.write import write_site

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
try:
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    webdriver = None  # type: ignore[assignment]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER and webdriver), reason="needs chromium, chromedriver and selenium"),
    # selenium leaves its sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def leaderboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_leaderboard(tmp_path_factory.mktemp("made") / "leaderboards")


@pytest.fixture(scope="module")
def built(leaderboards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "out"
    write_site(leaderboards, out)
    return out


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """Chromium at a desk's width in light mode; afterwards no page may have left an error in the console."""
    screen(chromium, 1280)
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


def screen(browser: Any, width: int, dark: bool = False) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def visit(browser: Any, page: Path) -> None:
    browser.get("about:blank")  # so that a change of the #part alone loads the page again
    browser.get(page.as_uri())
    # on a busy machine the driver may still look at the blank page
    there = "return document.readyState === 'complete' && location.href.startsWith(arguments[0])"
    WebDriverWait(browser, 20).until(lambda seen: seen.execute_script(there, page.as_uri()))


def methods(browser: Any) -> list[str]:
    """The methods that are shown in the first board, in their order."""
    script = """return [...document.querySelectorAll('.board:not(.reported) tbody tr')]
        .filter(row => row.offsetParent !== null).map(row => row.querySelector('bdi').textContent)"""
    return list(browser.execute_script(script))


def header(browser: Any, title: str) -> Any:
    script = """return [...document.querySelectorAll('.board:not(.reported) [role=columnheader]')]
        .find(head => head.textContent.trim() === arguments[0])"""
    return browser.execute_script(script, title)


RANKED = ["CORAL", "CBDM", "T2H", "DDPM", "My GAN"]


def test_sorting_by_mouse_and_keyboard(browser: Any, built: Path) -> None:
    visit(browser, built / "index.html")
    assert methods(browser) == RANKED
    fid = header(browser, "FD[digits-cnn]")
    fid.click()
    assert methods(browser) == ["My GAN", *RANKED[:4]]  # lower is better: smallest first
    assert fid.get_attribute("aria-sort") == "ascending"
    fid.send_keys("\ue007")  # Enter
    assert methods(browser) == [*RANKED[3::-1], "My GAN"]
    score = header(browser, "IS")
    score.send_keys(" ")
    assert methods(browser)[0] == "My GAN"  # higher is better: largest first
    assert score.get_attribute("aria-sort") == "descending"
    assert fid.get_attribute("aria-sort") is None
    header(browser, "Rank").click()
    assert methods(browser) == RANKED  # a row without a rank comes last


def test_everything_is_reached_with_the_tab_key(browser: Any, built: Path) -> None:
    visit(browser, built / "index.html")
    reached = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys("\ue004")  # Tab
        reached.append(
            browser.execute_script(
                "const e = document.activeElement; return e.name || e.textContent.trim() || e.tagName"
            )
        )
    assert reached[0] == "Skip to the content"
    assert reached[1:5] == ["dataset", "protocol", "status", "method"]
    for wanted in ("Rank", "FD[digits-cnn]", "0", "1", "2", "CSV", "LaTeX", "How sure is the order?", "Charts"):
        assert wanted in reached, wanted
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) != "none"


def set_switch(browser: Any, name: str, value: str) -> None:
    script = """const field = document.getElementById('switches').elements.namedItem(arguments[0]);
        field.value = arguments[1]; field.dispatchEvent(new Event('input', {bubbles: true}));"""
    browser.execute_script(script, name, value)


def test_switches(browser: Any, built: Path) -> None:
    visit(browser, built / "index.html")
    set_switch(browser, "method", "c")
    assert methods(browser) == ["CORAL", "CBDM"]
    assert "method=c" in browser.current_url
    set_switch(browser, "method", "")
    set_switch(browser, "status", "resampled")
    assert methods(browser) == ["CORAL", "CBDM", "T2H", "DDPM"]
    set_switch(browser, "method", "gan")
    assert methods(browser) == []
    assert browser.execute_script("return document.getElementById('found').textContent") == "0 rows"
    set_switch(browser, "method", "")
    set_switch(browser, "status", "reported")
    shown = """return [...document.querySelectorAll('.board')]
        .filter(board => board.offsetParent !== null).map(board => board.dataset.dataset)"""
    assert "cifar10lt" in browser.execute_script(shown)
    set_switch(browser, "dataset", "celeba5")
    assert browser.execute_script(shown) == ["celeba5"]
    WebDriverWait(browser, 10).until(lambda seen: "dataset=celeba5" in seen.current_url)
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)  # a view can be passed on
    WebDriverWait(browser, 10).until(lambda seen: seen.execute_script(shown) == ["celeba5"])
    for name in ("status", "dataset"):
        set_switch(browser, name, "")
    set_switch(browser, "protocol", "digits-1k.v1")
    assert browser.execute_script(shown) == ["digits-lt"]
    assert not browser.execute_script("return document.getElementById('reported').offsetParent")


@pytest.mark.parametrize("page", ["index.html", "records/digits-lt/coral/0.html"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Any, built: Path, page: str, width: int) -> None:
    screen(browser, width)
    visit(browser, built / page)
    # on a busy machine the new width reaches the page a moment later
    narrow = "return window.innerWidth <= arguments[0] && document.documentElement.scrollWidth <= arguments[0]"
    WebDriverWait(browser, 10).until(lambda seen: seen.execute_script(narrow, width))


def test_on_a_phone_a_number_is_seen_at_once(browser: Any, built: Path) -> None:
    screen(browser, 390)
    visit(browser, built / "index.html")
    box = browser.execute_script("return document.querySelector('.board td.number:not(.wide)').getBoundingClientRect()")
    assert 0 <= box["left"] < box["right"] <= 390


def test_dark_mode(browser: Any, built: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    visit(browser, built / "index.html")
    assert browser.execute_script(ground) == "rgb(255, 255, 255)"
    screen(browser, 1280, dark=True)
    assert browser.execute_script(ground) == "rgb(20, 23, 27)"


def test_a_seed_leads_to_its_record_and_back(browser: Any, built: Path) -> None:
    visit(browser, built / "index.html")
    browser.find_element("css selector", '[aria-label="CBDM, seed 1"]').click()
    assert browser.title == "CBDM, seed 1, digits-lt"
    loaded = "const i = document.querySelector('img.samples'); return i.complete && i.naturalWidth"
    assert browser.execute_script(loaded) == 360
    browser.find_element("link text", "All leaderboards").click()
    assert browser.current_url.endswith("index.html#digits-lt--digits-1k.v1")


def test_hostile_text_runs_nothing(browser: Any, leaderboards: Path, tmp_path: Path, monkeypatch) -> None:
    out = write_hostile(leaderboards, tmp_path / "out", monkeypatch)
    for page in sorted(out.rglob("*.html"))[:4]:
        visit(browser, page)
        assert browser.execute_script("return window.hacked === undefined")
        assert browser.execute_script("return document.querySelectorAll('img[src=x], script:not([src])').length") == 0
    visit(browser, out / "index.html")
    header(browser, "IS").click()  # and neither after the script has moved it about
    set_switch(browser, "method", "<script>")
    assert browser.execute_script("return window.hacked === undefined")


def test_without_scripts_everything_is_shown(chromium: Any, built: Path) -> None:
    screen(chromium, 1280)
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        visit(chromium, built / "index.html")
        text = chromium.find_element("tag name", "main").text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "CORAL" in text
    assert "CIFAR100-LT" in text
    assert "Protocol\n" not in text  # the switches would do nothing, so they are not there
