"""Find values that are not finite: NaN and infinity."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pix2pix_lightning.utils.errors import UserError

_RUNNING_STATISTICS = ("running_mean", "running_var")


class NonFiniteError(UserError):
    """Weights, gradients, losses or images hold NaN or infinity."""


def find_nonfinite(state: Mapping[str, Tensor], network: nn.Module) -> str | None:
    """Find the first weight that is not finite. It waits for the device once, and again only where there is one.

    A buffer that is no running statistic may hold infinity, as the mask of an attention layer does, but no NaN.

    Args:
        state: Weights and buffers by name, all or some of ``network.state_dict()``.
        network: The network whose state it is; it tells weights from buffers.

    Returns:
        The name, or None where all is finite.
    """
    constants = {name for name, _ in network.named_buffers() if not name.endswith(_RUNNING_STATISTICS)}
    floats = {name: value.detach() for name, value in state.items() if _holds_floats(value)}
    if not floats:
        return None
    # A sum is read once and is not finite if one of its terms is not; what overflows is looked at again.
    sums = [
        value.isnan().any().logical_not() if name in constants else sum_wide(value).isfinite()
        for name, value in floats.items()
    ]
    verdicts = torch.stack([verdict.to(sums[0].device) for verdict in sums]).tolist()
    for (name, value), is_finite in zip(floats.items(), verdicts, strict=True):
        if not is_finite and (name in constants or not bool(value.isfinite().all())):
            return name
    return None


def has_nan(state: Mapping[str, Tensor]) -> bool:
    """Return whether a tensor of a state holds NaN, which no weight and no constant may."""
    return any(bool(value.isnan().any()) for value in state.values() if _holds_floats(value))


def check_finite(state: Mapping[str, Tensor], network: nn.Module, origin: object) -> None:
    """Refuse weights that are not finite.

    Args:
        state: Weights and buffers by name.
        network: The network whose state it is.
        origin: What holds them, for the message, such as a path.

    Raises:
        NonFiniteError: One of them holds NaN or infinity; the message names it.
    """
    if (name := find_nonfinite(state, network)) is not None:
        raise NonFiniteError(
            f"{origin} holds weights that are not finite, {name} among them: the training diverged before it was "
            "saved; give an earlier checkpoint"
        )


def sum_wide(value: Tensor) -> Tensor:
    """Return the sum of a tensor, in float32 at least."""
    return value.sum(dtype=torch.float32) if value.dtype.itemsize < torch.float32.itemsize else value.sum()


def _holds_floats(value: Tensor) -> bool:
    is_float = isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
    return is_float and value.layout is torch.strided and value.device.type != "meta"
