"""JPEG files that are decoded smaller than they are."""

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.files.image_files import open_image
from pix2pix_lightning.data.files.reduction import LeastSize
from pix2pix_lightning.data.pairs import StripPairs
from pix2pix_lightning.utils.errors import UserError


def write_jpeg(path, height, width, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = cv2.resize(
        np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8), (width, height)
    )
    # without reduced colours, whose blocks are larger
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444])
    return path


def average(pixels, factor):
    height, width, channels = pixels.shape
    return pixels.reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))


@pytest.mark.parametrize(
    ("height", "width", "least", "expected"),
    [
        (64, 128, LeastSize(8, 16), (8, 16)),
        (64, 128, LeastSize(9, 16), (16, 32)),
        (64, 128, LeastSize(32, 64), (32, 64)),
        (64, 128, LeastSize(33, 10), (64, 128)),
        (64, 128, LeastSize(8, 8, columns=2), (8, 16)),
        (64, 128, LeastSize(8, 9, columns=2), (16, 32)),
        (36, 44, LeastSize(1, 1), (9, 11)),  # 8 would change the shape
        (64, 72, LeastSize(1, 1, columns=2), (64, 72)),  # halves of 36 pixels share a block
    ],
)
def test_a_jpeg_is_decoded_to_the_smallest_size_that_is_enough(tmp_path, height, width, least, expected):
    path = write_jpeg(tmp_path / "x.jpg", height, width)
    assert open_image(path, least=least).pixels.shape[:2] == expected


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduced_pixel_is_the_mean_of_those_it_stands_for(tmp_path, factor):
    path = write_jpeg(tmp_path / "x.jpg", 64, 96)
    whole = average(open_image(path).pixels.astype(float), factor)
    reduced = open_image(path, least=LeastSize(64 // factor, 96 // factor)).pixels
    assert np.abs(reduced - whole).max() <= 3  # colours are rounded twice


def test_halves_of_a_reduced_strip_do_not_mix(tmp_path):
    path = tmp_path / "x.jpg"
    strip = np.concatenate([np.zeros((32, 32), np.uint8), np.full((32, 32), 255, np.uint8)], 1)
    cv2.imwrite(str(path), strip)
    a, b, _ = StripPairs([path]).read_reduced(0, (4, 4))
    assert a.shape == b.shape == (4, 4, 1)
    assert (a.max(), b.min()) == (0, 255)


def test_training_and_its_cache_read_reduced_files(tmp_path):
    for split in ("train", "val"):
        write_jpeg(tmp_path / "pairs" / split / "A" / "x.jpg", 64, 64)
        write_jpeg(tmp_path / "pairs" / split / "B" / "x.jpg", 32, 32, seed=1)
    shapes = {}
    for key, options in {"exact": {}, "reduced": {"decode": "reduced"}}.items():
        data = PairedDataModule(
            tmp_path / "pairs", size=16, crop=16, jitter=False, mirror=False, num_workers=0, cache=True, **options
        )
        data.setup("validate")
        shapes[key] = next(iter(data.val_dataloader()))
    for side in ("source", "target"):
        difference = (shapes["exact"][side].float() - shapes["reduced"][side].float()).abs()
        assert difference.max() > 0
        assert difference.mean() < 4


def test_sides_of_classes_are_never_reduced(tmp_path):
    write_jpeg(tmp_path / "train" / "A" / "x.jpg", 64, 64)
    write_jpeg(tmp_path / "train" / "B" / "x.jpg", 64, 64)
    data = PairedDataModule(tmp_path, size=16, b={"kind": "rgb", "interpolation": "nearest"}, val_split="train")
    pairs = data.open_split("train")
    pairs.sides = data.pair_spec.a, data.pair_spec.b
    assert [image.shape[0] for image in pairs.read_reduced(0, (16, 16))[:2]] == [16, 64]


def test_reduction_without_stretching_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.decode"):
        PairedDataModule(tmp_path, decode="reduced", resize="none", crop=8)
