"""Activation checkpointing: the same step for less memory."""

import copy

import pytest
import torch

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    PatchDiscriminator,
    PixelDiscriminator,
    ResNetGenerator,
    UNetGenerator,
    recomputing,
)

NETWORKS = {
    "unet": UNetGenerator(num_downs=5, base_channels=8, dropout_at="paper"),
    "encoder_decoder": EncoderDecoderGenerator(num_downs=5, base_channels=8),
    "resnet": ResNetGenerator(base_channels=8, num_blocks=6),
    "patch": PatchDiscriminator(3, base_channels=8),
    "pixel": PixelDiscriminator(3, base_channels=8),
}


def saved_bytes(run, known):
    """Bytes that autograd keeps for the backward pass, storages counted once, without ``known`` tensors."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run()
    own = {tensor.untyped_storage().data_ptr() for tensor in known}
    return output, sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in own)


@pytest.mark.parametrize("name", NETWORKS)
def test_same_gradients_statistics_and_noise(name):
    results = []
    for network in (copy.deepcopy(NETWORKS[name]), recomputing(copy.deepcopy(NETWORKS[name]))):
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        torch.manual_seed(1)
        output = network(x)
        (output * torch.linspace(0, 1, output.numel()).view_as(output)).sum().backward()
        after = torch.rand(3)  # what is drawn next
        results.append([output, x.grad, *(p.grad for p in network.parameters()), *network.buffers(), after])
    for expected, got in zip(*results, strict=True):
        assert torch.equal(got, expected)


def test_a_step_at_512_keeps_less_than_half():
    kept = []
    for prepare in (lambda network: network, recomputing):
        generator, discriminator = prepare(UNetGenerator(base_channels=8)), prepare(PatchDiscriminator(base_channels=8))
        source, target = torch.rand(2, 1, 3, 512, 512)
        known = [source, target, *generator.parameters(), *discriminator.parameters(), *generator.buffers()]

        def step(generator=generator, discriminator=discriminator, source=source, target=target):
            fake = generator(source)
            pairs = [torch.cat([source, image], 1) for image in (fake.detach(), target)]
            return fake, *(discriminator(pair) for pair in pairs)

        kept.append(saved_bytes(step, known)[1])
    assert kept[1] <= kept[0] / 2


def test_nothing_is_kept_without_gradients():
    network = recomputing(copy.deepcopy(NETWORKS["unet"])).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(x), copy.deepcopy(NETWORKS["unet"]).eval()(x))
