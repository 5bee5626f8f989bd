"""Cross-entropy of outputs in [-1, 1] against sums over pixels in NumPy."""

import numpy as np
import pytest
import torch

from pix2pix_lightning import PairSpec, Pix2PixModule
from pix2pix_lightning.losses import ClassCrossEntropy, compute_masked_loss, replace_masked
from pix2pix_lightning.utils.errors import UserError
from small_networks import UNET


def draw_pairs():
    """Outputs, class numbers of which 7 is none, and the target that a label side makes of them."""
    rng = np.random.default_rng(0)
    output, classes = rng.uniform(-1, 1, (2, 4, 3, 5)), rng.choice([0, 1, 2, 3, 7], (2, 3, 5))
    target = np.where(np.arange(4)[None, :, None, None] == classes[:, None], 1.0, -1.0)
    return torch.from_numpy(output), classes, torch.from_numpy(target)


@pytest.mark.parametrize("scale", [5.0, 2])
def test_it_is_the_mean_over_pixels_that_have_a_class_and_count(scale):
    output, classes, target = draw_pairs()
    mask = np.random.default_rng(1).random((2, 3, 5)) < 0.6
    losses = []
    for b, y, x in zip(*np.nonzero(mask & (classes != 7)), strict=True):
        odds = np.exp(scale * output[b, :, y, x].numpy())
        losses.append(-np.log(odds[classes[b, y, x]] / odds.sum()))
    assert 0 < len(losses) < mask.sum() < mask.size
    counts, output = torch.from_numpy(mask)[:, None], output.requires_grad_()
    loss = compute_masked_loss(ClassCrossEntropy(scale), replace_masked(output, target, counts), target, counts)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, output)
    np.testing.assert_array_equal((gradient != 0).all(1).numpy(), mask & (classes != 7))
    plain = ClassCrossEntropy(scale)(output, target)
    counted = compute_masked_loss(ClassCrossEntropy(scale), output, target, torch.ones_like(counts))
    assert plain.item() == counted.item() != loss.item()


def test_without_a_pixel_that_counts_it_is_zero_and_half_precision_is_widened():
    output, _, target = draw_pairs()
    output = output.bfloat16().requires_grad_()
    loss = ClassCrossEntropy()(output, torch.full_like(target, -1.0))
    (gradient,) = torch.autograd.grad(loss, output)
    assert (loss.item(), loss.dtype) == (0, torch.float32)
    assert (gradient == 0).all()


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), "5", True])
def test_a_scale_that_makes_no_sense_is_named(scale):
    with pytest.raises(UserError, match="scale="):
        ClassCrossEntropy(scale)


def test_a_target_without_classes_is_refused():
    loss = {"cross_entropy": {"_target_": "pix2pix_lightning.losses.ClassCrossEntropy"}}
    with pytest.raises(UserError, match=r"reconstruction\.cross_entropy compares classes, and the target is rgb"):
        Pix2PixModule(UNET, None, reconstruction=loss)
    spec = PairSpec.from_dict({"target": {"kind": "label", "num_classes": 3}})
    assert Pix2PixModule(UNET, None, reconstruction=loss, pair_spec=spec).reconstruction["cross_entropy"].scale == 5
