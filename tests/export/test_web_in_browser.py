"""The page in a browser with onnxruntime-web, compared with Python's onnxruntime.

Run `npm install onnxruntime-web` at the root of the checkout, or set ONNXRUNTIME_WEB to its folder `dist`; the tests
are skipped without it.
"""

import base64
import json
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from small_pages import GRAYSCALE, LABEL, NUMBERS, build_graph, write_page

from browser import chromium
from pix2pix_lightning import PairSpec
from pix2pix_lightning.export import web


class StaticHandler(SimpleHTTPRequestHandler):
    """A static file server that allows other origins, as a CDN does."""

    def log_message(self, *_):
        pass

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()


@pytest.fixture
def served():
    """A function that serves a folder and returns its address."""
    servers = []

    def serve(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(StaticHandler, directory=folder))
        thread = Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def real_runtime():
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("ONNXRUNTIME_WEB", root / "node_modules" / "onnxruntime-web" / "dist"))
    if not (folder / "ort.wasm.bundle.min.mjs").is_file():
        pytest.skip("there is no onnxruntime-web: npm install onnxruntime-web, or set ONNXRUNTIME_WEB=<its dist>")
    return folder


@pytest.fixture(scope="module")
def browser(real_runtime, tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def read_status(browser):
    return browser.one("#status").text


def decode_url(address):
    return np.asarray(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))


def read_canvas(browser):
    return decode_url(browser.run("return document.querySelector('#drawing canvas').toDataURL()"))


def translate(browser):
    """Press the button and wait; return the offered file and the shown picture."""
    browser.run("document.querySelector('#results .pictures').replaceChildren()")
    browser.one("#translate").click()
    browser.until(lambda: browser.all("#results img"), 20)
    browser.until(lambda: read_status(browser).startswith("Translated in"), 20)
    link, picture = browser.one("#results a"), browser.one("#results img")
    assert link.get_attribute("download") == "translation.png"
    return decode_url(link.get_attribute("href")), decode_url(picture.get_attribute("src"))


def run_onnx(folder, image):
    """Translate (H, W, 3) or (H, W, 1) to (H, W, C) with Python's onnxruntime."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (output,) = session.run(None, {"source": np.ascontiguousarray(image.transpose(2, 0, 1)[None])})
    return output[0].transpose(1, 2, 0)


def draw_stroke(browser):
    canvas = browser.one("#drawing canvas")
    ActionChains(browser.web).move_to_element_with_offset(canvas, -80, -60).click_and_hold().move_by_offset(
        120, 90
    ).release().perform()


def open_page(browser, address):
    browser.open(address, height=1100)
    browser.until(lambda: read_status(browser) == "Ready", 30)
    canvas = browser.one("#drawing canvas")
    browser.until(lambda: canvas.get_attribute("data-shown"))


@pytest.mark.parametrize("place", ["own", "elsewhere"])
def test_drawing(tmp_path, browser, served, real_runtime, monkeypatch, place):
    if place == "elsewhere":
        monkeypatch.setattr(web, "_CDN", served(real_runtime))
    write_page(tmp_path / "page", runtime=real_runtime if place == "own" else None)
    address = served(tmp_path / "page")
    open_page(browser, address)
    first, _ = translate(browser)
    source = read_canvas(browser)
    with Image.open(tmp_path / "page" / "start.png") as start:
        assert (source == np.asarray(start)).all()
    draw_stroke(browser)
    assert (read_canvas(browser) != source).any()
    second, shown = translate(browser)
    assert (second != first).any()
    assert (second == shown).all()
    assert np.abs(second.astype(int) - run_onnx(tmp_path / "page", read_canvas(browser))).max() <= 1
    hosts = {name.partition("://")[2].partition("/")[0] for name in browser.addresses() if not name.startswith("data:")}
    assert len(hosts) == (1 if place == "own" else 2)
    assert browser.complaints() == []


def test_upload(tmp_path, browser, served, real_runtime):
    write_page(tmp_path / "page", runtime=real_runtime)
    open_page(browser, served(tmp_path / "page"))
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("text")
    file = browser.one("#drawing input[type=file]")
    file.send_keys(str(tmp_path / "text.png"))
    browser.until(lambda: "no picture" in read_status(browser))
    file.send_keys(str(tmp_path / "photo.png"))
    browser.until(lambda: (read_canvas(browser) == picture).all())
    output, _ = translate(browser)
    assert np.abs(output.astype(int) - run_onnx(tmp_path / "page", picture)).max() <= 1


@pytest.mark.parametrize(
    ("source", "target"),
    [(NUMBERS, NUMBERS), (GRAYSCALE, LABEL), (LABEL, GRAYSCALE)],
    ids=["numbers", "grayscale", "palette"],
)
def test_other_kinds_of_sides(tmp_path, browser, served, real_runtime, source, target):
    graph = build_graph(PairSpec(source=source, target=target, size=64))
    write_page(tmp_path / "page", graph, runtime=real_runtime)
    open_page(browser, served(tmp_path / "page"))
    clear = np.zeros((64, 64, 4), np.uint8)
    clear[1:, ..., 3] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    browser.one("#drawing input[type=file]").send_keys(str(tmp_path / "clear.png"))
    if source is GRAYSCALE:  # the others refuse alpha
        browser.until(lambda: [read_canvas(browser)[row].min() for row in (0, 1)] == [255, 0])
    else:
        browser.until(lambda: "transparent" in read_status(browser))
    draw_stroke(browser)
    image = read_canvas(browser)
    output, shown = translate(browser)
    if source is NUMBERS:
        brushes = json.loads((tmp_path / "page" / "page.json").read_text())["canvas"]["brushes"]
        colours = np.array([list(bytes.fromhex(brush["colour"][1:])) for brush in brushes])
        matches = (image[:, :, None] == colours).all(3)
        assert matches.any(2).all()
        image = matches.argmax(2).astype(np.uint8)[..., None]
    elif source is GRAYSCALE:
        image = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    expected = np.broadcast_to(run_onnx(tmp_path / "page", image), output.shape)
    difference = np.abs(output.astype(int) - expected)
    assert (difference > (1 if target is GRAYSCALE else 0)).mean() < 1e-3  # two classes can be as likely
    assert (shown == (output * 127 if target is NUMBERS else output)).all()
