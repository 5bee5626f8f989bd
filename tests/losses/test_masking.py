"""Losses over the pixels that count, against means over chosen pixels."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning.losses import compute_masked_loss, replace_masked


def build_images(share):
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, 2, 3, 9, 7, generator=generator, dtype=torch.float64).unbind()
    return output, target, torch.rand(2, 1, 9, 7, generator=generator) < share


@pytest.mark.parametrize(
    ("loss", "function"), [(nn.L1Loss(), F.l1_loss), (nn.MSELoss(), F.mse_loss), (nn.SmoothL1Loss(), F.smooth_l1_loss)]
)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_mean_over_pixels_is_that_of_the_pixels_that_count(loss, function, share):
    output, target, mask = build_images(share)
    output.requires_grad_()
    chosen = mask.expand_as(output)
    value = compute_masked_loss(loss, replace_masked(output, target, mask), target, mask)
    torch.testing.assert_close(value, function(output[chosen], target[chosen]))
    value.backward()
    assert ((output.grad != 0) == chosen).all()


def test_without_any_pixel_the_loss_is_zero_and_without_a_mask_the_loss_itself():
    output, target, mask = build_images(0.0)
    assert compute_masked_loss(nn.L1Loss(), replace_masked(output, target, mask), target, mask) == 0
    assert replace_masked(output, target, None) is output
    assert compute_masked_loss(nn.L1Loss(), output, target, None) == F.l1_loss(output, target)


def test_any_other_loss_sees_equal_pixels():
    output, target, mask = build_images(0.3)
    blur = nn.AvgPool2d(3)

    class Blurred(nn.Module):
        def forward(self, output, target):
            return (blur(output) - blur(target)).abs().mean()

    equal = torch.where(mask, output, target)
    assert compute_masked_loss(Blurred(), replace_masked(output, target, mask), target, mask) == Blurred()(
        equal, target
    )
    assert replace_masked(output.bfloat16(), target, mask).dtype == torch.bfloat16
