import json
import math

import pytest
import torch
from torch import nn
from torchmetrics import Metric
from torchmetrics.image import UniversalImageQualityIndex
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from pix2pix_lightning.metrics import METRICS, MetricInfo, build_metric, build_metrics, describe_metrics, metric_info

UQI = {"_target_": "torchmetrics.image.UniversalImageQualityIndex"}
FID = "torchmetrics.image.fid.FrechetInceptionDistance"


class OwnMetric(Metric):
    """A metric of somebody else, about which nothing is known but its class."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, preds, target):
        self.total += (preds - target).abs().max()

    def compute(self):
        return self.total


class Colours(nn.Module):
    """Features of an image: the mean of each channel."""

    num_features = 3

    def forward(self, images):
        self.seen = images
        return images.float().mean((2, 3))


def images(count, seed, bias=0.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 3, 4, 4, generator=generator) * 0.5 + bias).double()


def test_every_registered_metric_prefers_equal_images():
    target = torch.rand(1, 3, 176, 176, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    output = (target * 0.5).mul(255).round() / 255
    whole = torch.stack([target[0], target[0].flip(1), target[0].flip(2)])
    for name in ("kid", "fid"):  # which compare sets of images; kid is a little below 0 for equal ones
        info = METRICS[name]
        equal, different = (build_metric(name, features="lite0")(preds, whole).item() for preds in (whole, whole * 0.5))
        assert info.find_best([different, equal, math.nan]) == equal
        assert -0.1 < equal < 1e-6
        assert (build_metric(name).higher_is_better, info.direction, info.kind) == (False, "lower", "distribution")
    classes = [image[:, :1].mul(255).round() for image in (target, output)]
    for name, info in METRICS.items():
        if info.kind == "distribution":
            continue
        real, other = classes if info.targets == "classes" else (target, output)
        equal, different = (build_metric(name, eight_bit=True)(preds, real).item() for preds in (real, other))
        assert info.compute_badness(equal) < info.compute_badness(different), name
        assert info.find_best([different, equal, math.nan]) == equal
        assert equal == pytest.approx(info.best) if info.best is not None else name == "psnr"
        higher = build_metric(name).higher_is_better
        assert {True: "higher", False: "lower", None: "target"}[higher] == info.direction


@pytest.mark.parametrize(
    ("direction", "best", "expected"),
    [("higher", None, 1.5), ("lower", None, 0.2), ("target", 1.0, 1.1), ("unknown", None, None)],
)
def test_the_best_value_follows_the_direction(direction, best, expected):
    info = MetricInfo("own", "Own", direction, best=best)
    assert info.find_best([0.2, math.inf, 1.1, 1.5, math.nan]) == expected
    assert info.find_best([math.nan]) is None
    written = json.loads(json.dumps(info.to_dict()))
    assert MetricInfo.from_dict("own", written) == info


def test_a_file_without_a_usable_direction_marks_nothing():
    for values in ({}, {"direction": "target"}, {"direction": "sideways"}):
        assert MetricInfo.from_dict("own", values).find_best([1.0, 2.0]) is None
    for values in ({"label": None}, {"direction": ["lower"]}, {"best": "1"}, {"decimals": 2.5}):
        with pytest.raises(ValueError, match=next(iter(values))):
            MetricInfo.from_dict("own", values)


def test_metrics_get_names_and_infos():
    spec = ["l1", UQI, OwnMetric(), "psnr"]
    described = describe_metrics(build_metrics(spec, prefix="val/"))
    assert {name: (each["label"], each["direction"]) for name, each in described.items()} == {
        "val/l1": ("L1", "lower"),
        "val/universal_image_quality_index": ("UniversalImageQualityIndex", "higher"),
        "val/own_metric": ("OwnMetric", "unknown"),
        "val/psnr": ("PSNR", "higher"),
    }
    assert described["val/psnr"]["unit"] == "dB"
    named = describe_metrics(build_metrics({"psnr": UQI, "sharp": "gradient", "off": None}))
    assert {name: each["label"] for name, each in named.items()} == {"psnr": "psnr", "sharp": "sharp"}
    assert named["psnr"]["unit"] == ""  # the row of the metric itself, not of the name
    assert named["sharp"]["direction"] == "target"
    assert metric_info("ssim") == metric_info(build_metric("ssim"))
    assert metric_info("never_seen").direction == "unknown"


def test_a_described_metric_gives_its_own_value():
    output, target = torch.rand(2, 1, 2, 3, 16, 16)[:, 0]
    values = build_metrics({"mine": UQI, "given": UniversalImageQualityIndex()})(output, target)
    expected = UniversalImageQualityIndex()(output, target)
    assert values["mine"] == values["given"] == expected


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("lpips", "'lpips'"),
        (["l1", 5], "5"),
        ({"a": {"_target_": "torch.nn.Identity"}}, "Identity"),
        ({"_target_": "torchmetrics.image.Nothing"}, "Nothing"),
        ({**UQI, "kernal_size": 3}, "kernal_size"),
        ([UQI, UQI], "'universal_image_quality_index'"),
    ],
)
def test_what_is_no_metric_is_refused(spec, named):
    with pytest.raises(ValueError, match=named):
        build_metrics(spec)


@pytest.mark.parametrize("normalize", [True, False])
def test_metrics_of_distributions_see_all_images(normalize):
    spec = {"_target_": FID, "normalize": normalize, "feature": Colours()}
    metric = build_metric(spec)
    outputs, targets = images(6, 0), images(6, 1, bias=0.2)
    for batch in (slice(0, 4), slice(4, 6)):
        metric.update(outputs[batch], targets[batch])
    whole = FrechetInceptionDistance(feature=Colours(), normalize=True)
    scale = 1 if normalize else 255
    whole.update(targets.float() * scale, real=True)
    whole.update(outputs.float() * scale, real=False)
    assert metric.compute().item() == pytest.approx(whole.compute().item(), rel=1e-4 if normalize else 0.02)
    seen = spec["feature"].seen
    assert seen.dtype == (torch.float32 if normalize else torch.uint8)
    torch.testing.assert_close(seen.double() / scale, outputs[4:], atol=0.5 / scale + 1e-6, rtol=0)
    info = metric_info(metric)
    assert (info.label, info.direction, info.kind) == ("FrechetInceptionDistance", "lower", "distribution")
    metric.reset()
    metric.update(targets, targets)
    assert metric.compute().item() == pytest.approx(0, abs=1e-3)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kid_draws_from_no_other_randomness():
    target = "torchmetrics.image.kid.KernelInceptionDistance"
    metric = build_metric({"_target_": target, "feature": Colours(), "normalize": True, "subset_size": 3, "subsets": 2})
    metrics = build_metrics({"kid": metric}, prefix="val/")
    before = torch.get_rng_state()
    first = metrics(images(6, 0), images(6, 1, bias=0.2))["val/kid"]
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    metric.reset()
    metric.update(images(6, 0), images(6, 1, bias=0.2))
    assert metric.compute() == first
    assert first.shape == ()
    reference = KernelInceptionDistance(feature=Colours(), normalize=True, subset_size=3, subsets=200)
    reference.update(images(6, 1, bias=0.2).float(), real=True)
    reference.update(images(6, 0).float(), real=False)
    mean, deviation = reference.compute()
    assert abs(first - mean) < 5 * deviation
