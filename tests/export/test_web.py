"""The page of `format=web`, without a browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from small_pages import GRAYSCALE, LABEL, NUMBERS, SPEC, build_graph, write_page

from pix2pix_lightning import PairSpec, Translator
from pix2pix_lightning.checkpoints.pretrained import write_safetensors
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.export import __main__ as export
from pix2pix_lightning.export import web
from small_networks import UNET, by_hand, trained

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ title }}"


def make_run(folder, name):
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps({"name": name}))
    return folder


@pytest.fixture
def without_onnx(monkeypatch):
    """Write a few bytes in place of a model."""

    def write_bytes(graph, path, **_):
        path.write_bytes(b"a model")
        return 0.0

    monkeypatch.setattr(web, "write_onnx", write_bytes)


class Elements(HTMLParser):
    """Tags with their attributes, and the texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def read_policy(page):
    (content,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    return {words[0]: words[1:] for words in map(str.split, content.split(";"))}


def test_half_precision_and_outputs(tmp_path, capsys):
    module = trained({**UNET, "num_downs": 2, "base_channels": 32}, pair_spec=SPEC)
    write_safetensors(module, tmp_path / "model.safetensors")
    (tmp_path / "empty").mkdir()
    words = ["checkpoint=model.safetensors", "format=web", "output=page"]
    assert export.main([*words, "runtime=empty"]) == 1
    assert "runtime=empty" in capsys.readouterr().err
    assert not Path("page").exists()
    assert export.main([*words, f"runtime={make_runtime(tmp_path)}"]) == 0
    assert Translator("page/model.onnx").pair_spec == SPEC
    model = onnx.load("page/model.onnx")
    texts = [model.metadata_props[0].value, Path("page/index.html").read_text(), Path("page/page.json").read_text()]
    assert not any(str(tmp_path) in text for text in texts)
    weights = sum(p.numel() for p in module.generator.parameters())
    assert Path("page/model.onnx").stat().st_size < 3 * weights  # 2 bytes a weight, and the graph
    large = {t.data_type for t in model.graph.initializer if np.prod(t.dims) > 256}
    assert large == {onnx.TensorProto.FLOAT16}
    kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert kinds == {onnx.TensorProto.UINT8}
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 72), np.uint8)
    (actual,) = onnxruntime.InferenceSession("page/model.onnx").run(None, {"source": images})
    for parameter in module.generator.parameters():
        if parameter.numel() > 256:
            parameter.data = torch.from_numpy(parameter.detach().numpy().astype(np.float16).astype(np.float32))
    rounded = by_hand(module, torch.from_numpy(images / 127.5 - 1).float(), "image")
    assert np.abs(actual - (rounded.double().numpy() + 1) * 127.5).max() < 0.5 + 0.02  # only weights are rounded


def test_files_of_the_page(tmp_path, without_onnx):
    write_page(tmp_path / "page", run=make_run(tmp_path / "run", "shoes"), made_by={"checkpoint": "best.ckpt"})
    names = {path.name for path in (tmp_path / "page").iterdir()}
    assert names == {"index.html", "model.onnx", "page.json", "start.png", *web_files()}
    text = (tmp_path / "page" / "index.html").read_text()
    page = Elements(text)
    loaded = {attributes.get("src") or attributes.get("href") for _, attributes in page.tags} - {None, "data:,"}
    assert loaded | {"parts.js"} == web_files()
    assert {"pix2pix: shoes", "best.ckpt", "rgb to rgb, 64 x 64 pixels"} <= set(page.texts)
    assert not re.search(r" on\w+=| style=|<style", text)
    described = json.loads((tmp_path / "page" / "page.json").read_text())
    assert described["bytes"] == len(b"a model")
    with Image.open(tmp_path / "page" / "start.png") as start:
        assert start.size == (64, 64)


def web_files():
    return {"canvas.css", "parts.js", "web.css", "web.js"}


def test_policy_allows_only_the_pages_files(tmp_path, without_onnx):
    write_page(tmp_path / "cdn")
    write_page(tmp_path / "own", runtime=make_runtime(tmp_path))
    own, cdn = (read_policy(Elements((tmp_path / name / "index.html").read_text())) for name in ("own", "cdn"))
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
    named = json.loads((tmp_path / "own" / "page.json").read_text())["runtime"].values()
    assert {path.name for path in (tmp_path / "own" / "runtime").iterdir()} == {Path(name).name for name in named}
    assert (tmp_path / "own" / "runtime" / "ort.js").read_text() == "// a script"
    assert not (tmp_path / "cdn" / "runtime").exists()


def test_web_script_reads_the_upload_of_the_canvas(tmp_path, without_onnx):
    write_page(tmp_path / "page")
    parts, script = ((tmp_path / "page" / name).read_text() for name in ("parts.js", "web.js"))
    (name,) = re.findall(r"drawing\.(\w+) = sent", parts)
    assert re.findall(r"decodeUpload\(drawing\.(\w+)\)", script) == [name]


def make_runtime(folder):
    runtime = folder / "dist"
    runtime.mkdir()
    (runtime / "ort.wasm.bundle.min.mjs").write_text("// a script")
    (runtime / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm")
    return runtime


def test_names_are_escaped(tmp_path, without_onnx):
    write_page(tmp_path / "page", run=make_run(tmp_path / "run", HOSTILE), made_by={"checkpoint": HOSTILE})
    page = Elements((tmp_path / "page" / "index.html").read_text())
    assert [a for tag, a in page.tags if tag == "script"] == [{"type": "module", "src": "web.js"}]
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert page.texts.count(f"pix2pix: {HOSTILE}") == 2
    assert HOSTILE in page.texts


@pytest.mark.parametrize(
    ("source", "brushes", "kind", "channels", "target", "spread"),
    [
        (LABEL, 3, "label", 3, NUMBERS, 127),
        (NUMBERS, 3, "numbers", 1, NUMBERS, 127),
        (GRAYSCALE, 2, "grayscale", 1, build_side(kind="label", num_classes=3, ignore_index=255), 85),
    ],
    ids=["palette", "numbers", "grayscale"],
)
def test_brushes_follow_the_source(tmp_path, without_onnx, source, brushes, kind, channels, target, spread):
    write_page(tmp_path / "page", build_graph(PairSpec(source=source, target=target, size=(60, 100))))
    described = json.loads((tmp_path / "page" / "page.json").read_text())
    canvas = described["canvas"]
    assert len(canvas["brushes"]) == brushes
    assert (canvas["height"], canvas["width"], canvas["free"]) == (64, 104, False)  # multiples of 8
    with Image.open(tmp_path / "page" / "start.png") as start:
        assert start.size == (104, 64)
    assert (described["source"]["kind"], described["source"]["channels"]) == (kind, channels)
    assert described["target"] == {"kind": "numbers", "channels": 1, "spread": spread, "background": [255, 255, 255]}
    if source is LABEL:
        assert [b["colour"] for b in canvas["brushes"]] == ["#c80000", "#00c800", "#0000c8"]


def test_other_files_are_not_overwritten(tmp_path, without_onnx):
    write_page(tmp_path / "page")
    with pytest.raises(FileExistsError, match="overwrite=true"):
        write_page(tmp_path / "page")
    write_page(tmp_path / "page", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.onnx").write_text("mine")
    with pytest.raises(ValueError, match=r"page\.json"):
        write_page(tmp_path / "other", overwrite=True)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_page_with_other_outputs_is_not_written(tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "page.json").write_text("earlier")
    too_large = build_graph(num_downs=2, base_channels=8)
    with torch.no_grad():
        next(too_large.generator.parameters())[0, 0, 0, 0] = 1e6  # half precision ends at 65504
    with pytest.raises(ValueError, match="2e-02"):
        write_page(tmp_path / "page", too_large, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert (tmp_path / "page" / "page.json").read_text() == "earlier"
