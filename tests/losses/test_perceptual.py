import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.losses import PerceptualDistance


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
