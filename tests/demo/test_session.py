"""Answers to the requests of the page."""

import base64
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tiny_models import PALETTE

from pix2pix_lightning import Translator, predict
from pix2pix_lightning.demo.model_pool import ModelPool
from pix2pix_lightning.demo.session import DemoSession


def load(path, mode):
    return Translator(path, mode=mode, device="cpu")


@pytest.fixture
def session(checkpoints):
    return DemoSession(
        ModelPool([str(path) for path in checkpoints.values()], load), max_pixels=10_000, max_bytes=2**16
    )


def url(pixels):
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def content(data_url):
    return base64.b64decode(data_url.removeprefix("data:image/png;base64,"))


def pixels(data_url):
    return np.asarray(Image.open(BytesIO(content(data_url))))


def drawing(side=64, seed=0):
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[rng.integers(0, side, 200), rng.integers(0, side, 200)] = 0
    return picture


def test_canvas_has_the_training_size_and_the_palette_by_name(session):
    canvas = session.describe_canvas("labels.ckpt")
    assert [brush["name"] for brush in canvas["brushes"]] == list(PALETTE)
    assert [tuple(bytes.fromhex(brush["colour"][1:])) for brush in canvas["brushes"]] == list(PALETTE.values())
    assert canvas["picture"] is None
    assert pixels(canvas["start"]).shape == (64, 64, 3)
    assert {tuple(colour) for colour in pixels(canvas["start"]).reshape(-1, 3).tolist()} <= set(PALETTE.values())


def test_files_are_those_that_predict_writes(session, checkpoints, tmp_path):
    picture = drawing()[:30, :50]  # not the training size
    Image.fromarray(picture).save(tmp_path / "drawing.png")
    for mode, words in (("deterministic", []), ("paper", ["mode=paper", "samples=2", "seed=5"])):
        count = 2 if mode == "paper" else 1
        made = session.translate("edges.ckpt", mode, url(picture), seed=5, samples=count)
        keys = [f"checkpoint={checkpoints['edges']}", f"input={tmp_path / 'drawing.png'}", f"output={tmp_path / mode}"]
        assert predict.main([*keys, "device=cpu", *words]) == 0
        written = {path.name: path.read_bytes() for path in (tmp_path / mode).iterdir()}
        assert {result["name"]: content(result["file"]) for result in made} == written
        assert len(set(written.values())) == count


def test_class_numbers_are_painted_and_translated(session, checkpoints):
    numbers = np.random.default_rng(1).integers(0, 5, (32, 32), np.uint8)
    colours = [tuple(bytes.fromhex(b["colour"][1:])) for b in session.describe_canvas("numbers.ckpt")["brushes"]]
    painted = url(np.asarray(colours, np.uint8)[numbers])
    (made,) = session.translate("numbers.ckpt", "deterministic", painted, seed=0, samples=1)
    file = pixels(made["file"])
    assert (file == load(checkpoints["numbers"], "deterministic")(numbers)).all()
    assert len(np.unique(file)) > 1
    assert (pixels(made["shown"]) == file * 127).all()


def test_upload_keeps_its_size_or_is_resized(session):
    picture = drawing(80)
    for to_size, side in ((False, 80), (True, 64)):
        canvas = session.load_upload("edges.ckpt", url(picture), to_training_size=to_size)
        shown = pixels(canvas["picture"])
        assert shown.shape == (side, side, 3)
        assert to_size or (shown == picture).all()


def test_a_resized_upload_is_translated_as_by_resize(session, checkpoints):
    picture = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    canvas = session.load_upload("edges.ckpt", url(picture), to_training_size=True)
    (made,) = session.translate("edges.ckpt", "deterministic", canvas["picture"], seed=0, samples=1)
    expected = Translator(checkpoints["edges"], device="cpu", resize=64)(picture)
    assert (pixels(made["file"]) == expected).all()


def huge_png():
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 32768, 32768, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"taken in May", "^WHAT cannot be decoded as an image"),
        (huge_png(), "^WHAT claims 32768 x 32768 pixels, more than max_pixels=10000"),
        (bytes(2**16 + 3), "^WHAT has 0.1 MB, more than max_megabytes=0.0625: reduce it"),
    ],
)
def test_bad_or_large_files_are_refused_without_a_path_in_the_message(session, data, line):
    sent = "data:image/png;base64," + base64.b64encode(data).decode()
    with pytest.raises(ValueError, match=line.replace("WHAT", "the file")):
        session.load_upload("edges.ckpt", sent, to_training_size=True)
    with pytest.raises(ValueError, match=line.replace("WHAT", "the drawing")):
        session.translate("edges.ckpt", "deterministic", sent, seed=0, samples=1)


def test_colours_outside_the_palette_are_refused(session):
    with pytest.raises(ValueError, match="none of the palette's 12 colours"):
        session.load_upload("labels.ckpt", url(np.full((64, 64, 3), 120, np.uint8)), to_training_size=False)


def test_samples_count_against_the_pixel_limit(session):
    picture = url(drawing(64))
    assert len(session.translate("edges.ckpt", "paper", picture, seed=0, samples=2)) == 2
    with pytest.raises(ValueError, match="3 samples of 64 x 64 pixels are more than max_pixels=10000: ask for fewer"):
        session.translate("edges.ckpt", "paper", picture, seed=0, samples=3)


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (None, "is empty or did not arrive"),
        ({"start": ""}, "is empty or did not arrive"),
        ("data:image/png,%89PNG", "is empty or did not arrive"),
        ("data:image/png;base64,%%%", "did not arrive whole"),
        ("bytes:99999999", "has 95.4 MB, more than max_megabytes=0.0625"),
    ],
)
def test_malformed_data_urls_are_refused(session, sent, line):
    with pytest.raises(ValueError, match=f"the file {line}"):
        session.load_upload("edges.ckpt", sent, to_training_size=True)


@pytest.mark.parametrize(("half", "width"), [("auto", 64), ("right", 32)])
def test_an_uploaded_strip_is_halved_as_in_predict_and_noted(checkpoints, half, width):
    strip = np.hstack([drawing(32, 1), drawing(32, 2)])
    pool = ModelPool([str(checkpoints["edges"])], load)
    session = DemoSession(pool, max_pixels=10_000, max_bytes=2**16, half=half)
    canvas = session.load_upload("edges.ckpt", url(strip), to_training_size=False)
    np.testing.assert_array_equal(pixels(canvas["picture"]), strip[:, -width:])
    assert (canvas["note"] or "").startswith("the file " if half == "auto" else "")
    (made,) = session.translate("edges.ckpt", "deterministic", url(strip), seed=0, samples=1)
    assert pixels(made["file"]).shape == (32, 64, 3)  # what is drawn stays whole
    with pytest.raises(ValueError, match="half='both'"):
        DemoSession(pool, max_pixels=10_000, max_bytes=2**16, half="both")
