"""The page with its model: what is written, and what the model gives in Python's onnxruntime."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exporting.written_page import GREY, LABEL, NUMBERS, SPEC, graph_of, write
from PIL import Image

from pix2pix_lightning import PairSpec, Translator
from pix2pix_lightning.checkpoints.pretrained import write_safetensors
from pix2pix_lightning.export import __main__ as export
from pix2pix_lightning.export import onnx_file, web
from pix2pix_lightning.export.onnx_file import write_onnx
from small_networks import UNET, by_hand, trained

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$title"


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
