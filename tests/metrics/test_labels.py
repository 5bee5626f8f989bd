import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from class_scores import score_classes
from pix2pix_lightning import PairSpec, Pix2PixModule
from pix2pix_lightning.metrics import (
    ClassAccuracy,
    MeanIoU,
    OverallAccuracy,
    PixelAccuracy,
    compute_pixel_accuracy,
    count_classes,
)
from small_networks import UNET


def test_a_pixel_is_right_when_all_its_channels_are():
    target = torch.zeros(2, 3, 2, 2)
    preds = target.clone()
    preds[0, 1, 0, 0] = preds[0, 2, 0, 0] = preds[0, 0, 1, 1] = 1  # two pixels of four
    assert compute_pixel_accuracy(preds, target).tolist() == [0.5, 1.0]
    assert compute_pixel_accuracy(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]])).tolist() == [0.75]


@pytest.mark.parametrize("scale", [1, 1 / 255])
def test_pixels_and_images_without_a_class_do_not_count(scale):
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(0, 3, (2, 4, 1, 6, 6), generator=generator)
    is_ignored = torch.rand(4, 1, 6, 6, generator=generator) < 0.4
    is_ignored[2] = True
    preds, target = preds * scale, (target * scale).masked_fill(is_ignored, -1)
    expected = [
        (p[~i] == t[~i]).mean() if not i.all() else np.nan
        for p, t, i in zip(preds.numpy(), target.numpy(), is_ignored.numpy(), strict=True)
    ]
    np.testing.assert_allclose(compute_pixel_accuracy(preds, target), expected)
    metric = PixelAccuracy()
    for index in range(4):
        metric.update(preds[[index]], target[[index]])
    assert metric.compute().item() == pytest.approx(np.nanmean(expected))
    metric.reset()
    assert np.isnan(metric(preds[[2]], target[[2]]).item())


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"^label maps must both be of one shape .* \(2, 1, 4, 4\): .*$"):
        compute_pixel_accuracy(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))


METRICS = {"accuracy": OverallAccuracy, "class_accuracy": ClassAccuracy, "iou": MeanIoU}


def draw_maps(num_classes=5, side=12):
    """Label maps of three images that agree in about half of the pixels, and have pixels without a class."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, num_classes, (3, 1, side, side))
    preds = np.where(rng.random(target.shape) < 0.5, target, rng.integers(0, num_classes, target.shape))
    return preds, np.where(rng.random(target.shape) < 0.2, -1, target)


def test_class_metrics_are_those_of_a_confusion_matrix_and_of_torchmetrics():
    preds, target = draw_maps()
    made, wanted = torch.from_numpy(preds), torch.from_numpy(target)
    expected = score_classes(preds, target)
    options = {"num_classes": 5, "ignore_index": -1}
    theirs = {
        "accuracy": MulticlassAccuracy(average="micro", **options),
        "class_accuracy": MulticlassAccuracy(average="macro", **options),
        "iou": MulticlassJaccardIndex(average="macro", **options),
    }
    for name, builder in METRICS.items():
        metric = builder()
        for index in range(3):
            metric.update(made[[index]], wanted[[index]])
        assert metric.compute().item() == pytest.approx(expected[name], rel=1e-6)
        assert metric.compute().item() == pytest.approx(theirs[name](made, wanted).item(), rel=1e-6)
        values = metric.compute_value(metric.compute_statistics(made, wanted))
        single = [score_classes(p, t)[name] for p, t in zip(preds, target, strict=True)]
        np.testing.assert_allclose(values, single, rtol=1e-12)


def test_a_class_that_is_in_no_target_is_left_out_of_means():
    preds, target = draw_maps()
    target[target == 3] = -1
    preds[0, 0, 0, :4], target[0, 0, 0, :4] = 255, (0, 1, 2, 4)  # as another class that no target has
    made, wanted = torch.from_numpy(preds), torch.from_numpy(target).float()
    assert (preds[target >= 0] == 3).any()
    for name, builder in METRICS.items():
        assert builder()(made, wanted).item() == pytest.approx(score_classes(preds, target)[name], rel=1e-6)
        assert np.isnan(builder()(made, torch.full_like(wanted, -1)).item())


def test_what_is_no_map_of_class_numbers_is_refused():
    maps = torch.zeros(1, 1, 2, 2)
    for preds, target in ((maps, maps[0]), (maps.expand(1, 3, 2, 2),) * 2, (maps, torch.zeros(1, 1, 2, 3))):
        with pytest.raises(ValueError, match=r"^class numbers must both be of one shape \(B, 1, H, W\)"):
            count_classes(preds, target)
    for preds, target in ((maps - 1, maps), (maps + 256, maps), (maps, maps + 256)):
        with pytest.raises(ValueError, match="class numbers from 0 to 255"):
            count_classes(preds, target)


@pytest.mark.parametrize(
    "target", [{"palette": ((200, 0, 0), (0, 200, 0), (0, 0, 200)), "ignore_index": 1}, {"num_classes": 3}]
)
def test_a_validation_measures_classes(target):
    spec = PairSpec.from_dict({"target": {"kind": "label", **target}})
    torch.manual_seed(0)
    module = Pix2PixModule(UNET, None, pair_spec=spec, metrics=["accuracy", "class_accuracy", "mean_iou"])
    source = torch.rand(3, 3, 16, 16) * 2 - 1
    numbers = torch.randint(0, 3, (3, 1, 16, 16))
    real, output = spec.target.encode(numbers), module.generate(source)
    mask = spec.find_counted(source, real)
    module.validation_step({"source": source, "target": real, **({} if mask is None else {"mask": mask})}, 0)
    if "ignore_index" in target:
        output[:, 1], numbers[numbers == 1] = -2, -1
    preds, wanted = output.argmax(1, keepdim=True).numpy(), numbers.numpy()
    expected = score_classes(preds, wanted)
    logged = {name: value.item() for name, value in module.val_metrics.compute().items()}
    assert logged["val/class_accuracy"] == pytest.approx(expected["class_accuracy"], rel=1e-6)
    assert logged["val/mean_iou"] == pytest.approx(expected["iou"], rel=1e-6)
    each = [score_classes(p, w)["accuracy"] for p, w in zip(preds, wanted, strict=True)]
    assert logged["val/accuracy"] == pytest.approx(np.mean(each), rel=1e-6)
