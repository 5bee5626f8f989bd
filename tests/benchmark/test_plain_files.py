import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from pix2pix_lightning.benchmark.plain_files import PillowPairs, translate_file


def test_both_sides_get_the_same_jitter(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 40, dtype=np.uint8)[None, :, None], (40, 1, 3))
    strip = np.concatenate([ramp, 255 - ramp], 1)
    cv2.imwrite(str(tmp_path / "a.png"), strip)
    pairs = PillowPairs([tmp_path / "a.png"], size=32, load_size=36, direction="a_to_b")
    drawn = [pairs[0] for _ in range(20)]
    for source, target in drawn:
        assert source.shape == (3, 32, 32)
        assert source.dtype == torch.float32
        assert (source + target).abs().max() < 2.5 / 127.5  # each is the other's negative, both rounded
    rising = {bool(source[0, 0, -1] > source[0, 0, 0]) for source, _ in drawn}
    assert rising == {True, False}
    assert len({round(float(source.mean()), 4) for source, _ in drawn}) > 2  # different crops
    cv2.imwrite(str(tmp_path / "b.png"), np.concatenate([ramp, 0 * ramp], 1))
    source, target = PillowPairs([tmp_path / "b.png"], size=32, load_size=36, direction="b_to_a")[0]
    assert (source == -1).all()  # B
    assert target.max() > 0


def test_pairs_of_two_files_and_the_range_of_values(tmp_path):
    for name, level in (("a", 0), ("b", 255)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 8, 3), level, np.uint8))
    source, target = PillowPairs([(tmp_path / "a.png", tmp_path / "b.png")], size=8, load_size=8, direction="a_to_b")[0]
    assert (source == -1).all()
    assert (target == 1).all()


def test_translation_equals_pillow(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "in.png")
    translate_file(nn.Identity(), tmp_path / "in.png", tmp_path / "out.png", size=16, device=torch.device("cpu"))
    expected = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
    assert abs(np.asarray(Image.open(tmp_path / "out.png")).astype(int) - expected).max() <= 1  # floats are truncated
