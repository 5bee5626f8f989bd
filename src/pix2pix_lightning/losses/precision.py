"""The precision in which losses are computed."""

import torch
from torch import Tensor

__all__ = ["widen_to_float32"]


def widen_to_float32(values: Tensor) -> Tensor:
    """Widen half precision to float32; float32 and float64 stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
