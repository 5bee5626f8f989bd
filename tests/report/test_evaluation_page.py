import math
from dataclasses import replace

import numpy as np
import pytest
from selenium.webdriver import Keys

from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.evaluation import Interval, Scores
from pix2pix_lightning.metrics import MetricInfo
from pix2pix_lightning.report.evaluation import render_evaluation_page

NASTY = """<script>alert(1)</script>&"'"""
NAMES = ["first", NASTY, "third", "fourth"]
VALUES = {
    "l1": [0.2, 0.1, 0.4, 0.3],
    "psnr": [12.0, 9.5, 101.25, 20.0],
    "gradient": [0.9, 1.6, math.nan, 0.5],
}
FACTS = {
    "checkpoint": f"run/{NASTY}/best.ckpt",
    "split": "test",
    "mode": "paper",
    "weights": "trained",
    "norm": "image",
    "dropout": "on",
    "seed": 7,
    "device": "cpu",
    "command": f"python -m pix2pix_lightning.evaluate checkpoint='{NASTY}'",
    "left_out": {"ms_ssim": "needs sides of 176 pixels at least, and these are 32"},
}


def write_page(folder, names, values, *, infos=None, figures=None):
    """Write a page and its pictures, each of a different colour."""
    folders = [f"images/{number}" for number in range(len(names))]
    for number, name in enumerate(folders):
        (folder / name).mkdir(parents=True)
        for shade, kind in ((0, "input"), (90, "output"), (180, "target")):
            write_image(folder / name / f"{kind}.png", np.full((32, 32, 3), (number % 200, shade, 60), np.uint8))
    values = {metric: np.array(numbers) for metric, numbers in values.items()}
    means = {
        metric: Interval(float(np.nanmean(v)), float(np.nanmin(v)), float(np.nanmax(v))) for metric, v in values.items()
    }
    page = folder / "index.html"
    means |= {metric: Interval(value, math.nan, math.nan) for metric, value in (figures or {}).items()}
    scores = Scores(names, values, means, infos or {})
    page.write_text(render_evaluation_page(scores, folders, FACTS, size=(32, 32)), "utf-8")
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("evaluation"), NAMES, VALUES)


def shown(browser):
    """Return the numbers of the pairs from top to bottom."""
    pairs = sorted(browser.all(".pairs > li"), key=lambda pair: pair.location["y"])
    return [NAMES.index(pair.find_element("css selector", "h3").text) for pair in pairs]


def pick(browser, label, option):
    """Choose an option with the keyboard."""
    control = browser.one(f"#{label}")
    browser.run("arguments[0].focus()", control)
    options = [entry.text for entry in control.find_elements("css selector", "option")]
    browser.press(Keys.HOME, *[Keys.ARROW_DOWN] * options.index(option))
    assert control.find_element("css selector", "option:checked").text == option
    assert browser.focused() == control


def test_without_scripts_the_worst_come_first(browser, page):
    browser.open(page, script=False)
    assert shown(browser) == [2, 3, 0, 1]
    assert not browser.one(".sorting").is_displayed()


def test_sorting_by_any_metric_with_the_keyboard(browser, page):
    browser.open(page)
    status = browser.one(".sorting [role=status]")
    assert shown(browser) == [2, 3, 0, 1]
    assert status.text == "4 pairs by L1, worst first"
    pick(browser, "by", "PSNR (dB)")
    assert shown(browser) == [1, 0, 3, 2]
    pick(browser, "order", "best first")
    assert shown(browser) == [2, 3, 0, 1]
    assert status.text == "4 pairs by PSNR (dB), best first"
    pick(browser, "by", "Gradient")  # 1 is best; a pair without a value is last in both orders
    assert shown(browser) == [0, 3, 1, 2]
    pick(browser, "order", "worst first")
    assert shown(browser) == [1, 3, 0, 2]
    assert [value.text.split() for value in browser.all(".values .key")[:2]] == [
        ["Gradient", "1.6000"],
        ["Gradient", "0.5000"],
    ]
    pick(browser, "by", "the split's order")
    assert shown(browser) == [0, 1, 2, 3]
    assert not browser.one("#order").is_displayed()
    assert status.text == "4 pairs in the split's order"
    pick(browser, "by", "L1")
    assert shown(browser) == [2, 3, 0, 1]
    assert browser.complaints() == []
    assert {address.partition(":")[0] for address in browser.addresses()} == {"file"}


def test_a_sorted_pair_keeps_its_pictures_and_its_target(browser, page):
    browser.open(page)
    pick(browser, "by", "PSNR (dB)")
    first = browser.all(".pairs > li")[0]
    addresses = [image.get_attribute("src") for image in first.find_elements("css selector", "img")]
    assert [address.rpartition("images/")[2] for address in addresses] == [
        f"1/{kind}.png" for kind in ("input", "output", "target")
    ]
    assert [image.get_attribute("alt") for image in first.find_elements("css selector", "img")][
        1
    ] == f"output of {NASTY}"
    first.find_elements("css selector", "a.enlarge")[1].click()
    browser.until(lambda: browser.one("dialog").is_displayed())
    assert browser.one("dialog .shown").get_attribute("src") == addresses[1]
    assert browser.one("dialog .against").get_attribute("src") == addresses[2]
    browser.press(Keys.ESCAPE)
    browser.until(lambda: not browser.one("dialog").is_displayed())


def test_figures_settings_and_layout(browser, page):
    browser.open(page)
    figures = [row.text.split() for row in browser.all(".figures tbody tr")]
    assert figures[0] == ["L1", "lower", "is", "better", "0.2500", "0.1000", "to", "0.4000"]
    assert figures[1] == ["PSNR", "(dB)", "higher", "is", "better", "35.69", "9.50", "to", "101.25"]
    assert figures[2][:5] == ["Gradient", "nearer", "to", "1", "is"]
    assert f"4 pairs of the split test, translated by run/{NASTY}/best.ckpt in mode paper." in browser.one("main").text
    details = browser.one("details")
    browser.run("arguments[0].open = true", details)
    assert FACTS["command"] in details.text
    assert "Left out: it needs sides of 176 pixels at least, and these are 32." in details.text
    assert len(browser.all("h1")) == 1
    for control in ("by", "order"):
        assert browser.run("return arguments[0].labels.length", browser.one(f"#{control}")) == 1
    browser.open(page, width=360)
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    browser.open(page, media="print")
    assert not browser.one(".sorting").is_displayed()


def test_pictures_out_of_sight_are_not_loaded(browser, tmp_path):
    names = [f"pair {number}" for number in range(200)]
    page = write_page(tmp_path, names, {"l1": np.linspace(0, 1, 200), "ssim": np.linspace(1, 0.5, 200)})
    browser.open(page)
    browser.until(lambda: browser.one("img[src='images/199/input.png']").get_property("complete"))
    loaded = sum(".png" in address for address in browser.addresses())
    assert 3 <= loaded < 150
    pick(browser, "order", "best first")
    browser.until(lambda: browser.one("img[src='images/0/input.png']").get_property("naturalWidth") == 32)


def test_metrics_that_are_not_registered_are_sorted_by_what_is_known_about_them(browser, tmp_path):
    values = {"bias": [0.0, 1.0, 2.0, 3.0], "error": [3.0, 1.0, 4.0, math.inf], "score": [3.0, 1.0, 4.0, 2.0]}
    directions = {"bias": "unknown", "error": "lower", "score": "higher", "fid": "lower"}
    infos = {name: MetricInfo(name, name.upper(), way, unit="%", decimals=1) for name, way in directions.items()}
    infos["fid"] = replace(infos["fid"], kind="distribution")
    browser.open(write_page(tmp_path, NAMES, values, infos=infos, figures={"fid": 7.25}))
    assert shown(browser) == [2, 0, 1, 3]  # a value that is not finite is last in both orders
    pick(browser, "order", "best first")
    assert shown(browser) == [1, 0, 2, 3]
    pick(browser, "by", "SCORE (%)")
    assert shown(browser) == [2, 0, 3, 1]
    options = [option.text for option in browser.all("#by option")]
    assert options == ["ERROR (%)", "SCORE (%)", "the split's order"]
    figures = [row.text.split(maxsplit=2) for row in browser.all(".figures tbody tr")]
    assert figures[0] == ["BIAS", "(%)", "1.5 0.0 to 3.0"]  # which value is better is not known
    assert figures[3] == ["FID", "(%)", "lower is better 7.2 none"]
    assert browser.all('[data-metric="fid"]') == []
