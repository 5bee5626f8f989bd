"""Activation checkpointing: the same step for less memory."""

import pytest
import torch

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    PixelDiscriminator,
    ResNetGenerator,
    UNetGenerator,
    checkpoint_activations,
)

NETWORKS = {
    "unet": lambda: UNetGenerator(num_downs=4, base_channels=4, dropout_at="paper"),
    "encoder_decoder": lambda: EncoderDecoderGenerator(num_downs=4, base_channels=4),
    "resnet": lambda: ResNetGenerator(base_channels=4, num_blocks=2),
    "patch": lambda: PatchDiscriminator(3, num_layers=2, base_channels=4),
    "pixel": lambda: PixelDiscriminator(3, base_channels=4),
    "multi_scale": lambda: MultiScaleDiscriminator(3, num_scales=2, num_layers=1, base_channels=4, norm="batch"),
    "spectral": lambda: PatchDiscriminator(3, num_layers=2, base_channels=4, spectral_norm=True),
}


def saved_bytes(run, known):
    """Count the bytes that autograd stores for the backward pass, without those of the ``known`` tensors."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run()
    own = {tensor.untyped_storage().data_ptr() for tensor in known}
    return output, sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in own)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_buffers_and_noise_are_unchanged(name):
    results = []
    for prepare in (lambda network: network, checkpoint_activations):
        torch.manual_seed(0)
        network = prepare(NETWORKS[name]())
        x = torch.randn(2, 3, 32, 32).requires_grad_()
        torch.manual_seed(1)
        # Two passes before a backward pass, as a discriminator has them for the fake and the real pair.
        outputs = [output for images in (x, 2 * x) for output in as_list(network(images))]
        sum((output * torch.linspace(0, 1, output.numel()).view_as(output)).sum() for output in outputs).backward()
        drawn_next = torch.rand(3)
        gradients = [parameter.grad for parameter in network.parameters()]
        results.append([*outputs, x.grad, *gradients, *network.buffers(), drawn_next])
    for expected, actual in zip(*results, strict=True):
        assert torch.equal(actual, expected)


def as_list(output):
    return output if isinstance(output, list) else [output]


def test_a_step_stores_less_than_half():
    stored = []
    for prepare in (lambda network: network, checkpoint_activations):
        generator, discriminator = (
            prepare(UNetGenerator(num_downs=6, base_channels=8)),
            prepare(PatchDiscriminator(base_channels=8)),
        )
        source, target = torch.rand(2, 1, 3, 256, 256)
        known = [source, target, *generator.parameters(), *discriminator.parameters(), *generator.buffers()]

        def step(generator=generator, discriminator=discriminator, source=source, target=target):
            fake = generator(source)
            pairs = [torch.cat([source, image], 1) for image in (fake.detach(), target)]
            return fake, *(discriminator(pair) for pair in pairs)

        stored.append(saved_bytes(step, known)[1])
    assert stored[1] <= stored[0] / 2


def test_output_without_gradients_is_unchanged():
    network = NETWORKS["unet"]().eval()
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = network(x)
        assert torch.equal(checkpoint_activations(network)(x), expected)
