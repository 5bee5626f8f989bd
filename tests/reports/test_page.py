import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from selenium.webdriver import Keys

from pix2pix_lightning.data.image_files import write_image
from pix2pix_lightning.reports import Markup, document, picture, table

NASTY = """<script>alert(1)</script>&"'#?%20.png"""
RED, BLUE = (200, 30, 20), (20, 40, 190)


class Seen(HTMLParser):
    """Tags with their attributes, and the text between."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(tmp_path):
    """A red picture against a blue one, both under a name full of what means something."""
    (tmp_path / "in &").mkdir()
    name = NASTY.replace("/", "_")
    for folder, colour in (("in &", RED), (".", BLUE)):
        write_image(tmp_path / folder / name, np.full((10, 20, 3), colour, np.uint8))
    body = "<h1>Test</h1>" + picture(f"in &/{name}", alt=NASTY, caption="output <3", against=name, size=(20, 10))
    body += picture(name, alt="target", caption="target", size=(20, 10))
    path = tmp_path / "page.html"
    path.write_text(document("Test", body), "utf-8")
    return path


def colour(browser, selector):
    """In the middle."""
    pixels = browser.pixels(browser.one(selector))
    return tuple(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2])


def test_everything_is_escaped():
    for html in (
        picture(NASTY, alt=NASTY, caption=NASTY, against=NASTY),
        table([NASTY, "n"], [[NASTY, NASTY]]),
        document(NASTY, ""),
    ):
        tags = [tag for tag, _ in Seen(html).tags]
        assert tags.count("script") == ("<!doctype" in html)  # the page's own
        assert NASTY in Seen(html).text
    (image,) = [attributes for tag, attributes in Seen(picture(NASTY, alt=NASTY, caption="")).tags if tag == "img"]
    assert image["alt"] == NASTY
    assert not set(image["src"]) & set("<>\"'#?& ")


def test_markup_is_not_escaped_and_rows_have_their_heads():
    seen = Seen(table(["name", "value"], [["a", Markup("<b>1</b>")], ["c", "<i>"]]))
    assert [tag for tag, _ in seen.tags].count("b") == 1
    assert [attributes.get("scope") for tag, attributes in seen.tags if tag == "th"] == ["col", "col", "row", "row"]
    assert "<i>" in seen.text


def test_a_name_that_is_no_utf8_is_no_error():
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    html = document(name, picture(name, alt=name, caption=name) + table([name], [[name]]))
    assert 'src="caf%E9.png"' in html
    html.encode("utf-8")


def test_a_picture_inside_the_page_keeps_its_address():
    address = "data:image/png;base64,iVBORw0KGgo="
    assert f'src="{address}"' in picture(address, alt="", caption="")
    assert 'href="javascript%3Aalert%281%29"' in picture("javascript:alert(1)", alt="", caption="")


def test_files_of_any_name_are_found(browser, page):
    browser.open(page)
    sizes = browser.run("return [...document.querySelectorAll('figure img')].map(i => i.naturalWidth)")
    assert sizes == [20, 20]
    assert all(address.startswith("file:") for address in browser.addresses())
    assert browser.complaints() == []


def test_a_script_in_the_body_does_not_run(browser, tmp_path):
    attacks = "<script>document.title = 'owned'</script><img src='x' onerror='document.title = `owned`'>"
    attacks += "<img src='http://127.0.0.1:9/x.png'><style>h1 { color: rgb(1, 2, 3) }</style><h1>h</h1>"
    (tmp_path / "page.html").write_text(document("mine", attacks))
    browser.open(tmp_path / "page.html")
    assert browser.web.title == "mine"
    assert browser.run("return getComputedStyle(document.querySelector('h1')).color") != "rgb(1, 2, 3)"
    assert len([line for line in browser.complaints() if "Content Security Policy" in line]) == 4
    assert not [address for address in browser.addresses() if address.startswith("http")]


@pytest.mark.parametrize("way", ["click", "enter"])
def test_a_picture_is_enlarged_and_focus_comes_back(browser, page, way):
    browser.open(page)
    link = browser.all("a.enlarge")[0]
    assert not browser.one("dialog").is_displayed()
    if way == "click":
        link.click()
    else:
        browser.press(Keys.TAB, Keys.ENTER)
    assert browser.one("dialog").is_displayed()
    assert browser.one("#enlarged-caption").text == "output <3"
    assert browser.one(".stage .shown").size["width"] > 600
    assert np.allclose(colour(browser, ".stage"), RED, atol=3)
    for _ in range(12):  # the page behind cannot be reached
        browser.press(Keys.TAB)
        assert browser.run("return document.activeElement.closest('main')") is None
    browser.press(Keys.ESCAPE)
    browser.until(lambda: not browser.one("dialog").is_displayed())
    assert browser.focused() == link


def test_the_target_is_shown_by_button_and_by_key(browser, page):
    browser.open(page)
    browser.all("a.enlarge")[0].click()
    button = browser.one("dialog .swap")
    for act in (button.click, lambda: browser.press("t"), lambda: browser.press(Keys.SPACE)):
        assert np.allclose(colour(browser, ".stage"), RED, atol=3)
        act()
        assert np.allclose(colour(browser, ".stage"), BLUE, atol=3)
        assert (button.get_attribute("aria-pressed"), browser.one("#enlarged-caption").text) == ("true", "target")
        button.click()
    browser.one("dialog .close").click()
    assert not browser.one("dialog").is_displayed()


def test_it_flickers_at_a_pace(browser, page):
    browser.open(page)
    browser.all("a.enlarge")[0].click()
    pace = browser.one("dialog .pace")
    assert float(pace.get_attribute("max")) <= 3  # more flashes a second can harm
    browser.run(
        "window.swaps = []; new MutationObserver(() => swaps.push(performance.now()))"
        ".observe(document.querySelector('dialog .swap'), {attributes: true})"
    )
    browser.press("f")
    browser.run("const p = arguments[0]; p.value = 3; p.dispatchEvent(new Event('input', {bubbles: true}))", pace)
    browser.until(lambda: browser.run("return swaps.length") >= 4)
    assert np.allclose(np.median(np.diff(browser.run("return swaps"))), 1000 / 3, rtol=0.5)
    browser.press("f")
    count = browser.run("return swaps.length")
    time.sleep(0.5)
    assert browser.run("return swaps.length") == count
    browser.press("f")
    browser.press(Keys.ESCAPE)  # closing ends it too
    browser.until(lambda: not browser.one("dialog").is_displayed())
    assert browser.one("dialog .flicker").get_attribute("aria-pressed") == "false"


def test_without_a_target_there_is_nothing_to_flicker(browser, page):
    browser.open(page)
    browser.all("a.enlarge")[1].click()
    assert not browser.one("dialog .swap").is_displayed()
    browser.press("t")
    assert np.allclose(colour(browser, ".stage"), BLUE, atol=3)
    browser.press(Keys.ENTER)  # the focus is on the button that closes
    assert not browser.one("dialog").is_displayed()


def test_the_policy_names_what_is_in_the_page():
    html = document("t", "", style="h1 { margin: 0 }", script="'use strict';")
    assert "'unsafe-inline'" not in html
    assert re.search(r"<style>.*h1 \{ margin: 0 \}</style>", html, re.DOTALL)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
