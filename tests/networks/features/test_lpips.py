"""LPIPS against values of the package of its authors."""

import pytest
import torch
from hashed_weights import hash_images, hash_state, use_float64

from pix2pix_lightning.networks.features import Lpips, load_features
from pix2pix_lightning.networks.features.lpips import find_linear_weights
from pix2pix_lightning.utils.errors import UserError

# Of lpips 0.1.4 in float64, with the weights and images of hashed_weights and its own weights of the channels:
# distances of two pairs, and what the layers add to the first.
REFERENCE = {
    "alex": (
        [0.088474295253, 0.086159968055],
        [0.044914410828, 0.019210453825, 0.010098160524, 0.008137534768, 0.006113735307],
    ),
    "vgg": (
        [0.129930790375, 0.134760143901],
        [0.099171246995, 0.017678190433, 0.006840707529, 0.004522659251, 0.001717986167],
    ),
}
# Numbers, channels and kernels of the convolutions of torchvision's alexnet and vgg16.
CONVOLUTIONS = {
    "alex": {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)},
    "vgg": {
        number: (out_channels, in_channels, 3)
        for number, in_channels, out_channels in (
            *((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256)),
            *((17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512)),
        )
    },
}


def build_backbone(kind):
    shapes = {}
    for number, (out_channels, in_channels, kernel) in CONVOLUTIONS[kind].items():
        shapes[f"features.{number}.weight"] = (out_channels, in_channels, kernel, kernel)
        shapes[f"features.{number}.bias"] = (out_channels,)
    return hash_state(shapes)


@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_distances_are_those_of_the_package(kind):
    with use_float64():
        network = Lpips(
            kind, build_backbone(kind), torch.load(find_linear_weights(kind), weights_only=True, map_location="cpu")
        )
    sides = [network.compute_layers(hash_images(2, 48, 64, seed)) for seed in (1, 2)]
    assert [layer.shape[1] for layer in sides[0]] == list(network.layer_channels)
    parts = []
    for weights, first, second in zip(network.layer_weights, *sides, strict=True):
        units = [layer / layer.square().sum(1, keepdim=True).sqrt().clamp_min(1e-10) for layer in (first, second)]
        parts.append((weights[:, None, None] * (units[0] - units[1]).square()).sum(1).mean((1, 2)))
    distances, contributions = REFERENCE[kind]
    assert sum(parts).tolist() == pytest.approx(distances, rel=0, abs=1e-9)
    assert [part[0].item() for part in parts] == pytest.approx(contributions, rel=0, abs=1e-9)
    embedding = network(hash_images(2, 48, 64, 1)).embedding
    torch.testing.assert_close(embedding, sides[0][-1].mean((2, 3)))


def test_files_of_the_user_are_used_and_others_are_refused(tmp_path):
    backbone = {**build_backbone("alex"), "classifier.6.weight": torch.ones(3, 4)}
    linear = {
        f"lin{number}.model.1.weight": torch.full((1, width, 1, 1), number + 0.5)
        for number, width in enumerate((64, 192, 384, 256, 256))
    }
    torch.save(backbone, tmp_path / "alexnet.pth")
    torch.save(linear, tmp_path / "linear.pth")
    files = {"backbone": str(tmp_path / "alexnet.pth"), "linear": str(tmp_path / "linear.pth")}
    network = load_features({"lpips": "alex", **files})
    assert [weights.unique().item() for weights in network.layer_weights] == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert torch.equal(network.features[10].weight, backbone["features.10.weight"].float())
    without = load_features({"lpips": "alex", "backbone": files["backbone"]})
    assert without.layer_weights[0].shape == (64,)
    assert without.layer_weights[0].unique().numel() > 20
    with pytest.raises(UserError, match=r"features\.0\.weight: give the weights of torchvision's vgg16"):
        load_features({"lpips": "vgg", "backbone": files["backbone"]})
    with pytest.raises(UserError, match=r"give the weights that LPIPS 0\.1 has learned for alex"):
        load_features({"lpips": "alex", "backbone": files["backbone"], "linear": files["backbone"]})
    with pytest.raises(UserError, match=r"needs backbone=<file>, torchvision's weights of alexnet"):
        load_features({"lpips": "alex"})
    with pytest.raises(UserError, match=r"features.lpips='squeeze'.*alex, vgg"):
        load_features({"lpips": "squeeze", "backbone": files["backbone"]})


def test_a_gradient_reaches_the_images():
    images = hash_images(1, 32, 32, 4).float().requires_grad_()
    network = Lpips("alex")
    network.compute_layers(images)[-1].sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(not value.requires_grad for value in network.parameters())
