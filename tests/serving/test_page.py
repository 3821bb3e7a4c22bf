"""The page in a real browser, by keyboard; needs Debian's chromium and chromium-driver."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.serving.conftest import Listen

pytestmark = pytest.mark.browser

WAIT_S = 120
KEY = "k" * 32
PHONE = "--window-size=400,800"
WATCH = """
    window.seen = [];
    new MutationObserver(() => seen.push(...[...document.querySelectorAll("canvas")].map(
        (canvas) => canvas.getAttribute("aria-label"),
    ))).observe(
        document.getElementById("pictures"),
        {subtree: true, childList: true, attributes: true},
    );
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("no chromium, no chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", PHONE):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


class Page:
    """The page, as somebody with a keyboard and a small screen has it."""

    def __init__(self, chromium: Any, address: str) -> None:
        self.browser = chromium
        chromium.get(address)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def focus(self, name: str) -> None:
        """Tab on until this has the focus."""
        for _ in range(20):
            if self.browser.switch_to.active_element.get_attribute("id") == name:
                return
            self.press(Keys.TAB)
        raise AssertionError(f"{name} cannot be reached by keyboard")

    def text(self, name: str) -> str:
        return self.browser.find_element(By.ID, name).text

    def until(self, name: str, words: str) -> None:
        WebDriverWait(self.browser, WAIT_S).until(
            lambda _: words in self.text(name), f"{name} never said {words!r}"
        )

    def pictures(self) -> list[str]:
        script = "return [...document.querySelectorAll('canvas')].map((c) => c.toDataURL())"
        return self.browser.execute_script(script)

    def captions(self) -> list[str]:
        return [e.text for e in self.browser.find_elements(By.TAG_NAME, "figcaption")]

    def complaints(self) -> list[str]:
        """Of the browser: broken scripts, forbidden content."""
        entries = self.browser.get_log("browser")
        return [e["message"] for e in entries if "status of" not in e["message"]]


def test_a_picture_grows_and_is_compared_with_plain_decoding(chromium: Any, url: str) -> None:
    page = Page(chromium, url)
    page.until("model", "tiny, 12x12")
    chromium.execute_script(WATCH)
    page.press(Keys.CONTROL, "a")
    page.press("a green tree", Keys.TAB, "7", Keys.ENTER)
    page.until("status", "Done.")
    seen = chromium.execute_script("return seen")
    assert list(dict.fromkeys(seen)) == ["not begun", "being made", "a green tree"]
    assert seen.count("being made") > 1
    [caption] = page.captions()
    assert "seed 7, jacobi:" in caption
    assert "tokens per forward" in caption

    page.focus("compare")
    page.press(Keys.ENTER)
    page.until("status", "by plain decoding")
    page.until("status", "Done.")
    first, second = page.captions()
    assert first == caption
    assert "seed 7, plain:" in second
    assert "36 forwards" in second
    drafted, plain = page.pictures()
    assert drafted == plain

    page.focus("cells")
    page.press(Keys.SPACE)
    with_cells, plain_with_cells = page.pictures()
    assert len({drafted, with_cells, plain_with_cells}) == 3  # only one of them was drafted
    page.press(Keys.SPACE)
    assert page.pictures() == [drafted, plain]
    assert page.complaints() == []


def test_several_pictures_fit_a_phone(chromium: Any, url: str) -> None:
    page = Page(chromium, url)
    page.until("model", "tiny")
    page.focus("count")
    page.press(Keys.CONTROL, "a")
    page.press("3", Keys.ENTER)
    page.until("status", "Done.")
    assert len(set(page.pictures())) == 3
    script = "return [document.documentElement.scrollWidth, window.innerWidth]"
    needed, there = chromium.execute_script(script)
    assert needed <= there


def test_a_missing_key_is_asked_for(chromium: Any, listen: Listen) -> None:
    page = Page(chromium, listen(keys=KEY))
    page.until("error", "This server wants an API key")
    page.press(KEY, Keys.ENTER)  # the field has the focus
    page.until("status", "Done.")
    assert len(page.pictures()) == 1
    assert page.text("error") == ""
    assert "tiny, 12x12" in page.text("model")


def test_errors_are_shown_as_sentences(chromium: Any, listen: Listen) -> None:
    page = Page(chromium, listen(limits={"prompt_chars": 10}))
    page.until("model", "tiny")
    page.press(Keys.ENTER)
    page.until("error", "the prompt has 21 characters, 10 are the most")
    assert page.pictures() == []
    page.press(Keys.CONTROL, "a")
    page.press("short", Keys.ENTER)
    page.until("status", "Done.")
    assert page.text("error") == ""
