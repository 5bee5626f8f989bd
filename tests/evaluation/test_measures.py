import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from pix2pix_lightning import SideSpec
from pix2pix_lightning.evaluation import MEASURES, chosen

RGB, GREY = SideSpec(), SideSpec(kind="grayscale")
COLOURS = SideSpec(kind="label", palette=((0, 0, 0), (255, 0, 0)))
NUMBERS = SideSpec(kind="label", num_classes=3)
IMAGES = ["l1", "l2", "psnr", "ssim", "ms_ssim", "gradient"]
HISTOGRAMS = ["histogram_l", "histogram_a", "histogram_b"]


@pytest.mark.parametrize(
    ("target", "size", "names", "left_out"),
    [
        (RGB, 176, IMAGES + HISTOGRAMS, []),
        (RGB, 175, [name for name in IMAGES if name != "ms_ssim"] + HISTOGRAMS, ["ms_ssim"]),
        (RGB, 10, ["l1", "l2", "psnr", "gradient", *HISTOGRAMS], ["ssim", "ms_ssim"]),
        (GREY, 256, IMAGES, HISTOGRAMS),
        (COLOURS, 256, ["accuracy", *IMAGES], HISTOGRAMS),
        (NUMBERS, 256, ["accuracy"], IMAGES + HISTOGRAMS),
    ],
)
def test_what_applies_by_default(target, size, names, left_out):
    found, reasons = chosen(None, target, size)
    assert found == names
    assert list(reasons) == left_out
    for name in names:  # asked for by name it is the same, and nothing else
        assert chosen([name], target, size) == ([name], {})
    for name in left_out:
        with pytest.raises(ValueError, match=f"^metrics: {name} .*; leave it out$"):
            chosen(["l1" if "l1" in names else "accuracy", name], target, size)


def test_names_are_checked():
    assert chosen("l1", RGB, 32) == (["l1"], {})
    assert chosen(["ssim", "l1", "ssim"], RGB, 32) == (["ssim", "l1"], {})
    with pytest.raises(ValueError, match=r"'lpips' is unknown, there are accuracy, l1, l2, psnr, ssim, ms_ssim"):
        chosen(["l1", "lpips"], RGB, 32)
    with pytest.raises(ValueError, match=r"metrics=\[\] asks for nothing"):
        chosen([], RGB, 32)
    with pytest.raises(ValueError, match="accuracy is of classes, and these targets are rgb"):
        chosen(["accuracy"], RGB, 32)


def values(name, outputs, targets):
    measure = MEASURES[name]
    return measure.figure(measure.statistics(outputs, targets).double().numpy())


def test_the_value_of_equal_images_is_the_best():
    images = torch.rand(2, 3, 176, 176, dtype=torch.float64)
    for name, measure in MEASURES.items():
        assert (values(name, images, images) == pytest.approx([measure.best] * 2)) or name == "psnr"


def test_psnr_of_equal_images_is_finite_and_above_all_others():
    target = torch.randint(0, 256, (1, 3, 20, 30)).double() / 255
    nearly = target.clone()
    nearly[0, 1, 3, 4] += 1 / 255 if nearly[0, 1, 3, 4] < 0.5 else -1 / 255
    arrays = [np.rint(image[0].numpy() * 255).astype(np.uint8) for image in (target, nearly)]
    expected = peak_signal_noise_ratio(*arrays, data_range=255)
    assert math.isfinite(expected)
    assert values("psnr", nearly, target) == pytest.approx([expected])
    assert values("psnr", target, target) == pytest.approx([expected])


def test_a_flat_target_has_no_share_of_its_gradient():
    flat, bumpy = torch.zeros(1, 1, 4, 4), torch.eye(4)[None, None]
    assert np.isnan(values("gradient", bumpy, flat)).all()
    statistics = MEASURES["gradient"].statistics(torch.cat([bumpy, bumpy]), torch.cat([flat, bumpy])).numpy()
    assert MEASURES["gradient"].figure(statistics.mean(0, keepdims=True)) == pytest.approx([2.0])
