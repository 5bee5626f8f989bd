import json
import re
import shutil
from itertools import pairwise

import cv2
import numpy as np
import pytest
from selenium.webdriver import Keys

from pix2pix_lightning.metrics import build_metrics, describe_metrics
from pix2pix_lightning.report import GalleryFolder, render_page
from pix2pix_lightning.report.links import refresh_links

NASTY = """<script>alert(1)</script>&"'.png"""
NAMES = ["plain", NASTY, "a_very_long_name_without_any_place_to_break_it_" * 4]
EPOCHS = range(5)
COMMAND = f"python -m pix2pix_lightning.train experiment=facades '{NASTY}'"
OUTPUT = "article .picture:nth-child(2)"


def shade(epoch):
    return 40 + 30 * epoch


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of five epochs; its second pair has no pictures of the first two."""
    run = tmp_path_factory.mktemp("run")
    gallery = GalleryFolder(run / "gallery", run)
    for epoch in EPOCHS:
        for position, name in enumerate(NAMES):
            if position == 1 and epoch < 2:
                continue
            flat = {"input": 250, "output": shade(epoch), "target": 10}
            gallery.add(position, name, epoch, {k: np.full((24, 32, 3), v, np.uint8) for k, v in flat.items()})
    (run / "config.yaml").write_text(f'seed: 0 # {NASTY}\ncommand: "{COMMAND.replace(chr(34), chr(92) + chr(34))}"\n')
    rows = ["epoch,step,val/l1,val/psnr,val/ssim,train/loss_g,train/loss_d,train/d_real,train/d_fake,train/l1"]
    for epoch in EPOCHS:
        rows += [f"{epoch},{10 * epoch + i},,,,{40 - epoch},{0.5},{0.6},{0.4},{0.3}" for i in range(9)]
        rows.append(f"{epoch},{10 * epoch + 9},{0.3 - 0.05 * epoch},{12 + epoch % 4},{0.1 * epoch},,,,,")
    (run / "metrics.csv").write_text("\n".join(rows[:-1]) + "\n")
    gallery.write_page({"step": 49, "epoch": 4, "val/l1": 0.1, "val/psnr": 12.0, "val/ssim": 0.4})
    return run


@pytest.fixture
def page(run_dir):
    return run_dir / "gallery/index.html"


def captions(browser):
    return [element.text for element in browser.all(f"{OUTPUT} figcaption")]


def sources(browser):
    return [image.get_attribute("src").rpartition("/")[2] for image in browser.all(f"{OUTPUT} img")]


def seen_shade(browser):
    return int(browser.pixels(browser.all(f"{OUTPUT} img")[0]).mean().round())


def test_the_slider_shows_each_epoch(browser, page):
    browser.open(page)
    slider = browser.one("#epoch")
    assert sources(browser) == ["epoch_0004.png"] * 3
    assert slider.accessible_name == "Epoch"
    assert (slider.get_attribute("aria-valuetext"), browser.one("output").text) == ("5 of 5", "5 of 5")
    slider.send_keys(Keys.ARROW_LEFT)
    assert sources(browser) == ["epoch_0003.png"] * 3
    assert captions(browser) == ["output, epoch 4"] * 3
    assert (slider.get_attribute("aria-valuetext"), browser.one("output").text) == ("4 of 5", "4 of 5")
    assert browser.until(lambda: seen_shade(browser) == shade(3))
    slider.send_keys(Keys.HOME)
    assert sources(browser) == ["epoch_0000.png", "epoch_0002.png", "epoch_0000.png"]  # the second began later
    assert captions(browser)[1] == "output, epoch 3"
    assert browser.all(f"{OUTPUT} img")[2].get_attribute("alt").endswith("epoch 1")
    assert browser.until(lambda: seen_shade(browser) == shade(0))


def test_play_goes_through_all_epochs_and_stops(browser, page):
    browser.open(page)
    browser.run(
        "window.seen = []; new MutationObserver(() => seen.push(document.querySelector('output').textContent))"
        ".observe(document.querySelector('output'), {childList: true})"
    )
    play = browser.one(".player button")
    play.click()
    assert play.text == "Pause"
    browser.until(lambda: play.text == "Play")
    assert browser.run("return seen") == [f"{n} of 5" for n in (1, 2, 3, 4, 5)]
    play.click()
    play.click()
    assert (play.text, browser.one("output").text) == ("Play", "1 of 5")


def test_what_the_slider_shows_is_enlarged_against_the_target(browser, page):
    browser.open(page)
    browser.one("#epoch").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    browser.all(f"{OUTPUT} a")[0].send_keys(Keys.ENTER)
    assert browser.one("#enlarged-caption").text == "output, epoch 3"

    def middle():
        pixels = browser.pixels(browser.one(".stage"))
        return int(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].mean())

    assert browser.until(lambda: middle() == shade(2))
    browser.press("t")
    assert browser.until(lambda: middle() == 10)


def test_every_epoch_of_a_pair_comes_on_demand(browser, page):
    browser.open(page)
    assert len(browser.all("main img")) == 9
    browser.all("summary")[1].send_keys(Keys.ENTER)
    strip = browser.until(lambda: browser.all(".strip"))[0]
    assert [e.text for e in strip.find_elements("css selector", "figcaption")] == [
        f"output, epoch {n}" for n in (3, 4, 5)
    ]
    assert strip.accessible_name == f"Every epoch of {NASTY}"
    strip.find_elements("css selector", "a")[0].click()
    assert browser.one("#enlarged-caption").text == "output, epoch 3"


def test_names_and_settings_are_text(browser, page):
    browser.open(page)
    assert [heading.text for heading in browser.all("h3")][:2] == NAMES[:2]
    browser.one(".settings summary").click()
    assert NASTY in browser.one(".settings pre").text
    assert browser.one(".command").text == COMMAND
    assert browser.web.title == f"Gallery of {page.parents[2].name}/{page.parents[1].name}"
    assert browser.run("return document.scripts.length") == 1
    assert browser.complaints() == []
    addresses = browser.addresses()
    assert addresses
    assert all(address.startswith(page.parent.as_uri()) for address in addresses)


def test_figures_and_curves_go_to_the_last_epoch(browser, page):
    browser.open(page)
    cells = [[cell.text for cell in row.find_elements("css selector", "th, td")] for row in browser.all("tr")]
    assert cells == [
        ["Metric", "Last", "Best"],
        ["Validation L1 lower is better", "0.1000", "0.1000, epoch 5"],
        ["Validation PSNR (dB) higher is better", "12.0000", "15.0000, epoch 4"],
        ["Validation SSIM higher is better", "0.4000", "0.4000, epoch 5"],
    ]
    titles = [caption.text for caption in browser.all(".chart figcaption")]
    assert titles[:4] == [
        "Validation L1 lower is better",
        "Validation PSNR (dB) higher is better",
        "Validation SSIM higher is better",
        "Generator loss lower is better",
    ]
    keys = [element.get_attribute("title") for element in browser.all("#metrics tbody th span, .chart figcaption")]
    assert keys[:4] == ["val/l1", "val/psnr", "val/ssim", "val/l1"]
    assert keys[7] == "train/loss_d"
    drawing = browser.all(".chart svg[role]")[0]
    assert drawing.accessible_name == "Validation L1 lower is better"
    assert "from 0.3 at 9 to 0.1 at 49" in browser.run(
        "return document.getElementById(arguments[0].getAttribute('aria-describedby')).textContent", drawing
    )


def move_over(browser, drawing, across, *, touch=False):
    """Move a mouse or a finger over a chart, to a share of its width."""
    browser.run(
        "const [e, share, type] = arguments, box = e.getBoundingClientRect();"
        "const at = {clientX: box.left + share * box.width, clientY: box.top + 9, pointerType: type, bubbles: true};"
        "e.dispatchEvent(new PointerEvent(type === 'touch' ? 'pointerdown' : 'pointermove', at))",
        *(drawing, across, "touch" if touch else "mouse"),
    )


def test_a_curve_tells_its_values_at_a_pointer_a_finger_and_by_keys(browser, page):
    browser.open(page)
    figure = browser.all(".chart")[0]
    drawing, readout = (figure.find_element("css selector", name) for name in (":scope > svg", ".readout"))
    assert not readout.is_displayed()
    left, right = 60 / 400, 384 / 400  # the plot in the drawing
    for share, touch, text in (
        (0, False, "9 batches seen: 0.3"),
        (0.27, True, "19 batches seen: 0.25"),
        (1, False, "49"),
    ):
        move_over(browser, drawing, left + share * (right - left), touch=touch)
        assert readout.text.startswith(text)
    cursor = figure.find_element("css selector", ".cursor")
    assert float(cursor.get_attribute("x1")) == pytest.approx(384)
    browser.run("arguments[0].focus({focusVisible: true})", drawing)
    browser.press(Keys.ARROW_LEFT)
    assert readout.text == drawing.get_attribute("aria-valuetext") == "39 batches seen: 0.15"
    browser.press(Keys.HOME)
    assert readout.text == "9 batches seen: 0.3"
    browser.press(Keys.TAB)
    assert not readout.is_displayed()


def test_curves_are_smoothed_as_by_a_moving_average_without_bias(browser, page):
    browser.open(page)
    figure = browser.all(".chart")[1]  # PSNR goes up and down
    drawing, readout = (figure.find_element("css selector", name) for name in (":scope > svg", ".readout"))
    set_weight = "const s = document.getElementById('smoothing'); s.value = arguments[0];"
    set_weight += "s.dispatchEvent(new Event('input'))"
    browser.run(set_weight, 0.75)
    values = np.array([12, 13, 14, 15, 12.0])
    weights = 0.75 ** np.arange(5)[::-1]
    browser.run("arguments[0].focus({focusVisible: true})", drawing)
    browser.press(Keys.END)
    smoothed = (values * weights).sum() / weights.sum()
    assert readout.text == f"49 batches seen: {smoothed:.4g} smoothed, 12 measured"
    assert len(figure.find_elements("css selector", "polyline")) == 2
    (drawn,) = figure.find_elements("css selector", "polyline:not(.is-raw)")
    last = float(drawn.get_attribute("points").split(",")[-1])
    ticks = [(float(e.get_attribute("y")) - 4, float(e.text)) for e in figure.find_elements("css selector", "text.y")]
    (y0, v0), (y1, v1) = ticks[0], ticks[-1]
    assert v0 + (last - y0) / (y1 - y0) * (v1 - v0) == pytest.approx(smoothed, abs=0.02)
    browser.run(set_weight, 0)
    assert len(figure.find_elements("css selector", "polyline")) == 1
    browser.open(page, script=False)
    assert not browser.one(".smoothing").is_displayed()


def test_pages_of_a_run_link_each_other_also_in_a_copy_of_the_run_alone(browser, run_dir, tmp_path):
    home = tmp_path / "runs/a b/one#1"
    shutil.copytree(run_dir, home)
    (home / "evaluation/test_paper").mkdir(parents=True)
    for page in (home / "evaluation/test_paper/index.html", home.parents[1] / "index.html"):
        page.write_text(render_page("runs", title="T", written="", states=[], experiments=[]))
    refresh_links(home)
    gallery, evaluation = home / "gallery/index.html", home / "evaluation/test_paper/index.html"
    shutil.copytree(home, tmp_path / "copy")

    def read_links(page):
        browser.open(page)
        return [link.get_attribute("href") for link in browser.all(".pages a") if link.is_displayed()]

    runs = (home.parents[1] / "index.html").as_uri()
    assert read_links(gallery) == [evaluation.as_uri(), runs]
    assert read_links(evaluation) == [gallery.as_uri(), runs]
    copied = tmp_path / "copy"
    assert read_links(copied / "gallery/index.html") == [(copied / "evaluation/test_paper/index.html").as_uri()]
    shutil.rmtree(home / "evaluation")
    GalleryFolder(home / "gallery", home).write_page()
    assert read_links(gallery) == [runs]


def test_a_screen_reader_finds_names_and_headings(browser, page):
    browser.open(page)
    assert [h.text for h in browser.all("h1")] == ["Gallery"]
    levels = browser.run("return [...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert all(after - before <= 1 for before, after in pairwise(levels))
    alts = [image.get_attribute("alt") for image in browser.all("main img")]
    assert alts[3:6] == [f"input of {NASTY}", f"output for {NASTY}, epoch 5", f"target of {NASTY}"]
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.until(lambda: len(browser.all(".strip")) == 3)
    for control in browser.all("main a, main button, main input, main summary, main [tabindex]"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    browser.all(f"{OUTPUT} a")[0].click()
    for control in browser.all("dialog button, dialog input"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    assert browser.one("dialog").accessible_name == "output, epoch 5"


def test_everything_is_reached_by_the_keyboard(browser, page):
    browser.open(page)
    wanted = browser.all("main a, main button, main input, main summary, main svg[tabindex]")
    reached = []
    for _ in range(len(wanted) + 5):
        browser.press(Keys.TAB)
        reached.append(browser.focused())
        where = "const e = document.activeElement; return e === document.body || getComputedStyle(e).outlineStyle"
        assert browser.run(where) != "none"
    assert [element for element in wanted if element not in reached] == []


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(browser, page, width):
    browser.open(page, width=width, height=740)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.until(lambda: len(browser.all(".strip")) == 3)
    assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert browser.one("#epoch").size["width"] > 150
    for figure in browser.all("article:first-of-type .trio .picture"):
        assert figure.size["width"] > 100


def luminance(colour):
    values = np.array(colour) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    """Contrast as WCAG 2 defines it."""
    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


COLOURS = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour[3] !== 0) return colour.slice(0, 3);
  }
};
const out = [];
for (const e of document.querySelectorAll('body *')) {
  const style = getComputedStyle(e);
  const hasText = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (style.opacity !== '1') throw new Error('opacity of ' + e.tagName);
  if (e.matches('[class^=series-]'))
    out.push([e.outerHTML, parse(style.stroke === 'none' ? style.fill : style.stroke), behind(e), 3]);
  else if (hasText && !e.closest('script, desc, title') && e.checkVisibility())
    out.push([e.outerHTML, parse(e.closest('svg') ? style.fill : style.color).slice(0, 3), behind(e), 4.5]);
}
return out;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_both_schemes(browser, page, scheme):
    browser.open(page, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.all(f"{OUTPUT} a")[0].click()
    found = browser.run(COLOURS)
    assert len(found) > 50
    assert {wanted for *_, wanted in found} == {3, 4.5}
    for element, colour, background, wanted in found:
        assert contrast(colour, background) >= wanted, (element[:200], colour, background)
    background = browser.run("return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (luminance(background) > 0.5) == (scheme == "light")


def test_a_printed_page_has_no_controls_and_open_settings(browser, page):
    browser.open(page, media="print", scheme="dark")
    assert [e for e in browser.all("button, input, summary, nav, dialog") if e.is_displayed()] == []
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.one(".settings code").size["height"] > 10
    browser.open(page)
    browser.one("#epoch").send_keys(Keys.HOME)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert sources(browser) == ["epoch_0004.png"] * 3
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert sources(browser)[0] == "epoch_0000.png"


def test_without_scripts_the_newest_epoch_is_shown_and_no_dead_control(browser, page):
    browser.open(page, script=False)
    assert sources(browser) == ["epoch_0004.png"] * 3
    assert not browser.one(".player").is_displayed()
    assert not browser.all(".growth")[0].is_displayed()
    assert browser.one(".settings summary").is_displayed()


def test_a_long_run_makes_a_light_page(browser, tmp_path):
    gallery = GalleryFolder(tmp_path / "gallery")
    images = {column: np.zeros((2, 2, 1), np.uint8) for column in ("input", "output", "target")}
    for position in range(8):
        folder = tmp_path / "gallery/images" / gallery.add(position, f"pair {position}", 0, images)
        for epoch in range(1, 10_001, 50):
            (folder / f"epoch_{epoch:04d}.png").write_bytes((folder / "epoch_0000.png").read_bytes())
    gallery.write_page()
    page = tmp_path / "gallery/index.html"
    assert page.stat().st_size < 60_000
    browser.open(page)
    assert len(browser.all("main img")) == 24
    assert set(sources(browser)) == {"epoch_9951.png"}
    assert browser.one("#epoch").get_attribute("max") == "200"


def test_a_single_epoch_needs_no_slider(browser, tmp_path):
    gallery = GalleryFolder(tmp_path / "gallery")
    gallery.add(0, "one", 0, {c: np.zeros((4, 4, 3), np.uint8) for c in ("input", "output", "target")})
    gallery.write_page()
    browser.open(tmp_path / "gallery/index.html")
    assert browser.all("#epoch, .growth, #metrics, #settings") == []
    assert "1 validation pair, up to epoch 1:" in browser.one("main").text
    assert browser.complaints() == []


def test_damaged_files_are_left_out(tmp_path):
    gallery = GalleryFolder(tmp_path / "gallery", tmp_path)
    gallery.add(0, "one", 0, {c: np.zeros((4, 4, 3), np.uint8) for c in ("input", "output", "target")})
    (tmp_path / "gallery/images/001_begun").mkdir()  # as after a process that was stopped
    (tmp_path / "gallery/images/001_begun/input.png").touch()
    (tmp_path / "gallery/images/000_one/input.png").write_bytes(b"\x89PNG")
    (tmp_path / "config.yaml").write_text("seed: [0, {\ncommand: 'cut sho")
    (tmp_path / "metrics.csv").write_bytes(b"epoch,step,val/l1\n0,9,0.5\n1,19,nan\n\x00\xff,text,\n2,2")
    gallery.write_page()
    page = (tmp_path / "gallery/index.html").read_text("utf-8")
    assert "from 0.5 at 9 to 0.5 at 9" in page
    assert "seed: [0, {" in page
    assert 'id="repeat"' not in page
    assert page.count("<article") == 1


def test_rows_after_the_step_of_a_resumed_run_are_left_out(tmp_path):
    gallery = GalleryFolder(tmp_path / "gallery", tmp_path)
    gallery.add(0, "one", 0, {c: np.zeros((4, 4, 3), np.uint8) for c in ("input", "output", "target")})
    (tmp_path / "metrics.csv").write_text("epoch,step,val/l1\n0,9,0.5\n1,19,0.7\n2,29,0.9\n")
    gallery.write_page({"step": 19, "epoch": 1, "val/l1": 0.25})
    assert "from 0.5 at 9 to 0.25 at 19, lowest 0.25, highest 0.5" in (tmp_path / "gallery/index.html").read_text()


def test_names_of_any_kind_make_folders_and_a_page(tmp_path):
    gallery = GalleryFolder(tmp_path / "gallery")
    names = ["../up/..", "x" * 250, "ä/ö 漢字", b"caf\xe9".decode("utf-8", "surrogateescape"), NASTY]
    folders = [
        gallery.add(position, name, 0, {c: np.full((4, 4, 1), 9, np.uint8) for c in ("input", "output", "target")})
        for position, name in enumerate(names)
    ]
    GalleryFolder(tmp_path / "gallery").write_page()  # another process reads the names from the folder
    assert sorted(path.name for path in (tmp_path / "gallery/images").iterdir()) == folders
    assert all(cv2.imread(str(tmp_path / "gallery/images" / folder / "target.png")).max() == 9 for folder in folders)
    page = (tmp_path / "gallery/index.html").read_text("utf-8")
    assert "<h3>ä/ö 漢字</h3>" in page
    assert "<h3>caf?</h3>" in page
    assert "<h3>../up/..</h3>" in page


def test_the_best_value_follows_the_description_of_the_metrics(tmp_path):
    gallery = GalleryFolder(tmp_path / "gallery", tmp_path)
    gallery.add(0, "one", 0, {c: np.zeros((4, 4, 3), np.uint8) for c in ("input", "output", "target")})
    (tmp_path / "metrics.csv").write_text("epoch,step,val/fad,val/is,val/l1\n0,9,30,1,7\n1,19,20,5,8\n2,29,40,3,9\n")

    def read_best(**arguments):
        gallery.write_page(**arguments)
        return re.findall(r"<td>([\d.]+), epoch (\d)", (tmp_path / "gallery/index.html").read_text())

    assert read_best() == [("7.0000", "1")]  # only L1 is registered
    info = {f"val/{name}": {"label": name, "direction": way} for name, way in {"fad": "lower", "is": "higher"}.items()}
    assert read_best(metric_info=info) == [("7.0000", "1"), ("20.0000", "2"), ("5.0000", "2")]
    assert read_best(metric_info=describe_metrics(build_metrics(["l1"], prefix="val/"))) == [("7.0000", "1")]
    (tmp_path / "summary.json").write_text(json.dumps({"metric_info": info}))
    assert read_best() == [("7.0000", "1"), ("20.0000", "2"), ("5.0000", "2")]
    assert read_best(metric_info={"val/is": {"direction": "unknown"}}) == [("7.0000", "1")]
