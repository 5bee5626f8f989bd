import copy

import pytest
import torch

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.benchmark.plain_loop import PlainLoop, count_flop
from pix2pix_lightning.models.pix2pix import PATCH_70, UNET_256
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator

CPU = torch.device("cpu")


def test_step_equals_the_module_s_losses():
    torch.manual_seed(0)
    generator = UNetGenerator(num_downs=4, base_channels=2, dropout=0.0).double()
    discriminator = PatchDiscriminator(num_layers=1, base_channels=2).double()
    module = Pix2PixModule(copy.deepcopy(generator), copy.deepcopy(discriminator)).double()
    module.record = lambda **losses: None
    loop = PlainLoop(generator, discriminator, CPU)
    optimizer_g, optimizer_d = module.configure_optimizers()[0]
    for _ in range(2):
        source, target = torch.rand(2, 2, 3, 32, 32, dtype=torch.float64) * 2 - 1
        loop(source, target)
        output = module.generator(source)
        module.discriminator_loss(source, target, output.detach()).backward()
        optimizer_d.step()
        optimizer_g.zero_grad()
        module.generator_loss(source, target, output).backward()
        optimizer_g.step()
        optimizer_d.zero_grad()
    for ours, theirs in ((module.generator, generator), (module.discriminator, discriminator)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (a - b).abs().max() < 1e-10
    assert [type(optimizer) for optimizer in loop.optimizers] == [torch.optim.Adam] * 2
    assert not any(optimizer.defaults["fused"] or optimizer.defaults["foreach"] for optimizer in loop.optimizers)


def test_step_without_discriminator_is_l1_regression():
    generator = torch.nn.Conv2d(3, 3, 1, bias=False)
    weight = generator.weight.detach().clone()
    source, target = torch.rand(2, 1, 3, 4, 4)
    PlainLoop(generator, None, CPU)(source, target)
    weight.requires_grad_(True)
    (100 * (torch.nn.functional.conv2d(source, weight) - target).abs().mean()).backward()
    assert torch.allclose(generator.weight.grad, weight.grad)


def test_flop_of_a_small_network():
    unet = {**UNET_256, "num_downs": 2, "base_channels": 2}
    # 4x4 kernels, two FLOP a multiplication; each backward pass costs one more for the weights and one for the input,
    # which the first layer's image does not need
    down = [2 * 16 * 3 * 2 * 8 * 8, 2 * 16 * 2 * 4 * 4 * 4]  # positions of the output
    up = [2 * 16 * 4 * 2 * 4 * 4, 2 * 16 * 4 * 3 * 8 * 8]  # positions of the input; skips double its channels
    by_hand = 3 * (sum(down) + sum(up)) - down[0]
    assert count_flop(unet, None, batch_size=1, size=16) == by_hand
    assert count_flop(unet, None, batch_size=3, size=16) == 3 * by_hand


def test_flop_of_the_default_networks():
    assert count_flop(UNET_256, PATCH_70, batch_size=1, size=256) / 1e9 == pytest.approx(86.9, abs=0.05)
