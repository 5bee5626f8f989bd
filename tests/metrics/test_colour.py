import itertools

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from pix2pix_lightning.metrics import compute_lab_histograms, convert_to_lab


def test_lab_against_scikit_image_over_the_whole_cube():
    levels = [*range(0, 256, 17), 1, 10, 11, 254]  # 10 and 11 lie on both sides of the linear part
    cube = np.array(list(itertools.product(levels, repeat=3)), np.uint8).reshape(-1, 20, 3)
    ours = convert_to_lab(torch.from_numpy(cube).permute(2, 0, 1)[None].double() / 255)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, rgb2lab(cube), atol=1e-9)


def test_histograms_against_numpy():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 8, 9, 3), np.uint8)
    images[1] = images[1, ..., :1]  # gray pixels, whose a and b are zero but for rounding
    images[2] = 255
    histograms = compute_lab_histograms(torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255)
    for channel, (low, high) in enumerate([(0, 100), (-110, 110), (-110, 110)]):
        for image, counts in zip(images, histograms[channel], strict=True):
            edges = np.arange(low, high + 2) - 0.5
            expected, _ = np.histogram(rgb2lab(image)[..., channel], edges)
            assert counts.tolist() == expected.tolist()
            assert counts.sum() == 72
    assert histograms[1][1].max() == 72
    assert histograms[0][2][100] == 72


def test_gray_images_count_as_rgb_and_label_channels_are_refused():
    gray = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    for ours, expected in zip(
        compute_lab_histograms(gray), compute_lab_histograms(gray.expand(1, 3, 8, 8)), strict=True
    ):
        assert torch.equal(ours, expected)
    with pytest.raises(ValueError, match=r"\(1, 12, 8, 8\)"):
        convert_to_lab(torch.zeros(1, 12, 8, 8))
