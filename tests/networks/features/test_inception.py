"""The Inception of FID against values of torch-fidelity, and its resizing against the rule of TensorFlow 1."""

import math

import numpy as np
import pytest
import torch
from hashed_weights import hash_images, hash_state, hash_uniform, use_float64

from pix2pix_lightning.networks.features import FidInception, load_features
from pix2pix_lightning.networks.features.inception import resize_like_tensorflow1
from pix2pix_lightning.utils.errors import UserError

# Of feature_extractor_inceptionv3.py of torch-fidelity 0.4.0 in float64, with the weights and images of hashed_weights:
# means of 64, 192, 768 and 2048 values, each weighted by hash_uniform(shape, 5).
REFERENCE = (0.190520348847, 0.298632766076, 0.415636552506, 0.531800026837)


@pytest.fixture(scope="module")
def shapes():
    """Names and shapes of the file."""
    own = {name: tuple(value.shape) for name, value in FidInception().state_dict().items()}
    own = {name: shape for name, shape in own.items() if not name.endswith("num_batches_tracked")}
    return {**own, "fc.weight": (1008, 2048), "fc.bias": (1008,)}


def test_layers_and_embedding_are_those_of_torch_fidelity(shapes):
    with use_float64():
        network = FidInception(hash_state(shapes))
    found = network(hash_images(1, 40, 52, seed=1000))
    vectors = [*(layer.mean((2, 3)) for layer in found.layers), found.embedding]
    assert [layer.shape[1:] for layer in found.layers] == [(64, 73, 73), (192, 35, 35), (768, 17, 17)]
    assert [layer.shape[1] for layer in found.layers] == list(network.layer_channels)
    means = [(vector * hash_uniform(vector.shape, 5)).mean().item() for vector in vectors]
    assert means == pytest.approx(REFERENCE, rel=0, abs=1e-10)


def test_it_has_the_weights_of_the_published_network(shapes):
    # torchvision's inception_v3 has 27,161,264 weights; of these the classifier of 1,000 classes and the auxiliary one
    trunk = 27_161_264 - (2048 * 1000 + 1000) - 3_326_696
    statistics = ("running_mean", "running_var")
    kept = [math.prod(shape) for name, shape in shapes.items() if not name.endswith(statistics) and "fc." not in name]
    assert sum(kept) == trunk
    assert sum(name.endswith("conv.weight") for name in shapes) == 94
    assert shapes["Mixed_6c.branch7x7dbl_4.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["Mixed_7a.branch7x7x3_4.conv.weight"] == (192, 192, 3, 3)


@pytest.mark.parametrize(("height", "width"), [(7, 11), (40, 29), (13, 13)])
def test_resizing_takes_the_corner_of_a_pixel_as_its_position(height, width):
    image, side = hash_uniform((height, width), 3).numpy(), 13
    expected = np.empty((side, side))
    for row in range(side):
        for column in range(side):
            y, x = row * height / side, column * width / side
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
            expected[row, column] = upper * (1 - (y - top)) + lower * (y - top)
    found = resize_like_tensorflow1(torch.from_numpy(image)[None, None], side)[0, 0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)  # TensorFlow has the scale in float32


def test_the_file_is_known_by_its_contents(shapes, tmp_path):
    weights = {name: torch.ones(1).expand(shape) for name, shape in shapes.items()}  # a small file
    torch.save(weights, tmp_path / "any_name.pt")
    network = load_features(str(tmp_path / "any_name.pt"))
    assert isinstance(network, FidInception)
    assert network.Mixed_5b.branch1x1.conv.weight.unique().tolist() == [1]
    assert not network.training
    assert network.is_differentiable
    torchvision = {**weights, "fc.weight": torch.ones(1).expand(1000, 2048), "fc.bias": torch.ones(1000)}
    torch.save(torchvision, tmp_path / "inception_v3_google.pth")
    with pytest.raises(UserError, match="torchvision's is another network"):
        load_features(tmp_path / "inception_v3_google.pth")
    narrow = {**weights, "Mixed_7c.branch1x1.bn.bias": torch.ones(7)}
    with pytest.raises(UserError, match=r"the shape \[7\] for Mixed_7c.branch1x1.bn.bias"):
        FidInception(narrow)
    torch.save({"layer.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="no weights of the Inception of FID"):
        load_features(tmp_path / "other.pth")
