"""The page with its model: what is written, in Python's onnxruntime, and in a browser with the real onnxruntime-web.

For the browser `npm install onnxruntime-web` at the root of the checkout, or say where its folder `dist` is by
ONNXRUNTIME_WEB; the tests are skipped where it is not.
"""

import base64
import json
import os
import re
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from selenium.webdriver import ActionChains

from browser import chromium
from pix2pix_lightning import PairSpec, SideSpec, Translator, export
from pix2pix_lightning.exporting import onnx_file, web, write_onnx
from pix2pix_lightning.exporting.graph import Graph
from pix2pix_lightning.exporting.web import write_web
from pix2pix_lightning.pretrained import write_safetensors
from small_networks import PALETTE, UNET, by_hand, trained

SPEC = PairSpec(size=64)
LABEL = SideSpec(kind="label", palette=PALETTE)
NUMBERS = SideSpec(kind="label", num_classes=3)
GREY = SideSpec(kind="grey")
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$title"


def graph_of(spec=SPEC, **options):
    return Graph(trained({**UNET, **options}, pair_spec=spec), "image", "uint8", "uint8")


def write(folder, graph=None, *, run=None, made_by=None, **options):
    return write_web(graph or graph_of(), folder, run=run, made_by=made_by or {}, **options)


def run_of(folder, name):
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps({"name": name}))
    return folder


@pytest.fixture
def without_onnx(monkeypatch):
    """In the place of a model a few bytes, where it is the rest that is looked at."""

    def write_bytes(graph, path, **_):
        path.write_bytes(b"a model")
        return 0.0

    monkeypatch.setattr(web, "write_onnx", write_bytes)


class Elements(HTMLParser):
    """What a browser sees of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def policy_of(page):
    (content,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    return {words[0]: words[1:] for words in map(str.split, content.split(";"))}


def test_half_the_bytes_and_the_module_s_outputs(tmp_path):
    graph = graph_of(base_channels=16)
    said = write(tmp_path / "page", graph)
    write_onnx(graph, tmp_path / "whole.onnx", made_by={})
    model = onnx.load(tmp_path / "page" / "model.onnx")
    bytes_of = [(tmp_path / name).stat().st_size for name in ("page/model.onnx", "whole.onnx")]
    weights = 4 * sum(p.numel() for p in graph.generator.parameters())
    assert bytes_of[1] - bytes_of[0] == pytest.approx(weights / 2, rel=0.05)
    large = {t.data_type for t in model.graph.initializer if np.prod(t.dims) > 256}
    assert large == {onnx.TensorProto.FLOAT16}
    kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert kinds == {onnx.TensorProto.UINT8}
    session = onnxruntime.InferenceSession(tmp_path / "page" / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 72), np.uint8)
    (actual,) = session.run(None, {"source": images})
    for parameter in graph.generator.parameters():
        if parameter.numel() > 256:
            parameter.data = torch.from_numpy(parameter.detach().numpy().astype(np.float16).astype(np.float32))
    rounded = by_hand(graph.module, torch.from_numpy(images / 127.5 - 1).float(), "image")
    assert np.abs(actual - (rounded.double().numpy() + 1) * 127.5).max() < 0.5 + 0.02  # so they are the weights alone
    assert 0 <= said < 1e-2


def test_all_that_the_page_asks_for_is_written(tmp_path, without_onnx):
    write(tmp_path / "page", run=run_of(tmp_path / "run", "shoes"), made_by={"checkpoint": "best.ckpt"})
    names = {path.name for path in (tmp_path / "page").iterdir()}
    assert names == {"index.html", "model.onnx", "page.json", "start.png", *web_files()}
    text = (tmp_path / "page" / "index.html").read_text()
    page = Elements(text)
    asked = {attributes.get("src") or attributes.get("href") for _, attributes in page.tags} - {None, "data:,"}
    assert asked | {"parts.js"} == web_files()
    assert {"pix2pix: shoes", "best.ckpt", "rgb to rgb, 64 x 64 pixels"} <= set(page.texts)
    assert not re.search(r" on\w+=| style=|<style", text)
    described = json.loads((tmp_path / "page" / "page.json").read_text())
    assert described["bytes"] == len(b"a model")
    with Image.open(tmp_path / "page" / "start.png") as start:
        assert start.size == (64, 64)


def web_files():
    return {"canvas.css", "parts.js", "web.css", "web.js"}


def test_the_policy_allows_the_page_itself_alone(tmp_path, without_onnx):
    write(tmp_path / "cdn")
    write(tmp_path / "own", runtime=runtime_stand_in(tmp_path))
    own, cdn = (policy_of(Elements((tmp_path / name / "index.html").read_text())) for name in ("own", "cdn"))
    assert own["default-src"] == ["'none'"]
    assert {source for sources in own.values() for source in sources} == {
        "'none'",
        "'self'",
        "'wasm-unsafe-eval'",
        "data:",
    }
    added = {source for sources in cdn.values() for source in sources} - {s for v in own.values() for s in v}
    assert all(re.fullmatch(r"https://cdn\.jsdelivr\.net/npm/onnxruntime-web@[\d.]+/dist/[\w.-]+", s) for s in added)
    assert len(added) == 2
    described = json.loads((tmp_path / "cdn" / "page.json").read_text())
    assert set(described["runtime"].values()) == added
    asked = json.loads((tmp_path / "own" / "page.json").read_text())["runtime"].values()
    assert {path.name for path in (tmp_path / "own" / "runtime").iterdir()} == {Path(name).name for name in asked}
    assert (tmp_path / "own" / "runtime" / "ort.js").read_text() == "// a script"
    assert not (tmp_path / "cdn" / "runtime").exists()


def runtime_stand_in(folder):
    runtime = folder / "dist"
    runtime.mkdir()
    (runtime / "ort.wasm.bundle.min.mjs").write_text("// a script")
    (runtime / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm")
    return runtime


def test_names_are_text(tmp_path, without_onnx):
    write(tmp_path / "page", run=run_of(tmp_path / "run", HOSTILE), made_by={"checkpoint": HOSTILE})
    page = Elements((tmp_path / "page" / "index.html").read_text())
    assert [a for tag, a in page.tags if tag == "script"] == [{"type": "module", "src": "web.js"}]
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert page.texts.count(f"pix2pix: {HOSTILE}") == 2
    assert HOSTILE in page.texts


@pytest.mark.parametrize(
    ("source", "brushes", "kind", "channels"),
    [(LABEL, 3, "label", 3), (NUMBERS, 3, "numbers", 1), (GREY, 2, "grey", 1)],
    ids=["palette", "numbers", "grey"],
)
def test_brushes_are_the_source_s(tmp_path, without_onnx, source, brushes, kind, channels):
    write(tmp_path / "page", graph_of(PairSpec(source=source, target=NUMBERS, size=60)))
    described = json.loads((tmp_path / "page" / "page.json").read_text())
    canvas = described["canvas"]
    assert len(canvas["brushes"]) == brushes
    assert (canvas["size"], canvas["free"]) == (64, False)  # the network takes multiples of 8
    assert (described["source"]["kind"], described["source"]["channels"]) == (kind, channels)
    assert described["target"] == {"kind": "numbers", "channels": 1, "spread": 127}
    if source is LABEL:
        assert [b["colour"] for b in canvas["brushes"]] == ["#c80000", "#00c800", "#0000c8"]


def test_nothing_is_lost(tmp_path, without_onnx):
    write(tmp_path / "page")
    with pytest.raises(FileExistsError, match="overwrite=true"):
        write(tmp_path / "page")
    write(tmp_path / "page", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.onnx").write_text("mine")
    with pytest.raises(ValueError, match=r"is no page of export, it holds no page.json"):
        write(tmp_path / "other", overwrite=True)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["model.onnx"]


def test_a_model_that_is_not_the_module_leaves_no_page(tmp_path, monkeypatch):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "page.json").write_text("what was there")
    too_large = graph_of()
    with torch.no_grad():
        next(too_large.generator.parameters())[0, 0, 0, 0] = 1e6  # half precision ends at 65504
    with pytest.raises(ValueError, match=r"differs from the module by .*, more than 2e-02"):
        write(tmp_path / "page", too_large, overwrite=True)
    check = onnx_file.check_equal

    def after_a_step(graph, *arguments):
        with torch.no_grad():
            next(graph.generator.parameters()).mul_(1.2)
        return check(graph, *arguments)

    monkeypatch.setattr(onnx_file, "check_equal", after_a_step)
    with pytest.raises(ValueError, match="differs from the module"):
        write(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert (tmp_path / "page" / "page.json").read_text() == "what was there"


def test_the_command(tmp_path, capsys):
    write_safetensors(trained(UNET, pair_spec=SPEC), tmp_path / "model.safetensors")
    (tmp_path / "empty").mkdir()
    words = ["checkpoint=model.safetensors", "format=web", "output=page"]
    assert export.main([*words, "runtime=empty"]) == 1
    assert "runtime=empty holds no ort.wasm.bundle.min.mjs: give the folder dist" in capsys.readouterr().err
    assert not Path("page").exists()
    assert export.main([*words, f"runtime={runtime_stand_in(tmp_path)}"]) == 0
    assert "page: a page to put on any file server" in capsys.readouterr().out
    opened = Translator("page/model.onnx")
    assert opened.pair_spec == SPEC
    held = onnx.load("page/model.onnx").metadata_props[0].value
    assert str(tmp_path) not in held + Path("page/index.html").read_text() + Path("page/page.json").read_text()


class Quiet(SimpleHTTPRequestHandler):
    """A static file server, whose files other origins may read, as those of a CDN."""

    def log_message(self, *_):
        pass

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()


@pytest.fixture
def served():
    """A function from a folder to the address at which it is served."""
    servers = []

    def serve(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
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
        pytest.skip("there is no onnxruntime-web: npm install onnxruntime-web, or say ONNXRUNTIME_WEB=<its dist>")
    return folder


@pytest.fixture(scope="module")
def browser(real_runtime, tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def said(browser):
    return browser.one("#said").text


def decoded(address):
    return np.asarray(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))


def drawn(browser):
    return decoded(browser.run("return document.querySelector('#drawing canvas').toDataURL()"))


def translated(browser):
    """Press, and wait: the file that is offered, and the picture that is shown."""
    browser.run("document.querySelector('#results .pictures').replaceChildren()")
    browser.one("#translate").click()
    browser.until(lambda: browser.all("#results img"), 20)
    browser.until(lambda: said(browser).startswith("Translated in"), 20)
    link, picture = browser.one("#results a"), browser.one("#results img")
    assert link.get_attribute("download") == "translation.png"
    return decoded(link.get_attribute("href")), decoded(picture.get_attribute("src"))


def in_python(folder, image):
    """(H, W, 3) or (H, W, 1) to (H, W, C), by Python's onnxruntime."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (output,) = session.run(None, {"source": np.ascontiguousarray(image.transpose(2, 0, 1)[None])})
    return output[0].transpose(1, 2, 0)


def stroke(browser):
    canvas = browser.one("#drawing canvas")
    ActionChains(browser.web).move_to_element_with_offset(canvas, -80, -60).click_and_hold().move_by_offset(
        120, 90
    ).release().perform()


def open_page(browser, address):
    browser.open(address, height=1100)
    browser.until(lambda: said(browser) == "Ready", 30)
    canvas = browser.one("#drawing canvas")
    browser.until(lambda: canvas.get_attribute("data-shown"))


@pytest.mark.parametrize("place", ["own", "elsewhere"])
def test_a_drawing_is_translated_in_a_browser(tmp_path, browser, served, real_runtime, monkeypatch, place):
    if place == "elsewhere":
        monkeypatch.setattr(web, "_CDN", served(real_runtime))
    write(tmp_path / "page", runtime=real_runtime if place == "own" else None)
    address = served(tmp_path / "page")
    open_page(browser, address)
    first, _ = translated(browser)
    source = drawn(browser)
    with Image.open(tmp_path / "page" / "start.png") as start:
        assert (source == np.asarray(start)).all()
    stroke(browser)
    assert (drawn(browser) != source).any()
    second, shown = translated(browser)
    assert (second != first).any()
    assert (second == shown).all()
    assert np.abs(second.astype(int) - in_python(tmp_path / "page", drawn(browser))).max() <= 1
    hosts = {name.partition("://")[2].partition("/")[0] for name in browser.addresses() if not name.startswith("data:")}
    assert len(hosts) == (1 if place == "own" else 2)
    assert browser.complaints() == []


def test_an_upload_in_a_browser(tmp_path, browser, served, real_runtime):
    write(tmp_path / "page", runtime=real_runtime)
    open_page(browser, served(tmp_path / "page"))
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("text")
    file = browser.one("#drawing input[type=file]")
    file.send_keys(str(tmp_path / "text.png"))
    browser.until(lambda: "no picture" in said(browser))
    file.send_keys(str(tmp_path / "photo.png"))
    browser.until(lambda: (drawn(browser) == picture).all())
    output, _ = translated(browser)
    assert np.abs(output.astype(int) - in_python(tmp_path / "page", picture)).max() <= 1


@pytest.mark.parametrize(
    ("source", "target"), [(NUMBERS, NUMBERS), (GREY, LABEL), (LABEL, GREY)], ids=["numbers", "grey", "palette"]
)
def test_other_kinds_in_a_browser(tmp_path, browser, served, real_runtime, source, target):
    graph = graph_of(PairSpec(source=source, target=target, size=64))
    write(tmp_path / "page", graph, runtime=real_runtime)
    open_page(browser, served(tmp_path / "page"))
    stroke(browser)
    image = drawn(browser)
    output, shown = translated(browser)
    if source is NUMBERS:
        brushes = json.loads((tmp_path / "page" / "page.json").read_text())["canvas"]["brushes"]
        colours = np.array([list(bytes.fromhex(brush["colour"][1:])) for brush in brushes])
        matches = (image[:, :, None] == colours).all(3)
        assert matches.any(2).all()
        image = matches.argmax(2).astype(np.uint8)[..., None]
    elif source is GREY:
        image = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    expected = np.broadcast_to(in_python(tmp_path / "page", image), output.shape)
    apart = np.abs(output.astype(int) - expected)
    assert (apart > (1 if target is GREY else 0)).mean() < 1e-3  # two classes can be as likely
    assert (shown == (output * 127 if target is NUMBERS else output)).all()
