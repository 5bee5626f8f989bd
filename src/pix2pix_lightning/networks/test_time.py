"""How a network behaves at test time: each image by its own statistics, with repeatable noise or none."""

# ruff: noqa: PT028 (test_time is no test)

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pix2pix_lightning.networks.layers import check_choice

NormMode = Literal["image", "running"]


@contextmanager
def test_time(
    network: nn.Module, *, norm: str = "image", dropout: bool = False, seed: int = 0, sample: int = 0
) -> Iterator[nn.Module]:
    """Puts ``network`` in eval mode for a while, with the norms and the dropout that are asked for.

    The paper keeps dropout at test time and normalises by the statistics of the test image (section 3.3,
    "Optimization and inference"): ``norm="image"`` and ``dropout=True``. However images are put together in a
    batch, each comes out as it does alone. On leaving, every module is as it was. Layers are changed for the
    while, so two threads need two networks.

    Args:
        network: Any module; batch norms and dropout layers inside it are found.
        norm: ``"image"``: a batch norm uses mean and biased variance of each image, then its scale and shift;
            ``"running"``: its running statistics, or the image's where it keeps none.
        dropout: Whether `nn.Dropout` and `nn.Dropout2d` are active. Their noise is a function of ``seed``,
            ``sample`` and the layer's place in the network alone, the same for all images of a batch and on
            all devices; torch's global generators are not drawn from.
        seed: Of the noise.
        sample: Number of the sample: another one is another noise.

    Yields:
        ``network`` itself.

    Raises:
        ValueError: ``norm`` is neither of its values.

    Example:
        >>> network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5))
        >>> with test_time(network):
        ...     network(torch.tensor([[[[1.0, 3.0]]], [[[10.0, 30.0]]]])).flatten().round(decimals=3)
        tensor([-1.,  1., -1.,  1.], grad_fn=<RoundBackward1>)
    """
    check_choice("norm", norm, get_args(NormMode))
    modules = list(network.modules())
    was_training = [module.training for module in modules]
    replaced: list[tuple[nn.Module, Callable[..., Tensor] | None]] = []
    try:
        network.eval()
        for place, module in enumerate(modules):
            forward: Callable[[Tensor], Tensor]
            if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and (
                norm == "image" or module.running_mean is None
            ):
                forward = partial(_normalize_each, module)
            elif isinstance(module, nn.Dropout | nn.Dropout2d) and dropout and module.p > 0:
                forward = partial(_drop, module, f"{seed} {sample} {place}")
            else:
                continue
            replaced.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = forward
        yield network
    finally:
        for module, forward_before in replaced:
            if forward_before is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward_before
        for module, training in zip(modules, was_training, strict=True):
            module.training = training


test_time.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test by its name


def _normalize_each(module: nn.BatchNorm2d | nn.SyncBatchNorm, x: Tensor) -> Tensor:
    if x.shape[-2:].numel() == 1:
        # One pixel is its own mean: the formula gives the shift, the kernels the shift and rounding noise.
        x = torch.zeros_like(x)
    options = (module.weight, module.bias, None, None, True, 0.0, module.eps, torch.backends.cudnn.enabled)
    if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        # instance_norm would bring the maps into the other order and leave them there: up to four times as long.
        return torch.cat([torch.batch_norm(image, *options) for image in x.chunk(len(x))])
    return torch.instance_norm(x, *options)  # not F.instance_norm, which refuses such maps


def _drop(module: nn.Dropout | nn.Dropout2d, key: str, x: Tensor) -> Tensor:
    # Drawn on the CPU and as float32, so that neither the device nor the precision changes the mask.
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()))
    shape = x.shape[1:] if isinstance(module, nn.Dropout) else (x.shape[1], *(1 for _ in x.shape[2:]))
    uniform = torch.rand((1, *shape), generator=generator, device="cpu", dtype=torch.float32)
    kept = (uniform >= module.p).to(x.device)
    return torch.where(kept, x / (1 - module.p) if module.p < 1 else x, 0)
