"""The gradient penalties against finite differences and formulas."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pix2pix_lightning.losses import WassersteinAdversarial, gradient_penalty, r1_penalty


def images(seed: int, channels: int = 2, count: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, 4, 4, generator=generator, dtype=dtype)


class SmallDiscriminator(nn.Module):
    """Smooth and not linear, on 1 source and 2 target channels of 4 x 4; 2 x 2 patches."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.first = nn.Conv2d(channels, 4, 2)
            self.last = nn.Conv2d(4, 1, 2)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.last(torch.tanh(2 * self.first(x)))


@pytest.mark.parametrize("source_scale", [0.0, 1.0, 1000.0])
def test_penalty_of_a_linear_discriminator(source_scale: float) -> None:
    # Scores of 6 patches, each a linear map of source and target: the gradient by the target is the mean of
    # its maps everywhere, whatever the source and its weights.
    generator = torch.Generator().manual_seed(0)
    by_source = source_scale * torch.randn(6, 16, generator=generator, dtype=torch.float64)
    by_target = torch.randn(6, 32, generator=generator, dtype=torch.float64)

    def discriminator(x: Tensor) -> Tensor:
        return (x.flatten(1) @ torch.cat([by_source, by_target], 1).T).view(len(x), 1, 2, 3)

    penalty = gradient_penalty(discriminator, images(1, channels=1), images(2), images(3))
    norm = np.sqrt((by_target.numpy().mean(0) ** 2).sum())
    assert penalty.dtype == torch.float64
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-12)


@pytest.mark.parametrize("conditional", [True, False])
def test_penalty_against_differences(conditional: bool) -> None:
    discriminator = SmallDiscriminator(3 if conditional else 2).double()
    source, real, fake = images(1, channels=1) if conditional else None, images(2), images(3)
    torch.manual_seed(5)
    penalty = gradient_penalty(discriminator, source, real, fake)

    torch.manual_seed(5)
    weights = torch.rand(3, 1, 1, 1, dtype=torch.float64)
    assert len(weights.unique()) == 3
    norms = []
    for i in range(3):
        between = weights[i] * real[i] + (1 - weights[i]) * fake[i]
        gradient = np.zeros(between.numel())
        for k in range(between.numel()):
            step = torch.zeros(between.numel(), dtype=torch.float64)
            step[k] = 1e-5
            ends = [between + sign * step.view_as(between) for sign in (1, -1)]
            pairs = [end if source is None else torch.cat([source[i], end]) for end in ends]
            with torch.no_grad():
                high, low = (discriminator(pair[None]).mean().item() for pair in pairs)
            gradient[k] = (high - low) / 2e-5
        norms.append(np.sqrt((gradient**2).sum()))
    assert penalty.item() == pytest.approx(((np.array(norms) - 1) ** 2).mean(), rel=1e-7)


def test_penalties_of_scales_are_averaged() -> None:
    discriminators = [SmallDiscriminator().double(), SmallDiscriminator().double()]
    nn.init.normal_(discriminators[1].last.weight)
    source, real, fake = images(1, channels=1), images(2), images(3)

    def compute_penalty(discriminator: Callable[[Tensor], Tensor | list[Tensor]]) -> float:
        torch.manual_seed(5)
        return gradient_penalty(discriminator, source, real, fake).item()

    expected = np.mean([compute_penalty(discriminator) for discriminator in discriminators])
    both = compute_penalty(lambda pair: [discriminator(pair) for discriminator in discriminators])
    assert both == pytest.approx(expected, rel=1e-12)


def test_penalty_trains_the_discriminator() -> None:
    discriminator = SmallDiscriminator().double()
    source, real, fake = images(1, channels=1), images(2), images(3)

    def penalty(first: Tensor, last: Tensor) -> Tensor:
        torch.manual_seed(5)
        replaced = {"first.weight": first, "last.weight": last}
        return gradient_penalty(lambda x: torch.func.functional_call(discriminator, replaced, (x,)), source, real, fake)

    weights = (discriminator.first.weight, discriminator.last.weight)
    assert torch.autograd.gradcheck(penalty, weights, eps=1e-6, atol=1e-7, fast_mode=True)
    penalty(*weights).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)


def test_penalty_has_no_gradient_for_the_images() -> None:
    discriminator = SmallDiscriminator().double()
    source, real, fake = (images(i, channels=c).requires_grad_() for i, c in ((1, 1), (2, 2), (3, 2)))
    gradient_penalty(discriminator, source, real, fake).backward()
    assert source.grad is None
    assert real.grad is None
    assert fake.grad is None
    assert discriminator.first.weight.grad is not None


def test_penalty_of_a_flat_discriminator_is_finite() -> None:
    discriminator = SmallDiscriminator()
    nn.init.zeros_(discriminator.first.weight)
    penalty = gradient_penalty(
        discriminator, *(images(i, channels=c, dtype=torch.float32) for i, c in ((1, 1), (2, 2), (3, 2)))
    )
    penalty.backward()
    assert penalty.item() == 1
    assert discriminator.first.weight.grad is not None
    assert discriminator.first.weight.grad.isfinite().all()


def test_penalty_under_autocast() -> None:
    discriminator = SmallDiscriminator()
    source, real, fake = (
        images(i, channels=c).to(dtype)
        for i, c, dtype in ((1, 1, torch.bfloat16), (2, 2, torch.float32), (3, 2, torch.bfloat16))
    )
    torch.manual_seed(5)
    expected = gradient_penalty(discriminator, source.float(), real, fake.float())
    torch.manual_seed(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert discriminator(images(4, channels=3).float()).dtype == torch.bfloat16
        penalty = gradient_penalty(discriminator, source, real, fake)
    assert discriminator.seen[-1].dtype == torch.float32
    assert penalty.dtype == torch.float32
    assert penalty.item() == expected.item()


def penalize_as_junyanz(discriminator: nn.Module, real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Return the penalty of its function for WGAN-GP: patches are summed, and source and target count."""
    between = (weight * real + (1 - weight) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean() * 10


def test_wgan_gp_beside_junyanz() -> None:
    """Its loss of the discriminator is half of this one, which Adam divides out; its penalty sums over patches."""
    torch.manual_seed(0)
    discriminator = nn.Conv2d(4, 1, 4, 2, 1).double()
    real, fake = (torch.randn(3, 4, 8, 8, dtype=torch.float64) for _ in range(2))
    steps = []
    for loss in (
        lambda: (discriminator(fake).mean() - discriminator(real).mean()) * 0.5,
        lambda: WassersteinAdversarial(0.0).discriminator(discriminator(real), discriminator(fake)),
    ):
        before = discriminator.weight.detach().clone()
        value = loss()
        (gradient,) = torch.autograd.grad(value, [discriminator.weight])
        discriminator.weight.grad = gradient
        torch.optim.Adam([discriminator.weight], lr=2e-4, betas=(0.5, 0.999)).step()
        steps.append((value.detach(), gradient, discriminator.weight.detach() - before))
        discriminator.weight.data.copy_(before)
    (half, its_gradient, its_step), (whole, our_gradient, our_step) = steps
    torch.testing.assert_close(whole, 2 * half)
    torch.testing.assert_close(our_gradient, 2 * its_gradient)
    torch.testing.assert_close(our_step, its_step, rtol=1e-5, atol=0)

    torch.manual_seed(1)
    ours = gradient_penalty(discriminator, None, real, fake)
    torch.manual_seed(1)
    weight = torch.rand(3, 1, 1, 1, dtype=torch.float64)
    patches = discriminator(real)[0].numel()
    summed = gradient_penalty(lambda x: discriminator(x) * patches, None, real, fake)
    theirs = penalize_as_junyanz(discriminator, real, fake, weight)
    torch.testing.assert_close(theirs, 10 * summed)  # a linear one has the same gradient everywhere
    assert (theirs - 10 * ours).abs() > 1


# ---- R1 ----


def differentiate(discriminator: nn.Module, source: Tensor | None, image: Tensor) -> np.ndarray:
    """The gradient of the mean logit of one image by its target, by central differences."""
    gradient = np.zeros(image.numel())
    for k in range(image.numel()):
        step = torch.zeros(image.numel(), dtype=torch.float64)
        step[k] = 1e-5
        ends = [image + sign * step.view_as(image) for sign in (1, -1)]
        pairs = [end if source is None else torch.cat([source, end]) for end in ends]
        with torch.no_grad():
            high, low = (discriminator(pair[None]).mean().item() for pair in pairs)
        gradient[k] = (high - low) / 2e-5
    return gradient


@pytest.mark.parametrize("conditional", [True, False])
def test_r1_against_differences(conditional: bool) -> None:
    discriminator = SmallDiscriminator(3 if conditional else 2).double()
    source, real = images(1, channels=1) if conditional else None, images(2)
    state = torch.get_rng_state()
    penalty = r1_penalty(discriminator, source, real)
    assert torch.equal(torch.get_rng_state(), state), "R1 has nothing to draw"
    squares = [
        (differentiate(discriminator, None if source is None else source[i], real[i]) ** 2).sum() for i in range(3)
    ]
    assert penalty.item() == pytest.approx(np.mean(squares) / 2, rel=1e-7)


def test_r1_of_scales_is_averaged() -> None:
    discriminators = [SmallDiscriminator().double(), SmallDiscriminator().double()]
    nn.init.normal_(discriminators[1].last.weight)
    source, real = images(1, channels=1), images(2)
    expected = np.mean([r1_penalty(discriminator, source, real).item() for discriminator in discriminators])
    both = r1_penalty(lambda pair: [discriminator(pair) for discriminator in discriminators], source, real)
    assert both.item() == pytest.approx(expected, rel=1e-12)


def test_r1_trains_the_discriminator_alone() -> None:
    discriminator = SmallDiscriminator().double()
    source, real = images(1, channels=1).requires_grad_(), images(2).requires_grad_()

    def penalty(first: Tensor, last: Tensor) -> Tensor:
        replaced = {"first.weight": first, "last.weight": last}
        return r1_penalty(lambda x: torch.func.functional_call(discriminator, replaced, (x,)), source, real)

    weights = (discriminator.first.weight, discriminator.last.weight)
    assert torch.autograd.gradcheck(penalty, weights, eps=1e-6, atol=1e-7, fast_mode=True)
    penalty(*weights).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)
    assert source.grad is None
    assert real.grad is None


def test_r1_under_autocast_is_computed_in_float32() -> None:
    discriminator = SmallDiscriminator()
    source, real = images(1, channels=1).bfloat16(), images(2).bfloat16()
    expected = r1_penalty(discriminator, source.float(), real.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = r1_penalty(discriminator, source, real)
    assert discriminator.seen[-1].dtype == torch.float32
    assert penalty.item() == expected.item()
