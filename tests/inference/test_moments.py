import numpy as np
import pytest
import torch

from pix2pix_lightning.inference.moments import Moments


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_moments_are_those_of_all_pixels(dtype, tolerance):
    """Far from 0, where sums of squares in float32 would lose all digits."""
    maps = torch.randn(1, 5, 130, 70, generator=torch.Generator().manual_seed(0), dtype=dtype)
    maps = maps * torch.logspace(-2, 1, 5, dtype=dtype)[:, None, None] + 1000
    moments = Moments()
    for rows in (slice(0, 1), slice(1, 90), slice(90, 130)):
        moments.add(maps[:, :, rows])
    mean, variance = moments.compute()
    values = maps[0].double().numpy()
    np.testing.assert_allclose(mean, values.mean((1, 2)), rtol=tolerance)
    np.testing.assert_allclose(variance, values.var((1, 2)), rtol=2e-6 if dtype == torch.float32 else 1e-12)
    assert mean.dtype == variance.dtype == torch.float64


def test_one_pixel_and_equal_pixels():
    single, flat = Moments(), Moments()
    single.add(torch.full((1, 2, 1, 1), 3.0))
    assert single.compute().mean.tolist() == [3, 3]
    assert torch.isinf(single.compute().variance).all()
    flat.add(torch.full((1, 2, 9, 9), 0.1))
    assert flat.compute().variance.tolist() == [0, 0]
