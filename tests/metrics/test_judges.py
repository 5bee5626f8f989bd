"""Perceptual distance, KID and FID against the papers' formulas written anew, torchmetrics and SciPy."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from pix2pix_lightning.data import ProceduralPairs
from pix2pix_lightning.metrics import FID, KID, FeatureExtractor, ImagePerceptual, build_named_metrics, kid
from pix2pix_lightning.networks.features import load_features
from pix2pix_lightning.utils.resampling import draw_counts

DIM = 12


class Cells(nn.Module):
    """Embed an image by the means of its cells."""

    num_features = DIM

    def forward(self, images):
        self.seen = images
        return nn.functional.adaptive_avg_pool2d(images.double(), 2).flatten(1) / 64


class FloatCells(Cells):
    normalize = True


def draw_pairs(count, seed=0, side=8):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 256, (count, 3, side, side)) * generator.random((count, 1, 1, 1))
    outputs = (0.6 * targets + 0.3 * generator.integers(0, 256, targets.shape)).round()
    return torch.from_numpy(outputs) / 255, torch.from_numpy(targets.round()) / 255


def compute_by_torchmetrics(metric, outputs, targets):
    metric.update((targets * 255).round().byte(), real=True)
    metric.update((outputs * 255).round().byte(), real=False)
    return metric.compute()


def fill(metric, outputs, targets, batch=7):
    for first in range(0, len(outputs), batch):
        metric.update(outputs[first : first + batch], targets[first : first + batch])
    return metric


def embed(images):
    return Cells()((images * 255).round()).numpy()


def kernel(x, y):
    return (float(x @ y) / DIM + 1) ** 3


def compute_mmd(x, y, weights=None):
    """The unbiased estimate, in two loops; each pair may be there several times, and is never compared with itself."""
    count = len(x)
    w = np.ones(count) if weights is None else weights
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    total = sum(w[i] * w[j] for i, j in pairs)
    within = sum(w[i] * w[j] * (kernel(x[i], x[j]) + kernel(y[i], y[j])) for i, j in pairs) / total
    apart = sum(w[i] * w[j] * kernel(x[i], y[j]) for i, j in pairs) / total
    own = sum(w[i] * kernel(x[i], y[i]) for i in range(count)) / w.sum()
    return within - 2 * (apart * (count - 1) + own) / count


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kid_of_all_images_against_torchmetrics_and_two_loops():
    outputs, targets = draw_pairs(30)
    found = fill(KID(Cells()), outputs, targets).compute().item()
    reference = KernelInceptionDistance(feature=Cells(), subsets=1, subset_size=30)
    assert found == pytest.approx(compute_by_torchmetrics(reference, outputs, targets)[0].item(), abs=1e-6, rel=1e-6)
    assert found == pytest.approx(compute_mmd(embed(outputs), embed(targets)), rel=1e-6)


def take_draws(monkeypatch, samples):
    draws = list(draw_counts(9, samples=samples, seed=3))
    monkeypatch.setattr(kid, "draw_counts", lambda num, seed: draw_counts(num, samples=samples, seed=3))
    return np.concatenate(draws)


def test_the_interval_of_kid_against_drawing_again_in_a_loop(monkeypatch):
    outputs, targets = draw_pairs(9)
    x, y = embed(outputs), embed(targets)
    values = [compute_mmd(x, y, counts) for counts in take_draws(monkeypatch, 40)]
    metric = fill(KID(Cells()), outputs, targets)
    assert metric.compute_interval() == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), rel=1e-9)
    assert all(map(math.isnan, fill(KID(Cells()), outputs[:1], targets[:1]).compute_interval()))


def test_intervals_of_kid_have_the_expected_value_in_them(monkeypatch):
    take_draws(monkeypatch, 500)
    metrics = [fill(KID(Cells()), *draw_pairs(30, seed), batch=30) for seed in range(60)]
    expected = np.mean([metric.compute() for metric in metrics])
    intervals = [metric.compute_interval() for metric in metrics]
    misses = [np.mean([low > expected for low, _ in intervals]), np.mean([high < expected for _, high in intervals])]
    assert max(misses) < 0.13
    assert sum(misses) < 0.15


def test_kid_of_many_images_is_the_mean_over_subsets():
    outputs, targets = draw_pairs(200)
    whole = fill(KID(Cells()), outputs, targets, batch=200)
    parts = fill(KID(Cells(), subset_size=50, num_subsets=200), outputs, targets, batch=200)
    low, high = whole.compute_interval()
    assert parts.compute() == pytest.approx(whole.compute().item(), abs=0.1 * (high - low))
    ends = parts.compute_interval()
    assert ends[1] - ends[0] == pytest.approx(high - low, rel=0.25)
    assert sum(ends) / 2 == pytest.approx(parts.compute().item(), rel=1e-5)


@pytest.mark.parametrize("count", [40, 8])  # more and fewer images than dimensions
def test_fid_against_torchmetrics_and_the_root_of_a_matrix(count):
    outputs, targets = draw_pairs(count)
    found = fill(FID(Cells()), outputs, targets).compute().item()
    x, y = embed(outputs), embed(targets)
    covariances = [np.cov(each, rowvar=False) for each in (x, y)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1] + 1e-15 * np.eye(DIM))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    assert found == pytest.approx(expected, rel=1e-4)
    reference = compute_by_torchmetrics(FrechetInceptionDistance(feature=Cells()), outputs, targets).item()
    assert found == pytest.approx(reference, rel=1e-3)
    assert fill(FID(Cells()), targets, targets).compute().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("cls", [KID, FID])
def test_one_image_is_no_distribution(cls, caplog):
    assert math.isfinite(fill(cls(Cells()), *draw_pairs(2)).compute().item())
    caplog.clear()
    metric = cls(Cells())
    for _ in range(2):
        metric.reset()
        assert math.isnan(fill(metric, *draw_pairs(1)).compute().item())
    (line,) = caplog.messages  # once
    assert cls.__name__ in line


def test_fid_of_few_images_warns_once(caplog):
    metric = fill(FID(Cells()), *draw_pairs(5))
    metric.compute()
    metric.update(*draw_pairs(2, seed=1))
    metric.compute()
    assert [record.getMessage().partition(" is ")[0] for record in caplog.records] == ["FID of 5 images"]
    caplog.clear()
    fill(FID(Cells()), *draw_pairs(2000, side=2), batch=2000).compute()
    assert not caplog.records


def test_extractors_get_what_torchmetrics_gives_them():
    outputs, targets = draw_pairs(4)
    cells, floats = Cells(), FloatCells()
    for extractor in (cells, floats):
        KID(extractor).update(outputs, targets)
    assert cells.seen.dtype == torch.uint8
    assert torch.equal(cells.seen, (outputs * 255).round().byte())
    torch.testing.assert_close(floats.seen, outputs.float(), rtol=0, atol=1e-7)
    gray = outputs[:, :1]
    KID(cells).update(gray, gray)
    assert torch.equal(cells.seen, (gray * 255).round().byte().expand(-1, 3, -1, -1))


def compute_perceptual(output, target):
    distances = []
    layers = [load_features("lite0").compute_layers(images.float() * 2 - 1) for images in (output, target)]
    for one, other in zip(*layers, strict=True):
        cosine = nn.functional.cosine_similarity(one, other, dim=1, eps=1e-12)
        distances.append((2 - 2 * cosine).mean((1, 2)))
    return torch.stack(distances).mean(0)


def test_perceptual_is_the_distance_of_normalized_features():
    outputs, targets = draw_pairs(2, side=32)
    metric = ImagePerceptual("lite0")
    found = metric.compute_scores(outputs, targets)
    torch.testing.assert_close(found, compute_perceptual(outputs, targets), rtol=1e-4, atol=1e-6)
    assert metric.compute_scores(targets, targets).tolist() == [0, 0]
    gray = [images[:, :1] for images in (outputs, targets)]
    repeated = [images.expand(-1, 3, -1, -1) for images in gray]
    torch.testing.assert_close(metric.compute_scores(*gray), compute_perceptual(*repeated), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="2"):
        metric.compute_scores(outputs[:, :2], targets[:, :2])
    with pytest.raises(ValueError, match="Cells has no layers"):
        ImagePerceptual(Cells())


def test_learned_weights_make_it_lpips(monkeypatch):
    network = load_features("lite0")
    weights = [torch.linspace(0, 1, channels) for channels in network.layer_channels]
    monkeypatch.setattr(type(network), "layer_weights", property(lambda _: weights))
    outputs, targets = draw_pairs(2, side=32)
    expected = 0.0
    layers = [network.compute_layers(images.float() * 2 - 1) for images in (outputs, targets)]
    for one, other, each in zip(*layers, weights, strict=True):
        units = [value.numpy() / np.sqrt((value.numpy() ** 2).sum(1, keepdims=True)) for value in (one, other)]
        expected += np.einsum("bchw,c->bhw", (units[0] - units[1]) ** 2, each.numpy()).mean((1, 2))
    found = ImagePerceptual("lite0").compute_scores(outputs, targets)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_metrics_share_a_pass_over_the_network(monkeypatch):
    network, passes = load_features("lite0"), []
    run = network._run
    monkeypatch.setattr(network, "_run", lambda images, *rest: passes.append(len(images)) or run(images, *rest))
    outputs, targets = draw_pairs(2, side=128)
    for metric in build_named_metrics(["kid", "perceptual", "fid"], features="lite0").values():
        metric.update(outputs, targets)
    assert passes == [2, 2]
    alone = ImagePerceptual("lite0")
    alone.update(outputs, targets)
    together = build_named_metrics(["perceptual", "kid"], features="lite0")["perceptual"]
    assert together.compute_scores(outputs, targets).mean() == pytest.approx(alone.compute().item(), rel=1e-6)


def test_no_metric_holds_the_weights():
    for metric in build_named_metrics(["kid", "perceptual", "fid"], features="lite0").values():
        assert sum(value.numel() for value in metric.state_dict().values()) == 0
        assert not list(metric.parameters())


def test_an_extractor_draws_no_random_numbers():
    load_features.__globals__["_load"].cache_clear()
    before = torch.get_rng_state()
    FeatureExtractor("lite0").compute_embeddings(draw_pairs(1, side=32)[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("features", "named"), [("vgg", "vgg"), (5, "5"), ({"_target_": "torch.nn.Nothing"}, "Nothing")]
)
def test_what_is_no_network_is_refused(features, named):
    with pytest.raises(ValueError, match=named):
        FeatureExtractor(features)


def test_judges_order_alterations_as_people_do():
    script = runpy.run_path(str(Path(__file__).parents[2] / "examples/judge_alterations.py"))
    pairs = ProceduralPairs(8, size=96)
    table = script["measure"]([Image.fromarray(pairs[number][0]) for number in range(8)])
    shift, noise, slight, medium, strong, mean = table
    l1, perceptual, kid_values = (
        {name: row[metric].mean for name, row in table.items()} for metric in ("l1", "perceptual", "kid")
    )
    assert sorted(kid_values, key=kid_values.get) == list(table)
    assert max(perceptual[name] for name in (shift, noise, slight)) < perceptual[medium]
    assert perceptual[medium] < min(perceptual[strong], perceptual[mean])
    assert l1[shift] > l1[medium]  # L1 takes a photo that is as good as before for worse than a blurred one
