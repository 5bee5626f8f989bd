import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from pix2pix_lightning.metrics import ImageL1, ImageL2, ImageSSIM, build_metric, build_metrics, update_metric

NAMES = ("l1", "psnr", "ssim")


def make_pair(count: int, channels: int = 3, height: int = 24, width: int = 31) -> tuple[Tensor, Tensor]:
    """Return smooth images and noisy ones, from 0 to 1; the noise differs much between images."""
    generator = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, channels, 6, 6, generator=generator)
    real = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    strength = torch.linspace(0.02, 0.5, count).view(-1, 1, 1, 1)
    fake = (real + strength * torch.randn(real.shape, generator=generator)).clamp(0, 1)
    return fake, real


def reference(pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    scores: dict[str, list[float]] = {"l1": [], "psnr": [], "ssim": []}
    for fakes, reals in pairs:
        for fake, real in zip(fakes.double().numpy(), reals.double().numpy(), strict=True):
            scores["l1"].append(np.abs(fake - real).mean())
            scores["psnr"].append(peak_signal_noise_ratio(real, fake, data_range=1))
            scores["ssim"].append(
                structural_similarity(
                    real,
                    fake,
                    data_range=1,
                    channel_axis=0,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
            )
    return {name: float(np.mean(values)) for name, values in scores.items()}


@pytest.mark.parametrize("channels", [1, 3])
def test_against_scikit_image(channels: int) -> None:
    # Uneven batches, images of unlike quality and size: a mean of batches' means, a pooled PSNR would differ.
    pairs = [make_pair(4, channels), make_pair(1, channels), make_pair(2, channels, height=11, width=40)]
    metrics = build_metrics(NAMES)
    for fake, real in pairs:
        metrics.update(fake, real)
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values == pytest.approx(reference(pairs), rel=2e-5)

    metrics.reset()
    metrics.update(*pairs[1])
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values == pytest.approx(reference(pairs[1:2]), rel=2e-5)


def test_squared_difference_against_scikit_image() -> None:
    fake, real = make_pair(4)
    expected = [mean_squared_error(*images) for images in zip(real.numpy(), fake.numpy(), strict=True)]
    np.testing.assert_allclose(ImageL2().compute_scores(fake, real), expected, rtol=1e-5)
    metric = ImageL2()
    metric.update(fake[:1], real[:1])
    metric.update(fake[1:], real[1:])
    assert metric.compute().item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_flat_and_inverted_images() -> None:
    # Flat images have no variance, inverted ones a negative covariance; 0 and 1 are the range's ends. Without
    # variance, the rounding of float32 is seen beside the constant of SSIM, 9e-4.
    _, real = make_pair(2)
    flat = torch.full_like(real, 0.3)
    pairs = [(flat, flat + 0.2), (1 - real, real), (torch.zeros_like(real), torch.ones_like(real))]
    for fake, other in pairs:
        metrics = build_metrics(NAMES)
        values = {name: value.item() for name, value in metrics(fake, other).items()}
        assert values == pytest.approx(reference([(fake, other)]), rel=1e-4, abs=1e-6)


def test_equal_images() -> None:
    _, real = make_pair(3)
    values = build_metrics(NAMES)(real, real.clone())
    assert values["l1"].item() == 0
    assert values["psnr"].item() == float("inf")
    assert values["ssim"].item() == pytest.approx(1, abs=1e-6)


def test_precision_under_autocast() -> None:
    # What a generator under autocast gives is half precision; the comparison with it must not be.
    fake, real = make_pair(4)
    fake = fake.bfloat16()
    metrics = build_metrics(NAMES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        metrics.update(fake, real)
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values == pytest.approx(reference([(fake, real)]), rel=2e-5)


def test_memory_does_not_hold_images() -> None:
    metrics = build_metrics(NAMES)
    for _ in range(10):
        metrics.update(*make_pair(4))
    num_kept = 0
    for metric in metrics.values():
        for state in metric.metric_state.values():
            num_kept += sum(value.numel() for value in (state if isinstance(state, list) else [state]))
    assert num_kept <= 2 * 40 + 10


def test_clones_are_separate() -> None:
    first, second = build_metrics(NAMES, prefix="val/"), build_metrics(NAMES, prefix="test/")
    first.update(*make_pair(4))
    second.update(*make_pair(2))
    first_values, second_values = first.compute(), second.compute()
    assert set(first_values) == {"val/l1", "val/psnr", "val/ssim"}
    assert first_values["val/l1"].item() == pytest.approx(reference([make_pair(4)])["l1"], rel=1e-5)
    assert second_values["test/l1"].item() == pytest.approx(reference([make_pair(2)])["l1"], rel=1e-5)


@pytest.mark.parametrize(("height", "width"), [(10, 32), (32, 10), (4, 4)])
def test_small_images_have_no_ssim(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"^SSIM needs images of at least 11 x 11, got {height} x {width}: .*$"):
        ImageSSIM().update(*make_pair(1, height=height, width=width))


@pytest.mark.parametrize("shape", [(2, 1, 24, 31), (1, 3, 24, 31), (2, 3, 24, 30), (3, 24, 31)])
def test_unequal_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^images must both be of one shape .* \(2, 3, 24, 31\): .*$"):
        ImageL1().update(torch.zeros(shape), make_pair(2)[1])


@pytest.mark.parametrize("eight_bit", [False, True])
def test_metrics_of_a_mask_are_those_of_its_pixels(eight_bit: bool) -> None:
    fake, real = make_pair(3)
    mask = torch.rand(3, 1, *real.shape[2:], generator=torch.Generator().manual_seed(0)) < torch.tensor(
        [0.2, 0.9, 1.0]
    ).reshape(3, 1, 1, 1)
    equal = torch.where(mask, fake, real)
    chosen = [(f[:, m[0]].double(), r[:, m[0]].double()) for f, r, m in zip(fake, real, mask, strict=True)]
    squares = np.array([float(((f - r) ** 2).mean()) for f, r in chosen])
    expected = {"l1": np.mean([float((f - r).abs().mean()) for f, r in chosen]), "l2": squares.mean()}
    expected["psnr"] = np.mean(-10 * np.log10(squares))
    for name, value in expected.items():
        metric = build_metric(name, eight_bit=eight_bit)
        update_metric(metric, equal, real, mask)
        assert metric.compute().item() == pytest.approx(value, rel=1e-5)


def test_ssim_of_a_mask_is_the_mean_over_windows_whose_centre_counts() -> None:
    fake, real = make_pair(2)
    mask = torch.zeros(2, 1, *real.shape[2:], dtype=torch.bool)
    mask[0, :, 5, 5] = mask[1, :, :14, 7:] = True
    equal = torch.where(mask, fake, real)
    corner = ImageSSIM().compute_scores(equal[:1, :, :11, :11], real[:1, :, :11, :11])
    part = ImageSSIM().compute_scores(equal[1:, :, :19, 2:], real[1:, :, :19, 2:])
    torch.testing.assert_close(ImageSSIM().compute_scores(equal, real, mask), torch.cat([corner, part]))
    border = torch.zeros_like(mask)
    border[:, :, 0, 0] = True  # no window has it in its centre
    assert ImageSSIM().compute_scores(real, real, border).tolist() == pytest.approx([1, 1])
