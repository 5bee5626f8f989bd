"""A model is not judged by the network that it was trained with without a word."""

import pytest

from pix2pix_lightning.evaluation import warn_of_trained_network
from small_networks import UNET, save, trained

PERCEPTUAL = {"_target_": "pix2pix_lightning.losses.PretrainedPerceptual", "pretrained": "lite0"}


@pytest.mark.parametrize(("features", "warns"), [("lite0", True), ("lite1", False), ({"onnx": "a.onnx"}, False)])
def test_the_network_of_a_loss_is_named(features, warns, tmp_path, caplog):
    checkpoint = save(trained(UNET, reconstruction={"perceptual": PERCEPTUAL}), tmp_path / "a.ckpt")
    other = save(trained(UNET), tmp_path / "b.ckpt")

    def read_lines():
        return [each.getMessage() for each in caplog.records if each.name == "pix2pix_lightning.evaluation.judges"]

    warn_of_trained_network(other, features)
    assert not read_lines()
    warn_of_trained_network(checkpoint, features)
    assert bool(read_lines()) == warns
    if warns:
        assert "lite1 or lite2" in read_lines()[0]
