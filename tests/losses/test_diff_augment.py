"""DiffAugment against loops over pixels, and in the module's losses."""

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.losses import DiffAugment
from pix2pix_lightning.losses.diff_augment import change_colours, cut_out
from pix2pix_lightning.losses.shifting import shift_images

ALL = ["color", "translation", "cutout"]
HEIGHT, WIDTH = 16, 24


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def number_pixels(count, channels=2):
    """Images whose values tell row and column apart, none of them 0."""
    grid = torch.arange(1.0, HEIGHT * WIDTH + 1, dtype=torch.float64).reshape(1, 1, HEIGHT, WIDTH)
    return grid.repeat(count, channels, 1, 1)


def test_colours_are_changed_as_in_the_papers_code():
    images = draw(3, 4, 5, 6)
    brightness, saturation, contrast = draw(3, 3, 1, 1, 1, seed=1) + 1
    changed = change_colours(images, brightness, saturation, contrast)
    for i, x in enumerate(images.numpy()):
        x = x + float(brightness[i])
        x = (x - x.mean(0)) * float(saturation[i]) + x.mean(0)
        x = (x - x.mean()) * float(contrast[i]) + x.mean()
        np.testing.assert_allclose(changed[i], x, rtol=1e-12, atol=1e-12)


def test_shifts_and_windows_are_those_of_a_loop_and_let_the_gradient_through():
    images, weights = draw(3, 2, 5, 6).requires_grad_(), draw(3, 2, 5, 6, seed=1)
    down, right = torch.tensor([1, -2, 0]), torch.tensor([-1, 3, 7])
    expected, gradient, is_inside = np.zeros((3, 2, 5, 6)), np.zeros((3, 2, 5, 6)), np.zeros((3, 1, 5, 6), bool)
    for i, c, y, x in np.ndindex(3, 2, 5, 6):
        v, u = y - int(down[i]), x - int(right[i])
        if 0 <= v < 5 and 0 <= u < 6:
            expected[i, c, y, x] = images.data[i, c, v, u]
            gradient[i, c, v, u] += weights[i, c, y, x]
            is_inside[i, 0, y, x] = True
    shifted, inside = shift_images(images, down, right)
    np.testing.assert_array_equal(shifted.detach(), expected)
    np.testing.assert_array_equal(inside, is_inside)
    np.testing.assert_array_equal(torch.autograd.grad((shifted * weights).sum(), images)[0], gradient)

    cut = cut_out(images, torch.tensor([1, -2, 4]), torch.tensor([2, 0, 5]), 3, 4)
    keep = np.ones((3, 2, 5, 6))
    for i, (top, left) in enumerate(((1, 2), (-2, 0), (4, 5))):
        keep[i, :, max(top, 0) : top + 3, left : left + 4] = 0
    np.testing.assert_array_equal(cut.detach(), images.detach().numpy() * keep)
    np.testing.assert_array_equal(torch.autograd.grad((cut * weights).sum(), images)[0], weights.numpy() * keep)


def test_every_shift_up_to_an_eighth_is_as_likely_and_the_same_for_both_pairs():
    torch.manual_seed(0)
    pairs = number_pixels(1400)
    real, fake = DiffAugment(["translation"])(pairs, -pairs)
    torch.testing.assert_close(fake, -real, rtol=0, atol=0)
    seen = []
    for image in real:
        y, x = (int(place[0]) for place in torch.nonzero(image[0], as_tuple=True))
        v, u = divmod(int(image[0, y, x]) - 1, WIDTH)
        seen.append((y - v, x - u))
        expected = np.zeros((HEIGHT, WIDTH))
        down, right = seen[-1]
        rows, columns = ((slice(max(s, 0), n + min(s, 0))) for s, n in ((down, HEIGHT), (right, WIDTH)))
        from_rows, from_columns = ((slice(max(-s, 0), n - max(s, 0))) for s, n in ((down, HEIGHT), (right, WIDTH)))
        expected[rows, columns] = pairs[0, 0, from_rows, from_columns]
        if len(seen) < 20:
            np.testing.assert_array_equal(image, np.stack([expected] * 2))
    counts = np.array([seen.count((y, x)) for y in range(-2, 3) for x in range(-3, 4)])
    assert counts.sum() == 1400
    expected = 1400 / 35
    assert ((counts - expected) ** 2 / expected).sum() < 75  # chi-squared of 34 degrees: 1 in 10,000 by chance


def test_a_window_of_half_of_each_side_is_cut_anywhere():
    torch.manual_seed(0)
    pairs = number_pixels(600)
    (cut,) = DiffAugment(["cutout"])(pairs)
    is_cut = (cut == 0).numpy()
    assert (is_cut == is_cut[:, :1]).all()
    np.testing.assert_array_equal(cut.numpy()[~is_cut], pairs.numpy()[~is_cut])
    seen = set()
    for window in is_cut[:, 0]:
        (y,), (x,) = np.nonzero(window.any(1)), np.nonzero(window.any(0))
        assert window.sum() == len(y) * len(x)
        np.testing.assert_array_equal(np.diff(y), 1)
        np.testing.assert_array_equal(np.diff(x), 1)
        seen |= {(y[0], len(y), "row"), (x[0], len(x), "column")}
    # centres from the first pixel to behind the last one: windows at the border are cut down to half of their size
    for side, name in ((HEIGHT, "row"), (WIDTH, "column")):
        half = side // 4
        windows = {(max(c - half, 0), min(c + half, side) - max(c - half, 0)) for c in range(side + 1)}
        assert {(first, length) for first, length, what in seen if what == name} == windows


def test_colours_change_in_the_target_alone():
    torch.manual_seed(0)
    pairs = draw(500, 5, 2, 2)
    real, fake = DiffAugment(["color"], target_channels=2)(pairs, pairs.flip(2))
    torch.testing.assert_close(real[:, :3], pairs[:, :3], rtol=0, atol=0)
    torch.testing.assert_close(fake, real.flip(2))
    change = (real[:, 3:] - pairs[:, 3:]).mean((1, 2, 3))  # saturation and contrast keep the mean
    assert -0.5 <= change.min() < -0.48 < 0.48 < change.max() <= 0.5
    x, y = pairs[:, 3:], real[:, 3:]
    contrast = (y.mean(1).std((1, 2)) / x.mean(1).std((1, 2))).numpy()  # saturation keeps each pixel's mean
    assert 0.5 <= contrast.min() < 0.52 < 1.48 < contrast.max() <= 1.5
    saturation = ((y[:, 0] - y[:, 1]) / (x[:, 0] - x[:, 1])).mean((1, 2)).numpy() / contrast
    assert 0 <= saturation.min() < 0.02 < 1.98 < saturation.max() <= 2


def test_no_draw_depends_on_a_value_for_which_a_gpu_would_be_waited():
    pairs = torch.empty(2, 6, 16, 16, device="meta")  # whose values cannot be looked at
    assert DiffAugment(ALL)(pairs)[0].shape == pairs.shape


def test_nothing_is_changed_or_drawn_without_policies():
    state = torch.get_rng_state()
    pairs = draw(2, 6, 8, 8)
    assert DiffAugment([])(pairs, pairs) == (pairs, pairs)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("form", ["Vanilla", "Wasserstein"])
@pytest.mark.parametrize("conditional", [True, False])
def test_the_modules_losses_are_those_of_changed_pairs(conditional, form):
    """Both losses by hand, with the same draws; feature matching compares pairs that are changed alike."""
    module = Pix2PixModule(
        {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 2},
        {
            "_target_": "pix2pix_lightning.networks.PatchDiscriminator",
            "num_layers": 1,
            "base_channels": 2,
            "norm": "none",
        },
        adversarial={"_target_": f"pix2pix_lightning.losses.{form}Adversarial"},
        weights={"l1": 0.0, "feature_matching": 10.0},
        conditional=conditional,
        diff_augment=ALL,
    ).double()
    module.log = lambda *args, **kwargs: None
    judge = module.discriminator
    source, target, fake = draw(3, 2, 3, 16, 16)
    fake.requires_grad_()

    def see(images):
        return torch.cat([source, images], 1) if conditional else images

    def change(*pairs):
        return DiffAugment(ALL, target_channels=3)(*pairs)

    torch.manual_seed(5)
    f, r = (judge(pair) for pair in change(see(fake), see(target)))
    if form == "Vanilla":
        expected = (softplus(-r).mean() + softplus(f).mean()) / 2
    else:
        share = torch.rand(2, 1, 1, 1, dtype=torch.float64)
        mixed = (share * target + (1 - share) * fake.detach()).requires_grad_()
        gradient = torch.autograd.grad(judge(*change(see(mixed))).mean((1, 2, 3)).sum(), mixed)[0]
        expected = f.mean() - r.mean() + 10 * (gradient.square().sum((1, 2, 3)).sqrt() - 1).square().mean()
    torch.manual_seed(5)
    torch.testing.assert_close(module.discriminator_loss(source, target, fake), expected, rtol=1e-12, atol=0)

    torch.manual_seed(6)
    f, r = (judge.features(pair) for pair in change(see(fake), see(target)))
    expected = softplus(-f[-1]).mean() if form == "Vanilla" else -f[-1].mean()
    distances = [(a - b.detach()).abs().mean() for a, b in zip(f[:-1], r[:-1], strict=True)]
    expected = expected + 10 * sum(distances) / len(distances)
    torch.manual_seed(6)
    loss = module.generator_loss(source, target, fake)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(value, fake)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-15)
    assert theirs.abs().sum() > 0
