"""Choose the floating-point type of inference, and prepare a network's weights for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from pix2pix_lightning.networks import convert_to_matmul, convert_to_winograd
from pix2pix_lightning.networks.fast_convolutions.layers import keep_transformed_weights
from pix2pix_lightning.utils.devices import supports_bfloat16

PRECISIONS = ("32", "bf16", "auto")


def choose_precision(device: torch.device) -> str:
    """Return the precision that ``auto`` stands for on a device: ``bf16`` where it has instructions for it."""
    return "bf16" if supports_bfloat16(device.type) else "32"


def describe_precision(precision: str, device: torch.device) -> str:
    """Explain in one line which precision ``auto`` has chosen."""
    if precision == "bf16":
        return f"precision=bf16, in which this {device.type} is faster; precision=32 rounds less"
    return f"precision=32, since this {device.type} has no instructions for bf16"


def use_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which a network computes in a precision.

    On a GPU, ``32`` turns TF32 off, whose mantissa has 10 bits and which torch uses in convolutions by default.

    Args:
        precision: ``32`` (the type of the weights) or ``bf16`` (autocast).
        device: Device of the network.
    """
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return _disable_tf32() if device.type == "cuda" else nullcontext()


@contextmanager
def _disable_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def optimize_layout(network: nn.Module, device: torch.device, precision: str) -> None:
    """Convert a network's weights, in place, to the type and memory format that kernels read fastest.

    Autocast would convert them again for every image. Only layers that autocast runs in bfloat16 are converted: the
    statistics, scales and shifts of norms stay float32.

    Args:
        network: Network to convert.
        device: Device on which it runs.
        precision: ``32`` or ``bf16``.
    """
    if precision == "bf16":
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                module.to(torch.bfloat16)
    if precision == "bf16" or device.type == "cpu":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu":
        convert_to_winograd(convert_to_matmul(network))
        if precision == "32":
            keep_transformed_weights(network)
