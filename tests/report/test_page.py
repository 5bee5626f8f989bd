import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import UndefinedError
from selenium.webdriver import Keys

from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.report.rendering import build_environment, read_assets, render

NASTY = """<script>alert(1)</script>&"'#?%20.png"""
RED, BLUE = (200, 30, 20), (20, 40, 190)


MACROS = '{% from "macros.html" import picture, table %}'
PAGE = '{% extends "page.html" %}' + MACROS + "{% block main %}%s{% endblock %}"


def render_text(source, **context):
    return render(build_environment().from_string(source), **context)


def render_main(source, *, title="Test", **context):
    return render_text(PAGE.replace("%s", source), title=title, **read_assets("page"), **context)


def render_picture(src, **options):
    return render_text(MACROS + "{{ picture(src, **options) }}", src=src, options={"alt": "", "caption": ""} | options)


class Page(HTMLParser):
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
    """A red picture with a blue target, both with a name full of special characters."""
    (tmp_path / "in &").mkdir()
    name = NASTY.replace("/", "_")
    for folder, colour in (("in &", RED), (".", BLUE)):
        write_image(tmp_path / folder / name, np.full((10, 20, 3), colour, np.uint8))
    body = """<h1>Test</h1>{{ picture("in &/" ~ name, alt, "output <3", against=name, size=(20, 10)) }}
    {{ picture(name, "target", "target", size=(20, 10)) }}"""
    path = tmp_path / "page.html"
    path.write_text(render_main(body, name=name, alt=NASTY), "utf-8")
    return path


def colour(browser, selector):
    pixels = browser.pixels(browser.one(selector))
    return tuple(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2])


def test_everything_is_escaped():
    for html in (
        render_picture(NASTY, alt=NASTY, caption=NASTY, against=NASTY),
        render_text(MACROS + "{{ table([text, 'n'], [[text, text]]) }}", text=NASTY),
        render_main("", title=NASTY),
    ):
        tags = [tag for tag, _ in Page(html).tags]
        assert tags.count("script") == ("<!doctype" in html)  # the page's own
        assert NASTY in Page(html).text
    (image,) = [attributes for tag, attributes in Page(render_picture(NASTY, alt=NASTY)).tags if tag == "img"]
    assert image["alt"] == NASTY
    assert not set(image["src"]) & set("<>\"'#?& ")


def test_a_call_block_draws_the_cells_of_a_table_and_rows_have_headers():
    source = """{% call(cell) table(["name", "value"], [["a", "1"], ["c", "<i>"]]) %}<b>{{ cell }}</b>{% endcall %}"""
    page = Page(render_text(MACROS + source))
    assert [tag for tag, _ in page.tags].count("b") == 4
    assert [attributes.get("scope") for tag, attributes in page.tags if tag == "th"] == ["col", "col", "row", "row"]
    assert "<i>" in page.text


def test_a_template_does_not_hide_a_name_that_is_missing():
    with pytest.raises(UndefinedError, match="nothing"):
        render_text("{{ nothing }}")


def test_a_name_that_is_not_utf8_is_shown():
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    html = render_main("{{ picture(name, name, name) }}{{ table([name], [[name]]) }}", title=name, name=name)
    assert 'src="caf%E9.png"' in html
    html.encode("utf-8")


def test_a_picture_inside_the_page_keeps_its_address():
    address = "data:image/png;base64,iVBORw0KGgo="
    assert f'src="{address}"' in render_picture(address)
    assert 'href="javascript%3Aalert%281%29"' in render_picture("javascript:alert(1)")


def test_files_of_any_name_are_found(browser, page):
    browser.open(page)
    widths = "return [...document.querySelectorAll('figure img')].map(i => i.naturalWidth)"
    browser.until(lambda: browser.run(widths) == [20, 20])  # pictures are loaded when they are needed
    assert all(address.startswith("file:") for address in browser.addresses())
    assert browser.complaints() == []


def test_a_script_in_the_body_does_not_run(browser, tmp_path):
    attacks = "<script>document.title = 'owned'</script><img src='x' onerror='document.title = `owned`'>"
    attacks += "<img src='http://127.0.0.1:9/x.png'><style>h1 { color: rgb(1, 2, 3) }</style><h1>h</h1>"
    (tmp_path / "page.html").write_text(render_main(attacks, title="mine"))
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


def test_an_output_flickers_at_a_pace(browser, page):
    browser.open(page)
    browser.all("a.enlarge")[0].click()
    pace = browser.one("dialog .pace")
    assert float(pace.get_attribute("max")) <= 3  # more flashes a second can harm
    browser.run(
        "window.running = new Map(); const [set, clear] = [setInterval, clearInterval];"
        "window.setInterval = (act, pace) => { const id = set(act, pace); running.set(id, pace); return id; };"
        "window.clearInterval = (id) => { running.delete(id); clear(id); };"
    )
    paces = "return [...running.values()]"
    browser.press("f")
    browser.run("const p = arguments[0]; p.value = 3; p.dispatchEvent(new Event('input', {bubbles: true}))", pace)
    assert browser.run(paces) == [pytest.approx(1000 / 3)]
    swap = browser.one("dialog .swap")
    for state in ("true", "false"):
        browser.until(lambda state=state: swap.get_attribute("aria-pressed") == state)
    browser.press("f")
    assert browser.run(paces) == []
    browser.press("f")
    browser.press(Keys.ESCAPE)  # closing stops it too
    browser.until(lambda: not browser.one("dialog").is_displayed())
    assert browser.one("dialog .flicker").get_attribute("aria-pressed") == "false"
    assert browser.run(paces) == []


def test_without_a_target_there_is_nothing_to_flicker(browser, page):
    browser.open(page)
    browser.all("a.enlarge")[1].click()
    assert not browser.one("dialog .swap").is_displayed()
    browser.press("t")
    assert np.allclose(colour(browser, ".stage"), BLUE, atol=3)
    browser.press(Keys.ENTER)  # the focus is on the button that closes
    assert not browser.one("dialog").is_displayed()


def test_the_policy_allows_the_page_s_own_style_and_script():
    html = render_main("")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
