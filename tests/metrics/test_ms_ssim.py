import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d
from skimage.metrics import structural_similarity
from skimage.transform import downscale_local_mean

from pix2pix_lightning.metrics import ImageMSSSIM

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def blurred(image):
    kernel = np.exp(-((np.arange(-5, 6) / 1.5) ** 2) / 2)
    kernel /= kernel.sum()
    return convolve1d(convolve1d(image, kernel, axis=0), kernel, axis=1)[5:-5, 5:-5]


def luminance(a, b):
    """The part of SSIM that MS-SSIM leaves out of all scales but the last."""
    mean_a, mean_b = blurred(a), blurred(b)
    return (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)


def reference(a, b):
    """Of one pair (H, W, C): scikit-image's SSIM map at each scale, divided by its luminance."""
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
        maps = structural_similarity(a, b, channel_axis=2, full=True, **options)[1][5:-5, 5:-5]
        if scale < 4:
            maps = maps / np.stack([luminance(a[..., c], b[..., c]) for c in range(a.shape[2])], 2)
        result *= maps.mean() ** weight
        even = [side // 2 * 2 for side in a.shape[:2]]
        a, b = (downscale_local_mean(image[: even[0], : even[1]], (2, 2, 1)) for image in (a, b))
    return result


def make_pair(channels, height, width):
    rng = np.random.default_rng(height)
    coarse = torch.from_numpy(rng.random((3, channels, 12, 12)))
    real = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    strength = torch.tensor([0.02, 0.1, 0.4]).view(-1, 1, 1, 1)
    return (real + strength * torch.from_numpy(rng.standard_normal(real.shape))).clamp(0, 1), real


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 176, 203), (1, 256, 177)])
def test_against_scikit_image_scale_by_scale(channels, height, width):
    fake, real = make_pair(channels, height, width)
    expected = [reference(*(image.permute(1, 2, 0).numpy() for image in pair)) for pair in zip(fake, real, strict=True)]
    assert max(expected) - min(expected) > 0.1
    np.testing.assert_allclose(ImageMSSSIM().compute_scores(fake, real), expected, rtol=1e-9)
    metric = ImageMSSSIM()
    metric.update(fake[:1].float(), real[:1].float())
    metric.update(fake[1:].float(), real[1:].float())
    assert metric.compute().item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_equal_and_inverted_images():
    _, real = make_pair(1, 176, 176)
    assert ImageMSSSIM().compute_scores(real, real).tolist() == pytest.approx([1, 1, 1])
    # its structure is negative, which has no real power
    assert ImageMSSSIM().compute_scores(1 - real, real).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("height", "width"), [(175, 256), (256, 175)])
def test_small_images_are_refused(height, width):
    with pytest.raises(ValueError, match=rf"^MS-SSIM needs images of at least 176 x 176, got {height} x {width}: .*$"):
        ImageMSSSIM().update(*make_pair(1, height, width))
