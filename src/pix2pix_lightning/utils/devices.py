"""The device that a trainer takes, and whether it computes in bfloat16."""

from __future__ import annotations

from typing import Any

from pix2pix_lightning.compat import cpu_has_bfloat16

AUTO = "auto"


def resolve_device(accelerator: Any) -> str:
    """Return the torch device type, such as ``cpu`` or ``cuda``, that a Trainer takes for ``accelerator`` here."""
    import torch

    if accelerator in ("gpu", "cuda", AUTO) and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("gpu", "mps", AUTO) and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if accelerator in (AUTO, "cpu") else str(accelerator)


def supports_bfloat16(device: str) -> bool:
    """Return whether a device type has instructions for bfloat16, and does not only emulate it."""
    import torch

    if device == "cuda":
        return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return cpu_has_bfloat16()
    return False
