"""What the page asks for."""

import base64
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from drawn_models import PALETTE
from PIL import Image

from pix2pix_lightning import Translator, predict
from pix2pix_lightning.demo.models import Models
from pix2pix_lightning.demo.studio import Studio


def opened(path, mode):
    return Translator(path, mode=mode, device="cpu")


@pytest.fixture
def studio(checkpoints):
    return Studio(Models([str(path) for path in checkpoints.values()], opened), max_pixels=10_000, max_bytes=2**16)


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


def test_the_canvas_has_the_training_s_size_and_the_palette_by_name(studio):
    canvas = studio.canvas("labels.ckpt")
    assert [brush["name"] for brush in canvas["brushes"]] == list(PALETTE)
    assert [tuple(bytes.fromhex(brush["colour"][1:])) for brush in canvas["brushes"]] == list(PALETTE.values())
    assert canvas["picture"] is None
    assert pixels(canvas["start"]).shape == (64, 64, 3)
    assert {tuple(colour) for colour in pixels(canvas["start"]).reshape(-1, 3).tolist()} <= set(PALETTE.values())


@pytest.mark.parametrize("shape", [(64, 64), (30, 50)])
def test_the_file_is_the_one_that_predict_writes(studio, checkpoints, tmp_path, shape):
    picture = drawing()[: shape[0], : shape[1]]
    Image.fromarray(picture).save(tmp_path / "drawing.png")
    for mode, words in (("deterministic", []), ("paper", ["mode=paper", "samples=2", "seed=5"])):
        count = 2 if mode == "paper" else 1
        made = studio.translated("edges.ckpt", mode, url(picture), seed=5, samples=count)
        keys = [f"checkpoint={checkpoints['edges']}", f"input={tmp_path / 'drawing.png'}", f"output={tmp_path / mode}"]
        assert predict.main([*keys, "device=cpu", *words]) == 0
        written = {path.name: path.read_bytes() for path in (tmp_path / mode).iterdir()}
        assert {result["name"]: content(result["file"]) for result in made} == written
        assert len(set(written.values())) == count


def test_class_numbers_are_painted_and_come_out_with_a_picture_of_them(studio, checkpoints):
    numbers = np.random.default_rng(1).integers(0, 5, (32, 32), np.uint8)
    colours = [tuple(bytes.fromhex(b["colour"][1:])) for b in studio.canvas("numbers.ckpt")["brushes"]]
    painted = url(np.asarray(colours, np.uint8)[numbers])
    (made,) = studio.translated("numbers.ckpt", "deterministic", painted, seed=0, samples=1)
    file = pixels(made["file"])
    assert (file == opened(checkpoints["numbers"], "deterministic")(numbers)).all()
    assert len(np.unique(file)) > 1
    assert (pixels(made["shown"]) == file * 127).all()


def test_an_upload_keeps_its_size_or_is_resized(studio):
    picture = drawing(80)
    for to_size, side in ((False, 80), (True, 64)):
        canvas = studio.uploaded("edges.ckpt", url(picture), to_training_size=to_size)
        shown = pixels(canvas["picture"])
        assert shown.shape == (side, side, 3)
        assert to_size or (shown == picture).all()


def test_an_upload_that_is_resized_gives_what_predict_gives_at_the_training_s_size(studio, checkpoints):
    picture = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    canvas = studio.uploaded("edges.ckpt", url(picture), to_training_size=True)
    (made,) = studio.translated("edges.ckpt", "deterministic", canvas["picture"], seed=0, samples=1)
    expected = Translator(checkpoints["edges"], device="cpu", resize="training")(picture)
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
def test_what_is_no_picture_or_too_large_is_refused_in_a_line_without_a_path(studio, data, line):
    sent = "data:image/png;base64," + base64.b64encode(data).decode()
    with pytest.raises(ValueError, match=line.replace("WHAT", "the file")):
        studio.uploaded("edges.ckpt", sent, to_training_size=True)
    with pytest.raises(ValueError, match=line.replace("WHAT", "the drawing")):
        studio.translated("edges.ckpt", "deterministic", sent, seed=0, samples=1)


def test_other_colours_than_the_palette_s_are_refused(studio):
    with pytest.raises(ValueError, match="none of the palette's 12 colours"):
        studio.uploaded("labels.ckpt", url(np.full((64, 64, 3), 120, np.uint8)), to_training_size=False)


def test_samples_count_as_pixels(studio):
    picture = url(drawing(64))
    assert len(studio.translated("edges.ckpt", "paper", picture, seed=0, samples=2)) == 2
    with pytest.raises(ValueError, match="3 samples of 64 x 64 pixels are more than max_pixels=10000: ask for fewer"):
        studio.translated("edges.ckpt", "paper", picture, seed=0, samples=3)


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (None, "is empty or did not arrive"),
        ("data:", "is empty or did not arrive"),
        ({"start": ""}, "is empty or did not arrive"),
        ("data:image/png,%89PNG", "is empty or did not arrive"),
        ("data:image/png;base64,%%%", "did not arrive whole"),
        ("bytes:99999999", "has 95.4 MB, more than max_megabytes=0.0625"),
    ],
)
def test_what_is_sent_in_place_of_a_picture(studio, sent, line):
    with pytest.raises(ValueError, match=f"the file {line}"):
        studio.uploaded("edges.ckpt", sent, to_training_size=True)
