"""Padding by reflection."""

import numpy as np
import pytest
import torch

from pix2pix_lightning.networks.padding import pad_to_multiple


@pytest.mark.parametrize(("height", "width"), [(37, 5), (16, 16), (1, 33), (2, 3), (15, 17)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_padding_is_numpys_reflection(height, width, dtype):
    images = torch.arange(2 * 3 * height * width).reshape(2, 3, height, width).to(dtype)
    padding = ((0, 0), (0, 0), (0, -height % 16), (0, -width % 16))
    expected = np.pad(images.numpy(), padding, mode="reflect")
    padded = pad_to_multiple(images, 16)
    assert padded.dtype == dtype
    np.testing.assert_array_equal(padded.numpy(), expected)


def test_smallest_side():
    images = torch.arange(2.0 * 9).reshape(1, 1, 2, 9)
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 6), (0, 3)), mode="reflect")
    np.testing.assert_array_equal(pad_to_multiple(images, 4, least=8).numpy(), expected)
