"""Warnings of trainings that go wrong with finite numbers. Whole trainings: tests/training/test_sabotage.py."""

import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F
from torch.utils.data import DataLoader

from float_batches import GENERATOR, Identity, build, build_trainer, fit, make_batches
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.training.callbacks import WatchTraining
from pix2pix_lightning.training.watching.validation_figures import MeanTarget, ValidationFigures, ValidationMeter
from pix2pix_lightning.training.watching.warning_signs import (
    EpochFigures,
    NetworkFigures,
    Thresholds,
    find_training_signs,
    find_validation_signs,
)

CROSS_ENTROPY = "pix2pix_lightning.losses.ClassCrossEntropy"
LIMITS = Thresholds()
SOUND = ValidationFigures(
    num_images=24,
    l1=0.1,
    l1_mean=0.15,
    l1_copy=0.3,
    own=0.08,
    other=0.12,
    certainty=9.0,
    spread={"output": 0.08, "target": 0.1, "source": 0.2},
    contrast={"output": 0.2, "target": 0.2, "source": 0.3},
    saturated={"output": 0.01, "target": 0.02},
)
NETWORK = NetworkFigures(rate=2e-4, gradient_rms=1e-4, gradient_ratio=0.5, has_moved=True)
EPOCH = EpochFigures(
    losses={"loss_d": 0.4, "l1": 0.3, "adversarial": 1.0, "loss_g": 31.0},
    terms={"l1": 100.0, "adversarial": 1.0, "feature_matching": 0.0},
    undecided=0.693,
    networks={"g": NETWORK, "d": NETWORK},
)


def test_the_configuration_has_each_threshold():
    described = OmegaConf.load(find_conf_dir() / "callbacks/default.yaml").warn
    assert {key: value for key, value in described.items() if key != "_target_"} == asdict(LIMITS)


def test_figures_of_a_validation_are_those_of_numpy():
    generator = torch.Generator().manual_seed(0)
    source, target, output = (torch.rand(6, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(3))
    output[2:, :, :8] = 1.0
    mean = torch.rand(3, 8, 8, generator=generator)
    meter = ValidationMeter()
    for part in (slice(0, 4), slice(4, 6)):  # of unequal sizes
        meter.add(source[part], target[part], output[part], mean)
    figures = meter.compute()
    s, t, o = ((image.double().numpy() + 1) / 2 for image in (source, target, output))
    resized = (F.interpolate(mean[None], (16, 16), mode="bilinear").double().numpy() + 1) / 2
    distances = np.abs(o[:, None] - t[None]).mean((2, 3, 4))
    own = distances.diagonal()
    other = (distances.sum(1) - own) / 5
    expected = {
        "num_images": 6,
        "l1": np.abs(o - t).mean(),
        "l1_mean": np.abs(resized - t).mean(),
        "l1_copy": np.abs(s - t).mean(),
        "own": own.mean(),
        "other": other.mean(),
        "certainty": (other - own).mean() / (np.std(other - own) / np.sqrt(6)),
    }
    for name, value in expected.items():
        assert getattr(figures, name) == pytest.approx(value, rel=1e-3), name
    images = {"output": o, "target": t, "source": s}
    assert figures.spread == pytest.approx({side: each.std(0).mean() for side, each in images.items()}, rel=1e-3)
    assert figures.contrast == pytest.approx({side: each.std() for side, each in images.items()}, rel=1e-3)
    ends = {side: (np.abs(images[side] - 0.5) > 0.495).mean() for side in ("output", "target")}
    assert figures.saturated == pytest.approx(ends, rel=1e-3)
    assert meter.compute() is None


def test_pixels_without_a_class_count_in_no_figure():
    generator = torch.Generator().manual_seed(0)
    source, target, output = (torch.rand(6, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(3))
    ignored = torch.rand(6, 1, 16, 16, generator=generator) < 0.4
    ignored[:, :, 0, 0] = True
    ignored[5] = True
    mean = torch.rand(3, 16, 16, generator=generator)
    meters = [ValidationMeter() for _ in range(2)]
    for part in (slice(0, 4), slice(4, 6)):
        seen = source[part], target[part].masked_fill(ignored[part], -1), output[part]
        meters[0].add(*seen, mean, ignored[part])
        # nor does it matter what is drawn there
        elsewhere = [torch.where(ignored[part], torch.rand_like(image), image) for image in seen]
        meters[1].add(elsewhere[0], elsewhere[1], seen[2], mean, ignored[part])
    figures, others = (meter.compute() for meter in meters)
    counts = np.broadcast_to(~ignored.numpy(), source.shape)
    s, t, o = ((image.double().numpy() + 1) / 2 for image in (source, target, output))
    m = (mean[None].double().numpy() + 1) / 2
    distances = np.array([[np.abs(a - b)[c].mean() for b, c in zip(t[:5], counts[:5], strict=True)] for a in o[:5]])
    own = distances.diagonal()
    other = (distances.sum(1) - own) / 4
    known = np.where(counts, t, np.nan)[:5]
    with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):
        filled = np.where(counts, t, np.nan_to_num(np.nanmean(known, 0)))
    expected = {
        "l1": (np.abs(o - t) * counts).mean(),
        "l1_mean": (np.abs(m - t) * counts).mean(),
        "l1_copy": (np.abs(s - t) * counts).mean(),
        "own": own.mean(),
        "other": other.mean(),
        "certainty": (other - own).mean() / (np.std(other - own) / np.sqrt(5)),
    }
    for name, value in expected.items():
        assert getattr(figures, name) == pytest.approx(value, rel=1e-3), name
        assert getattr(others, name) == pytest.approx(value, rel=1e-3), name
    spread = {"output": o.std(0).mean(), "target": filled.std(0).mean()}
    for side, value in spread.items():
        assert figures.spread[side] == pytest.approx(value, rel=1e-3)


def test_targets_without_any_class_are_constant_and_nothing_else():
    meter = ValidationMeter()
    target, ignored = -torch.ones(4, 3, 16, 16), torch.ones(4, 1, 16, 16, dtype=torch.bool)
    meter.add(torch.rand(4, 3, 16, 16), target, torch.rand(4, 3, 16, 16), torch.zeros(3, 16, 16), ignored)
    assert [sign.kind for sign in find_validation_signs(meter.compute(), 500, 10, LIMITS)] == ["constant_target"]


def test_sides_of_other_channels_are_no_baseline():
    meter = ValidationMeter()
    meter.add(torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), None)
    figures = meter.compute()
    assert np.isnan(figures.l1_copy)
    assert np.isnan(figures.l1_mean)
    assert figures.l1 == 0.5


def test_the_mean_target_leaves_out_other_shapes():
    mean = MeanTarget()
    assert mean.compute() is None
    batches = [torch.full((2, 3, 4, 4), value) for value in (0.0, 1.0, 0.5)]
    for batch in (*batches, torch.full((2, 3, 8, 8), 9.0)):
        mean.add(batch)
    assert torch.equal(mean.compute(), torch.full((3, 4, 4), 0.5))


def test_the_mean_target_is_that_of_pixels_with_a_class():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(6, 3, 4, 4, generator=generator)
    ignored = torch.rand(6, 1, 4, 4, generator=generator) < 0.4
    ignored[:, :, 0, 0] = True
    mean = MeanTarget()
    for part in (slice(0, 3), slice(3, 6)):
        mean.add(target[part].masked_fill(ignored[part], -1), ignored[part])
    counts = (~ignored).double().numpy()
    expected = (target.numpy() * counts).sum(0) / np.maximum(counts.sum(0), 1)
    np.testing.assert_allclose(mean.compute(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, None),
        ({"saturated": {"output": 0.95, "target": 0.1}}, "saturated"),
        ({"saturated": {"output": 0.95, "target": 0.9}}, None),  # one-hot labels
        ({"spread": {"output": 0.004, "target": 0.1, "source": 0.2}}, "collapse"),
        ({"spread": {"output": 0.0, "target": 0.004, "source": 0.2}}, "constant_target"),
        ({"spread": {"output": 0.08, "target": 0.1, "source": 0.004}}, "constant_source"),
        ({"own": 0.1199}, "unrelated"),
        ({"certainty": 1.5}, "unrelated"),
        ({"certainty": 1.5, "num_images": 7}, None),  # too few to tell
        ({"l1": 0.16}, "baseline_mean"),
        ({"l1": np.nan, "certainty": np.nan}, "nonfinite"),
        ({"l1_copy": 0.05}, "baseline_copy"),
        ({"l1": 0.0, "l1_mean": 0.0}, None),
        ({"l1_mean": np.nan, "l1_copy": np.nan}, None),
    ],
)
def test_signs_of_a_validation(changes, kind):
    found = [sign.kind for sign in find_validation_signs(SOUND._replace(**changes), 500, 10, LIMITS)]
    assert found == ([kind] if kind else [])


def test_outputs_of_a_loss_that_sees_no_pairs_are_not_compared_with_targets():
    bad = SOUND._replace(l1=0.5, certainty=0.0)
    assert not list(find_validation_signs(bad, 500, 10, LIMITS, is_paired=False))


def test_what_has_to_be_learned_is_not_judged_at_once():
    bad = SOUND._replace(l1=0.5, own=0.2, certainty=0.0, saturated={"output": 1.0, "target": 0.0})
    assert not list(find_validation_signs(bad, LIMITS.after_steps - 1, 1, LIMITS))
    early = {sign.kind for sign in find_validation_signs(bad, LIMITS.after_steps, 1, LIMITS)}
    late = {sign.kind for sign in find_validation_signs(bad, LIMITS.after_steps, LIMITS.after_epochs, LIMITS)}
    assert late - early == {"baseline_mean", "baseline_copy"}
    classified = find_validation_signs(bad, LIMITS.after_steps, LIMITS.after_epochs, LIMITS, has_classes=True)
    assert {sign.kind for sign in classified} == early


@pytest.mark.parametrize(("loss", "warned"), [("torch.nn.L1Loss", True), (CROSS_ENTROPY, False)])
def test_outputs_whose_greatest_channel_counts_are_not_compared_with_the_mean_target(loss, warned, caplog):
    labels = {"target": {"kind": "label", "num_classes": 3}}
    module = Identity(GENERATOR, None, reconstruction={"own": {"_target_": loss}}, metrics=["l1"], pair_spec=labels)
    batches = make_batches(8)
    for batch in batches:  # each class as often as any other: an output near 0 is as far from its target as can be
        batch["target"] = F.one_hot(batch["target"].argmax(1), 3).movedim(-1, 1) * 2.0 - 1
    loader = DataLoader(batches, batch_size=None)
    with caplog.at_level("WARNING", "pix2pix_lightning"):
        build_trainer(WatchTraining(after_epochs=1, after_steps=1)).fit(module, loader, loader)
    assert ("no better than the mean target" in caplog.text) is warned


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, None),
        ({"networks": {"g": NETWORK, "d": NETWORK._replace(has_moved=False)}}, "frozen_d"),
        ({"networks": {"g": NETWORK._replace(gradient_rms=0.0), "d": NETWORK}}, "vanishing_g"),
        ({"networks": {"g": NETWORK, "d": NETWORK._replace(gradient_ratio=1e5)}}, "exploding_d"),
        ({"batches_won": LIMITS.after_steps}, "won_d"),
        ({"terms": {"l1": 1e6, "adversarial": 1.0}}, "no_effect_adversarial"),
        ({"terms": {"l1": 1e-3, "adversarial": 1.0}}, "no_effect_l1"),
        ({"losses": {}}, None),  # a step that returns none
    ],
)
def test_signs_of_an_epoch(changes, kind):
    figures = EpochFigures(**{**vars(EPOCH), **changes})
    assert [sign.kind for sign in find_training_signs(figures, LIMITS)] == ([kind] if kind else [])


def test_a_frozen_network_is_told_once_with_its_rate(caplog):
    module = build()
    module.parts["optimizer_d"] = {"_target_": "torch.optim.Adam", "lr": 0.0}
    with caplog.at_level("WARNING", "pix2pix_lightning"):
        fit(module, make_batches(3), WatchTraining(), epochs=2)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("pix2pix_lightning")]
    assert line.startswith("epoch 1: the discriminator's weights did not change")
    assert "module.optimizer_d.lr" in line


@pytest.mark.parametrize("epochs", [3, 4])
def test_the_last_epoch_of_a_cosine_is_no_frozen_network(epochs, caplog):
    """Its rate is 0, by the formula; an epoch after it learns nothing, either."""
    module = build()
    cosine = "pix2pix_lightning.training.schedulers.WarmupCosine"
    module.parts["schedule"] = {"_target_": cosine, "warmup_epochs": 0, "total_epochs": 3}
    with caplog.at_level("WARNING", "pix2pix_lightning"):
        fit(module, make_batches(2), WatchTraining(), epochs=epochs)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pix2pix_lightning")]
    assert [line[:7] for line in lines] == (["epoch 3"] * 2 if epochs == 4 else [])


def test_a_loss_that_is_a_mean_of_logits_is_not_judged_by_its_size(caplog):
    module = build(adversarial={"_target_": "pix2pix_lightning.losses.adversarial.HingeAdversarial"})
    with caplog.at_level("WARNING", "pix2pix_lightning"):
        fit(module, make_batches(3), WatchTraining(no_effect=0.5))
    assert "the term" not in caplog.text


@pytest.mark.parametrize("thresholds", [{"collaps": 0.1}, {"collapse": -1}, {"collapse": "much"}])
def test_thresholds_that_do_not_exist_or_are_no_numbers_are_refused(thresholds):
    ((name, _),) = thresholds.items()
    with pytest.raises(ValueError, match=f"callbacks.warn.{name}"):
        WatchTraining(**thresholds)


def test_outputs_are_compared_where_targets_have_a_class(caplog):
    module = build(rate=0.0, pair_spec={"target": {"kind": "label", "num_classes": 3, "ignore_index": 255}})
    batches = make_batches(2)
    generator = torch.Generator().manual_seed(0)
    counts = [torch.rand(2, 1, 8, 8, generator=generator) < 0.5 for _ in batches]
    for batch, kept in zip(batches, counts, strict=True):
        numbers = torch.randint(3, (2, 8, 8), generator=generator)
        one_hot = F.one_hot(numbers, 3).movedim(-1, 1) * 2.0 - 1
        batch["target"], batch["mask"] = torch.where(kept, one_hot, -1.0), kept
    trainer = build_trainer(WatchTraining(after_steps=0, after_epochs=1))
    with caplog.at_level("WARNING", "pix2pix_lightning"):
        trainer.fit(module, DataLoader(batches[:1], batch_size=None), DataLoader(batches[1:], batch_size=None))
    (line,) = [record.getMessage() for record in caplog.records if "mean target" in record.getMessage()]
    target, kept = batches[1]["target"], counts[1]
    sums, seen = (batches[0]["target"] * counts[0]).sum(0), counts[0].sum(0).clamp(min=1)
    with torch.no_grad():
        output = module.generate(batches[1]["source"])
    for image in (output, sums / seen):
        assert f"{((image - target).abs() * kept).mean() / 2:.4f}" in line
