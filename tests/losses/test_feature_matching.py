import numpy as np
import pytest
import torch
from torch import Tensor

from pix2pix_lightning.losses import feature_matching


def layers(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, 3, 8, 8), (2, 5, 4, 4), (2, 7, 3, 3)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def test_value_and_gradient() -> None:
    real, fake = layers(0), layers(1)
    loss = feature_matching(real, fake)
    loss.backward()
    differences = [f.detach().numpy() - r.detach().numpy() for r, f in zip(real, fake, strict=True)]
    # Every layer counts the same, however many elements it has.
    assert loss.item() == pytest.approx(np.mean([np.abs(d).mean() for d in differences]), rel=1e-12)
    for real_layer, fake_layer, difference in zip(real, fake, differences, strict=True):
        assert real_layer.grad is None
        np.testing.assert_allclose(fake_layer.grad, np.sign(difference) / difference.size / 3, rtol=1e-12)


def test_half_precision_is_widened() -> None:
    real, fake = ([layer.detach().bfloat16() for layer in layers(seed)] for seed in (0, 1))
    expected = np.mean([(f.double() - r.double()).abs().mean() for r, f in zip(real, fake, strict=True)])
    loss = feature_matching(real, fake)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_scales_are_averaged() -> None:
    real, fake = [layers(0), layers(1)[:2]], [layers(2), layers(3)[:2]]
    expected = [
        np.mean([(f - r).abs().mean().item() for r, f in zip(*scale, strict=True)])
        for scale in zip(real, fake, strict=True)
    ]
    assert feature_matching(real, fake).item() == pytest.approx(np.mean(expected), rel=1e-12)
    assert torch.equal(feature_matching(real[:1], fake[:1]), feature_matching(real[0], fake[0]))


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ([], []),
        (layers(0), layers(1)[:2]),
        ([[]], [[]]),
        ([layers(0)], [layers(1)[:2]]),
        ([layers(0)], [layers(1), layers(2)]),
    ],
)
def test_unequal_layers_are_refused(real: list[Tensor], fake: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="layers"):
        feature_matching(real, fake)
