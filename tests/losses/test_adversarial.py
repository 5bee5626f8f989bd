import numpy as np
import pytest
import torch
from torch import Tensor

from pix2pix_lightning.losses import (
    AdversarialLoss,
    HingeAdversarial,
    LeastSquaresAdversarial,
    RelativisticAverageAdversarial,
    VanillaAdversarial,
    WassersteinAdversarial,
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def relativistic(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The RaSGAN loss that wants ``high`` above the mean of ``low``, and its gradients by both."""
    above, below = sigmoid(high - low.mean()), sigmoid(low - high.mean())
    loss = -np.log(above).mean() - np.log(1 - below).mean()
    by_high = (above - 1) / high.size - below.mean() / high.size
    by_low = below / low.size - (above - 1).mean() / low.size
    return loss, by_high, by_low


# The formulas in NumPy: the loss, and its gradient by each input.
DISCRIMINATOR = {
    VanillaAdversarial: lambda r, f: (
        (-np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean()) / 2,
        (sigmoid(r) - 1) / (2 * r.size),
        sigmoid(f) / (2 * f.size),
    ),
    LeastSquaresAdversarial: lambda r, f: (
        (((r - 1) ** 2).mean() + (f**2).mean()) / 2,
        (r - 1) / r.size,
        f / f.size,
    ),
    HingeAdversarial: lambda r, f: (
        np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        -(r < 1).astype(float) / r.size,
        (f > -1).astype(float) / f.size,
    ),
    WassersteinAdversarial: lambda r, f: (
        f.mean() - r.mean(),
        np.full_like(r, -1 / r.size),
        np.full_like(f, 1 / f.size),
    ),
    RelativisticAverageAdversarial: relativistic,
}
GENERATOR = {
    VanillaAdversarial: lambda f: (-np.log(sigmoid(f)).mean(), (sigmoid(f) - 1) / f.size),
    LeastSquaresAdversarial: lambda f: (((f - 1) ** 2).mean(), 2 * (f - 1) / f.size),
    HingeAdversarial: lambda f: (-f.mean(), np.full_like(f, -1 / f.size)),
    WassersteinAdversarial: lambda f: (-f.mean(), np.full_like(f, -1 / f.size)),
}
FORMS = list(DISCRIMINATOR)
ONE_SIDED = list(GENERATOR)  # losses of the generator that depend on the generated pairs alone


def logits(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(3, 1, 4, 5, generator=generator, dtype=torch.float64)).requires_grad_()


@pytest.mark.parametrize("form", FORMS)
def test_discriminator_loss_and_gradient(form: type[AdversarialLoss]) -> None:
    real, fake = logits(0), logits(1)
    value, real_gradient, fake_gradient = DISCRIMINATOR[form](real.detach().numpy(), fake.detach().numpy())
    loss = form().discriminator(real, fake)
    loss.backward()
    assert loss.dtype == torch.float64
    np.testing.assert_allclose(loss.item(), value, rtol=1e-12)
    np.testing.assert_allclose(real.grad, real_gradient, rtol=1e-12)
    np.testing.assert_allclose(fake.grad, fake_gradient, rtol=1e-12)


@pytest.mark.parametrize("form", ONE_SIDED)
def test_generator_loss_and_gradient(form: type[AdversarialLoss]) -> None:
    fake = logits(2)
    value, gradient = GENERATOR[form](fake.detach().numpy())
    loss = form().generator(fake)
    loss.backward()
    np.testing.assert_allclose(loss.item(), value, rtol=1e-12)
    np.testing.assert_allclose(fake.grad, gradient, rtol=1e-12)
    assert torch.equal(form().generator(fake, logits(0)), loss)


def test_relativistic_generator_loss_and_gradient() -> None:
    form, real, fake = RelativisticAverageAdversarial(), logits(0), logits(2)
    value, gradient, _ = relativistic(fake.detach().numpy(), real.detach().numpy())
    loss = form.generator(fake, real)
    loss.backward()
    np.testing.assert_allclose(loss.item(), value, rtol=1e-12)
    np.testing.assert_allclose(fake.grad, gradient, rtol=1e-12)
    with pytest.raises(ValueError, match="real"):
        form.generator(fake)


def test_relativistic_loss_depends_on_differences_alone() -> None:
    form, real, fake = RelativisticAverageAdversarial(), logits(0), logits(1)
    assert form.discriminator(real + 5, fake + 5).item() == pytest.approx(form.discriminator(real, fake).item())


def logits_of_scales(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 1, side, side, generator=generator, dtype=torch.float64) for side in (5, 3, 2)]


@pytest.mark.parametrize("form", FORMS)
def test_scales_are_averaged(form: type[AdversarialLoss]) -> None:
    loss, real, fake = form(), logits_of_scales(0), logits_of_scales(1)
    pairs = list(zip(real, fake, strict=True))
    expected = np.mean([DISCRIMINATOR[form](r.numpy(), f.numpy())[0] for r, f in pairs])
    assert loss.discriminator(real, fake).item() == pytest.approx(expected, rel=1e-12)
    expected = np.mean([loss.generator(f, r).item() for r, f in pairs])
    assert loss.generator(fake, real).item() == pytest.approx(expected, rel=1e-12)
    expected = np.mean([loss.realism(r).item() for r in real])
    assert loss.realism(real).item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(loss.discriminator(real[:1], fake[:1]), loss.discriminator(real[0], fake[0]))


def test_unequal_numbers_of_scales_are_refused() -> None:
    maps = logits_of_scales(0)
    for real, fake in ((maps, maps[:2]), (maps[0], maps), ([], [])):
        with pytest.raises(ValueError, match="scales"):
            VanillaAdversarial().discriminator(real, fake)


def test_a_form_of_ones_own_is_written_for_one_map() -> None:
    class Margin(AdversarialLoss):
        def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
            return (fake - real).exp().mean()

        def generator_loss(self, fake: Tensor) -> Tensor:  # type: ignore[override]
            return -fake.min()

    real, fake = logits_of_scales(0), logits_of_scales(1)
    expected = np.mean([np.exp((f - r).numpy()).mean() for r, f in zip(real, fake, strict=True)])
    assert Margin().discriminator(real, fake).item() == pytest.approx(expected, rel=1e-12)
    assert Margin().generator(fake).item() == pytest.approx(np.mean([-f.min().item() for f in fake]), rel=1e-12)
    assert Margin().realism(real[0]).item() == pytest.approx(real[0].mean().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (VanillaAdversarial, np.log(2)),  # halved: a discriminator that cannot tell loses log 2, not 2 log 2
        (LeastSquaresAdversarial, 0.5),
        (HingeAdversarial, 2.0),
        (WassersteinAdversarial, 0.0),
        (RelativisticAverageAdversarial, 2 * np.log(2)),  # the paper halves nothing
    ],
)
def test_loss_of_an_undecided_discriminator(form: type[AdversarialLoss], expected: float) -> None:
    undecided = torch.zeros(2, 1, 3, 3)
    assert form().discriminator(undecided, undecided).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("form", "discriminator", "generator"),
    [
        (VanillaAdversarial, 300.0, 300.0),
        (LeastSquaresAdversarial, (301**2 + 300**2) / 2, 301**2),
        (HingeAdversarial, 602.0, 300.0),
        (WassersteinAdversarial, 600.0, 300.0),
        (RelativisticAverageAdversarial, 1200.0, 1200.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits(
    form: type[AdversarialLoss], discriminator: float, generator: float, dtype: torch.dtype
) -> None:
    # 300 squared is more than float16 holds; a sigmoid before a logarithm would give infinity at once.
    real = torch.full((2, 1, 3, 3), -300.0, dtype=dtype, requires_grad=True)
    fake_high = torch.full((2, 1, 3, 3), 300.0, dtype=dtype, requires_grad=True)
    fake_low = torch.full((2, 1, 3, 3), -300.0, dtype=dtype, requires_grad=True)
    loss_d = form().discriminator(real, fake_high)
    loss_g = form().generator(fake_low, torch.full_like(real, 300.0))
    assert loss_d.dtype == loss_g.dtype == torch.float32
    assert loss_d.item() == pytest.approx(discriminator, rel=1e-6)
    assert loss_g.item() == pytest.approx(generator, rel=1e-6)
    (loss_d + loss_g).backward()
    for wrong in (real, fake_high, fake_low):
        assert wrong.grad is not None
        assert wrong.grad.isfinite().all()
        assert (wrong.grad != 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_loss_of_a_discriminator_that_is_right_and_certain(form: type[AdversarialLoss]) -> None:
    right = form().discriminator(torch.full((1, 1, 2, 2), 100.0), torch.full((1, 1, 2, 2), -100.0)).item()
    assert np.isfinite(right)
    if form in (VanillaAdversarial, HingeAdversarial, RelativisticAverageAdversarial):
        assert right == pytest.approx(0, abs=1e-30)


def test_realism() -> None:
    scores = logits(3)
    array = scores.detach().numpy()
    assert VanillaAdversarial().realism(scores).item() == pytest.approx(sigmoid(array).mean(), rel=1e-12)
    for form in FORMS[1:]:
        assert form().realism(scores).item() == pytest.approx(array.mean(), rel=1e-12)
    assert not any(form().realism(scores).requires_grad for form in FORMS)


def test_penalty_weight() -> None:
    assert [form().penalty_weight for form in FORMS] == [0, 0, 0, 10, 0]
    assert WassersteinAdversarial(penalty_weight=2.5).penalty_weight == 2.5
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="penalty_weight"):
            WassersteinAdversarial(penalty_weight=wrong)
