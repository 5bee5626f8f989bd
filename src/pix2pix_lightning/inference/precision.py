"""In which floats a network computes, and how its weights lie for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from pix2pix_lightning.networks import convert_to_matmul
from pix2pix_lightning.utils.devices import supports_bfloat16

PRECISIONS = ("32", "bf16", "auto")


def chosen_for(device: torch.device) -> str:
    """What ``auto`` comes to."""
    return "bf16" if supports_bfloat16(device.type) else "32"


def said(precision: str, device: torch.device) -> str:
    """A line on what ``auto`` came to."""
    if precision == "bf16":
        return f"precision=bf16, in which this {device.type} is faster; precision=32 rounds less"
    return f"precision=32, since this {device.type} has no instructions for bf16"


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a network computes in ``32`` (as its weights are) or ``bf16``.

    On a GPU ``32`` is float32 in convolutions too, which torch else computes in TF32, with a mantissa of 10 bits.
    """
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return _no_tf32() if device.type == "cuda" else nullcontext()


@contextmanager
def _no_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def lay_out(network: nn.Module, device: torch.device, precision: str) -> None:
    """Bring the weights of ``network``, in place, into the type and the order in which kernels read them fastest.

    Autocast would convert them anew for every image. Only those of layers that it runs in bfloat16 are converted:
    a norm's statistics, scale and shift stay float32.
    """
    if precision == "bf16":
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                module.to(torch.bfloat16)
    if precision == "bf16" or device.type == "cpu":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu":
        convert_to_matmul(network)
