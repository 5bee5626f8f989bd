"""Files that are translated: whole pictures, or the source's half of strips."""

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning import Translator
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.inference.source_files import SourceReader
from pix2pix_lightning.utils.errors import UserError
from small_networks import UNET, save, trained


def noise(height, width):
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def write(tmp_path):
    def write_noise(height, width):
        path = tmp_path / f"{width}x{height}.png"
        Image.fromarray(noise(height, width)).save(path)
        return path

    return write_noise


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
@pytest.mark.parametrize(
    ("half", "strips", "size", "taken"),
    [
        ("auto", (32, 16), (32, 16), "source"),
        ("auto", (32, 16), (64, 32), "off"),  # a picture, or a strip from elsewhere
        ("auto", (48, 16), (48, 16), "source"),
        ("auto", (48, 16), (16, 48), "off"),
        ("auto", True, (32, 16), "source"),
        ("auto", True, (30, 16), "off"),
        ("auto", True, (31, 16), "off"),
        ("auto", False, (32, 16), "off"),
        ("auto", None, (32, 16), "off"),
        ("source", None, (20, 16), "source"),
        ("left", (32, 16), (32, 16), "left"),
        ("right", False, (20, 16), "right"),
        ("off", (32, 16), (32, 16), "off"),
    ],
)
def test_which_half_is_read(write, caplog, direction, half, strips, size, taken):
    width, height = size
    path, pixels = write(height, width), noise(height, width)
    spec = PairSpec.from_dict(PairSpec(direction=direction, strips=strips).to_dict())
    reader = SourceReader(spec, half=half)
    if taken == "source":
        taken = {"a_to_b": "left", "b_to_a": "right"}[direction]
    expected = {"left": pixels[:, : width // 2], "right": pixels[:, width // 2 :], "off": pixels}[taken]
    for _ in range(2):
        np.testing.assert_array_equal(reader.read(path), expected)
    assert reader.num_halves == (0 if taken == "off" else 2)
    if taken == "off":
        assert reader.format_halves() == ""
    else:
        assert {"left": "left half, A, of 2", "right": "right half, B, of 2"}[taken] in reader.format_halves()
    may_be_strip = width == 2 * height or strips == size or (strips is True and width % 2 == 0)
    is_in_doubt = half == "auto" and strips is not False and may_be_strip
    assert len(caplog.records) == is_in_doubt  # once, not for each file
    assert all(path.name in record.getMessage() and "half=" in record.getMessage() for record in caplog.records)


def test_what_cannot_be_halved(write):
    with pytest.raises(UserError, match=r"15x8\.png .*half=left"):
        SourceReader(PairSpec(), half="left").read(write(8, 15))
    with pytest.raises(UserError, match="half='both'"):
        SourceReader(PairSpec(), half="both")


def test_alpha_and_class_numbers_of_a_half(tmp_path):
    clear = np.dstack([noise(8, 16), np.repeat(np.uint8([[255] * 8 + [0] * 8]), 8, 0)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    opaque = build_side(alpha="error")
    assert (SourceReader(PairSpec(source=opaque), half="left").read(tmp_path / "clear.png") == clear[:, :8, :3]).all()
    with pytest.raises(UserError, match=r"clear\.png: "):
        SourceReader(PairSpec(source=opaque), half="right").read(tmp_path / "clear.png")
    numbers = noise(8, 16)[..., 0] % 3
    image = Image.fromarray(numbers, "P")
    image.putpalette([9, 8, 7, 200, 10, 3, 0, 250, 77])
    image.save(tmp_path / "numbers.png")
    classes = PairSpec(source=build_side(kind="label", num_classes=3), direction="b_to_a")
    np.testing.assert_array_equal(
        SourceReader(classes, half="source").read(tmp_path / "numbers.png")[..., 0], numbers[:, 8:]
    )


def test_a_checkpoint_knows_the_strips_that_it_was_trained_on(write, tmp_path):
    spec = PairSpec(size=16, direction="b_to_a", strips=(32, 16))
    checkpoint = save(trained(UNET, pair_spec=spec), tmp_path / "strips.ckpt")
    strip, pixels = write(16, 32), noise(16, 32)
    translator = Translator(checkpoint)
    np.testing.assert_array_equal(translator(strip), translator(pixels[:, 16:].copy()))
    assert translator(pixels).shape == pixels.shape  # arrays are translated whole
    np.testing.assert_array_equal(Translator(checkpoint, half="off")(strip), translator(pixels))
