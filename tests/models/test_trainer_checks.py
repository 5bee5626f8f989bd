"""What is refused before a training."""

import pytest

import small_networks
from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.models.trainer_checks import check_pretrained
from pix2pix_lightning.utils.errors import UserError

PERCEPTUAL = {"_target_": "pix2pix_lightning.losses.PretrainedPerceptual", "pretrained": "lite0"}
PERCEPTUAL_METRIC = "pix2pix_lightning.metrics.ImagePerceptual"
PICTURES = [{"kind": "rgb"}, {"kind": "grayscale"}, {"kind": "raw", "num_channels": 3, "dtype": "uint16"}]
OTHERS = [
    {"kind": "lab", "part": "lab"},
    {"kind": "label", "num_classes": 3},
    {"kind": "raw", "num_channels": 4, "dtype": "uint8"},
]


def build(target, **options):
    spec = {"source": {"kind": "rgb"}, "target": target, "size": 32}
    return Pix2PixModule(
        small_networks.UNET, None, reconstruction={"perceptual": PERCEPTUAL}, pair_spec=spec, **options
    )


@pytest.mark.parametrize("target", PICTURES, ids=lambda target: target["kind"])
def test_pictures_can_be_seen_by_a_pretrained_network(target, monkeypatch):
    monkeypatch.setattr("pix2pix_lightning.models.trainer_checks.check_features", seen := [].append)
    module = build(target)
    check_pretrained(module, module.pair_spec.target, "fit")
    assert seen.__self__ == ["lite0"]


@pytest.mark.parametrize("target", OTHERS, ids=lambda target: target["kind"])
def test_other_targets_are_refused_before_a_training_alone(target):
    module = build(target)
    check_pretrained(module, module.pair_spec.target, "predict")
    with pytest.raises(UserError, match=f"reconstruction.perceptual.pretrained=lite0 .*{target['kind']}") as caught:
        check_pretrained(module, module.pair_spec.target, "fit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("features", "warns"), [("lite0", True), ("lite1", False)])
def test_a_metric_by_the_network_of_a_loss_is_named(features, warns, caplog):
    module = build({"kind": "rgb"}, metrics={"l1": "l1", "near": {"_target_": PERCEPTUAL_METRIC, "features": features}})
    check_pretrained(module, module.pair_spec.target, "fit")
    assert ["val/near" in line and "reconstruction.perceptual" in line for line in caplog.messages] == [True] * warns
