import numpy as np
import pytest
import torch

from pix2pix_lightning.metrics import compute_gradient_magnitude


def test_against_numpy() -> None:
    images = np.random.default_rng(0).random((3, 2, 5, 7))
    expected = []
    for image in images:
        magnitudes = [
            np.hypot(channel[i, j + 1] - channel[i, j], channel[i + 1, j] - channel[i, j])
            for channel in image
            for i in range(4)
            for j in range(6)
        ]
        expected.append(np.mean(magnitudes))
    result = compute_gradient_magnitude(torch.from_numpy(images))
    assert result.dtype == torch.float64
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_ramps() -> None:
    # A slope of 3 a pixel across and 4 down has the magnitude 5 everywhere; flat has 0.
    across, down = torch.arange(6.0), torch.arange(8.0).view(-1, 1)
    images = torch.stack([3 * across + 4 * down, torch.full((8, 6), 9.0), 3 * across + 0 * down])[:, None]
    assert compute_gradient_magnitude(images).tolist() == [5, 0, 3]
    # Differences of bytes are negative too.
    assert compute_gradient_magnitude((60 - images).to(torch.uint8)).tolist() == [5, 0, 3]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 1, 8), (1, 3, 8, 1)])
def test_unfit_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^gradient magnitude needs .* got \([\d, ]+\): .*$"):
        compute_gradient_magnitude(torch.zeros(shape))
