import numpy as np
import pytest
import torch

from pix2pix_lightning.metrics import PixelAccuracy, compute_pixel_accuracy


def test_a_pixel_is_right_when_all_its_channels_are():
    target = torch.zeros(2, 3, 2, 2)
    preds = target.clone()
    preds[0, 1, 0, 0] = preds[0, 2, 0, 0] = preds[0, 0, 1, 1] = 1  # two pixels of four
    assert compute_pixel_accuracy(preds, target).tolist() == [0.5, 1.0]
    assert compute_pixel_accuracy(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]])).tolist() == [0.75]


@pytest.mark.parametrize("scale", [1, 1 / 255])
def test_pixels_and_images_without_a_class_do_not_count(scale):
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(0, 3, (2, 4, 1, 6, 6), generator=generator)
    is_ignored = torch.rand(4, 1, 6, 6, generator=generator) < 0.4
    is_ignored[2] = True
    preds, target = preds * scale, (target * scale).masked_fill(is_ignored, -1)
    expected = [
        (p[~i] == t[~i]).mean() if not i.all() else np.nan
        for p, t, i in zip(preds.numpy(), target.numpy(), is_ignored.numpy(), strict=True)
    ]
    np.testing.assert_allclose(compute_pixel_accuracy(preds, target), expected)
    metric = PixelAccuracy()
    for index in range(4):
        metric.update(preds[[index]], target[[index]])
    assert metric.compute().item() == pytest.approx(np.nanmean(expected))
    metric.reset()
    assert np.isnan(metric(preds[[2]], target[[2]]).item())


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"^label maps must both be of one shape .* \(2, 1, 4, 4\): .*$"):
        compute_pixel_accuracy(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
