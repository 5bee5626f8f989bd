"""L1 over a pyramid, and L1 that tolerates shifts, against loops over pixels."""

import numpy as np
import pytest
import torch

from pix2pix_lightning.losses import PyramidL1, ShiftTolerantL1


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def pool(image):
    """Means of 2x2 pixels; at an odd border of those that are there."""
    channels, height, width = image.shape
    rows, columns = range(0, height, 2), range(0, width, 2)
    means = [image[:, y : y + 2, x : x + 2].mean((1, 2)) for y in rows for x in columns]
    return np.stack(means, 1).reshape(channels, len(rows), len(columns))


@pytest.mark.parametrize("num_scales", [1, 4])
def test_a_pyramid_is_the_mean_of_l1_over_its_scales(num_scales):
    output, target = draw(2, 2, 5, 4).requires_grad_(), draw(2, 2, 5, 4, seed=1)
    values = []
    for a, b in zip(output.detach().numpy(), target.numpy(), strict=True):
        for _ in range(num_scales):
            values.append(np.abs(a - b).mean())
            a, b = pool(a), pool(b)
    loss = PyramidL1(num_scales)(output, target)
    assert loss.item() == pytest.approx(np.mean(values), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: PyramidL1(num_scales)(x, target), output)


def compare_at_each_shift(output, target, max_shift):
    """The least mean difference of an image, and its gradient."""
    height, width = output.shape[1:]
    losses = {}
    for down in range(-max_shift, max_shift + 1):
        for right in range(-max_shift, max_shift + 1):
            places = [(y, x) for y in range(height) for x in range(width)]
            places = [(y, x) for y, x in places if 0 <= y - down < height and 0 <= x - right < width]
            differences = [(output[:, y, x] - target[:, y - down, x - right]).abs() for y, x in places]
            losses[down, right] = torch.stack(differences).mean()
    return min(losses.values())


def test_each_image_is_compared_at_its_best_shift():
    output, target = draw(3, 2, 7, 5).requires_grad_(), draw(3, 2, 7, 5, seed=1)
    output.data[1, :, 2:, :-1] = target[1, :, :-2, 1:] + 0.1  # off by two rows and a column
    output.data[2] = target[2] + 0.1
    loss = ShiftTolerantL1(2)(output, target)
    expected = torch.stack([compare_at_each_shift(a, b, 2) for a, b in zip(output, target, strict=True)]).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(value, output)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    torch.testing.assert_close(ShiftTolerantL1(0)(output, target), (output - target).abs().mean())


def test_equal_images_have_no_gradient_and_of_equal_shifts_the_shortest_counts():
    output = draw(1, 3, 8, 8).requires_grad_()
    for loss in (ShiftTolerantL1(), PyramidL1()):
        value = loss(output, output.detach())
        (gradient,) = torch.autograd.grad(value, output)
        assert value == 0
        assert (gradient == 0).all()
    flat = torch.zeros(1, 1, 8, 8, requires_grad=True)  # every shift fits as well as any other
    (gradient,) = torch.autograd.grad(ShiftTolerantL1()(flat, torch.ones(1, 1, 8, 8)), flat)
    torch.testing.assert_close(gradient, torch.full((1, 1, 8, 8), -1 / 64))


def test_the_search_does_not_wait_for_a_gpu():
    images = torch.empty(2, 3, 8, 8, device="meta")  # whose values cannot be looked at
    assert ShiftTolerantL1().to("meta")(images, images).shape == ()


def test_half_precision_is_widened_and_a_checkpoint_holds_no_shifts():
    output, target = draw(2, 3, 8, 8).bfloat16(), draw(2, 3, 8, 8, seed=1).bfloat16()
    for loss in (ShiftTolerantL1(), PyramidL1()):
        value = loss(output, target)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(loss(output.double(), target.double()).item(), rel=1e-5)
        assert not loss.state_dict()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PyramidL1(0), "num_scales=0"),
        (lambda: ShiftTolerantL1(-1), "max_shift=-1"),
        (lambda: ShiftTolerantL1(1.5), "max_shift=1.5"),
        (lambda: ShiftTolerantL1(8)(torch.zeros(1, 1, 16, 8), torch.zeros(1, 1, 16, 8)), "16x8"),
    ],
)
def test_what_makes_no_sense_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
