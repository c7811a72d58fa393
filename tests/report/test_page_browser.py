"""The page in a real browser: no errors, nothing overflows, sorting and filtering work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rmtscale.records.store import Reading
from rmtscale.report.bundle import make_files
from rmtscale.report.document import Source, make_document
from tests.synthetic.records import figure_10, inference

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium with its driver on this machine"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    records = (*figure_10(), *inference())
    document = make_document([Source("a-long-name-of-a-file-of-records.jsonl", Reading(records))])
    make_files(document, folder, force=False)
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser(path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    # Without a sandbox of its own: tests run as root in containers, and the page is our own file.
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get(path.as_uri())
    yield driver
    driver.quit()


def resize(browser: Any, width: int, height: int = 900) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    time.sleep(0.2)


def column(browser: Any, table: str, index: int) -> list[str]:
    """The text of a column, of the rows that are shown."""
    return list(
        browser.execute_script(
            f"return [...document.querySelectorAll('#{table} tbody tr:not([hidden])')]"
            f".map((row) => row.cells[{index}].textContent)"
        )
    )


def test_no_errors_and_no_network(browser: Any, path: Path) -> None:
    assert browser.get_log("browser") == []
    asked = [
        entry["message"]
        for entry in browser.get_log("performance")
        if "requestWillBeSent" in entry["message"]
    ]
    assert asked
    assert not any('"url":"http' in message for message in asked)


def unfold(browser: Any, opened: bool = True) -> None:
    """Opens or closes everything that is folded."""
    browser.execute_script(
        "document.querySelectorAll('details').forEach((one) => { one.open = arguments[0]; })",
        opened,
    )


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_overflows(browser: Any, width: int, opened: bool) -> None:
    unfold(browser, opened)
    resize(browser, width)
    inner, scroll = browser.execute_script(
        "return [window.innerWidth, document.documentElement.scrollWidth]"
    )
    assert inner == width
    assert scroll <= width


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (375, 812)])
def test_the_results_are_on_the_first_screen(browser: Any, width: int, height: int) -> None:
    unfold(browser, opened=False)
    resize(browser, width, height)
    bottom = browser.execute_script(
        "return document.querySelector('#summary').getBoundingClientRect().bottom + scrollY"
    )
    assert bottom < height
    if width > 1000:  # and the first picture begins there
        top = browser.execute_script(
            "return document.querySelector('figure img').getBoundingClientRect().top + scrollY"
        )
        assert top < height


def test_won_and_lost_are_said_in_words_and_in_colour(browser: Any) -> None:
    resize(browser, 1280)
    cells = browser.execute_script(
        "return [...document.querySelectorAll('#summary td.won, #summary td.lost')].map("
        "(one) => [one.className, one.textContent, getComputedStyle(one).color])"
    )
    assert cells
    for name, words, _ in cells:
        assert words.startswith({"won": "RMT wins", "lost": "full attention wins"}[name])
    assert len({colour for name, _, colour in cells}) == len({name for name, _, _ in cells})


def test_what_is_folded_opens_by_keyboard_and_by_its_address(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    unfold(browser, opened=False)
    heading = browser.find_element(By.CSS_SELECTOR, "#conventions summary")
    heading.send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "#conventions dl").is_displayed()
    assert not browser.find_element(By.ID, "points").is_displayed()
    browser.execute_script("location.hash = 'points'")
    time.sleep(0.3)
    assert browser.find_element(By.ID, "points").is_displayed()


def test_every_figure_is_shown(browser: Any) -> None:
    unfold(browser)
    sizes = browser.execute_script(
        "return [...document.images].map((one) => [one.complete, one.naturalWidth, one.alt])"
    )
    assert len(sizes) == 10
    assert all(complete and width > 100 and len(alt) > 40 for complete, width, alt in sizes)


def test_sorting_by_keyboard(browser: Any) -> None:
    unfold(browser)
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    resize(browser, 1280)
    button = browser.find_element(By.CSS_SELECTOR, "#points thead th:nth-child(3) button")
    button.send_keys(Keys.ENTER)
    tokens = [int(text.replace(",", "")) for text in column(browser, "points", 2)]
    assert tokens == sorted(tokens)
    button.send_keys(Keys.SPACE)
    tokens = [int(text.replace(",", "")) for text in column(browser, "points", 2)]
    assert tokens == sorted(tokens, reverse=True)
    head = browser.find_element(By.CSS_SELECTOR, "#points thead th:nth-child(3)")
    assert head.get_attribute("aria-sort") == "descending"


def test_sorting_goes_by_the_number_and_keeps_what_is_missing_last(browser: Any) -> None:
    unfold(browser)
    from selenium.webdriver.common.by import By

    resize(browser, 1280)
    button = browser.find_element(By.CSS_SELECTOR, "#points thead th:nth-child(8) button")
    for _ in range(2):
        browser.execute_script("arguments[0].click()", button)
        values = column(browser, "points", 7)
        assert values[-1] == "-"
    assert values[0] == "77.09 GiB"  # although 354.4 MiB has more of them
    assert values[-2].endswith("MiB")


def test_filtering(browser: Any) -> None:
    unfold(browser)
    from selenium.webdriver.common.by import By

    resize(browser, 1280)
    field = browser.find_element(By.CSS_SELECTOR, "input[data-table=points]")
    field.send_keys("rmt 500 training")
    assert {text.split(",")[0] for text in column(browser, "points", 1)} == {"RMT 500"}
    status = browser.find_element(By.CSS_SELECTOR, "[data-count=points]")
    assert status.text == "8 of 30 rows"
    field.clear()
    field.send_keys("x")
    field.send_keys("\b")
    assert status.text == "30 rows"


def test_dark_and_print(browser: Any) -> None:
    def background() -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    for scheme, colour in (("dark", "rgb(13, 17, 23)"), ("light", "rgb(255, 255, 255)")):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        assert background() == colour
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(pdf) > 10_000
