"""How a network behaves at test time: each image by its own statistics, with repeatable noise or none."""

# ruff: noqa: PT028 (test_time is no test)

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.networks.layers import check_choice
from pix2pix_lightning.networks.replacing import Forward, replacing_forwards
from pix2pix_lightning.networks.whole_image import Statistics, WholeImage, Window

NormMode = Literal["image", "running"]
NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d)


@contextmanager
def test_time(
    network: nn.Module,
    *,
    norm: str = "image",
    dropout: bool = False,
    seed: int = 0,
    sample: int = 0,
    whole: WholeImage | None = None,
    window: Window | None = None,
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
        whole: The image that the network is given a window of. Norms whose statistics it holds, instance norms among
            them, use these; dropout's noise is the window's part of the whole image's.
        window: That window; by default all of it.

    Yields:
        ``network`` itself.

    Raises:
        ValueError: ``norm`` is neither of its values; or, in the network's forward, the noise of the whole image
            would take more than a gigabyte.

    Example:
        >>> network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5))
        >>> with test_time(network):
        ...     network(torch.tensor([[[[1.0, 3.0]]], [[[10.0, 30.0]]]])).flatten().round(decimals=3)
        tensor([-1.,  1., -1.,  1.], grad_fn=<RoundBackward1>)
    """
    check_choice("norm", norm, get_args(NormMode))
    if whole is not None and window is None:
        window = Window(0, 0, whole.height, whole.width)

    def forward_of(place: int, name: str, module: nn.Module) -> Forward | None:
        if whole is not None and name in whole.statistics:
            assert isinstance(module, NORMS)
            return partial(_normalize_by, module, whole.statistics[name])
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and _is_of_the_image(module, norm):
            return partial(_normalize_each, module)
        if isinstance(module, nn.Dropout | nn.Dropout2d) and dropout and module.p > 0:
            return partial(_drop, module, f"{seed} {sample} {place}", whole, window)
        return None

    with replacing_forwards(network, forward_of):
        yield network


test_time.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test by its name


def image_norms(network: nn.Module, norm: str) -> list[str]:
    """Names of the layers that, at test time with ``norm``, use the statistics of the image.

    Args:
        network: Any module.
        norm: ``"image"`` or ``"running"``.

    Raises:
        ValueError: ``norm`` is neither.
    """
    check_choice("norm", norm, get_args(NormMode))
    return [name for name, module in network.named_modules() if _is_of_the_image(module, norm)]


def _is_of_the_image(module: nn.Module, norm: str) -> bool:
    if isinstance(module, nn.InstanceNorm2d):
        return not module.track_running_stats
    return isinstance(module, NORMS) and (norm == "image" or module.running_mean is None)


def _normalize_each(module: nn.BatchNorm2d | nn.SyncBatchNorm, x: Tensor) -> Tensor:
    if x.shape[-2:].numel() == 1:
        # One pixel is its own mean: the formula gives the shift, the kernels the shift and rounding noise.
        x = torch.zeros_like(x)
    options = (module.weight, module.bias, None, None, True, 0.0, module.eps, torch.backends.cudnn.enabled)
    if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        # instance_norm would bring the maps into the other order and leave them there: up to four times as long.
        return torch.cat([torch.batch_norm(image, *options) for image in x.chunk(len(x))])
    return torch.instance_norm(x, *options)  # not F.instance_norm, which refuses such maps


def _normalize_by(
    module: nn.BatchNorm2d | nn.SyncBatchNorm | nn.InstanceNorm2d, statistics: Statistics, x: Tensor
) -> Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32) if module.weight is None else module.weight.dtype
    mean, variance = (values.to(x.device, dtype) for values in statistics)
    return F.batch_norm(x, mean, variance, module.weight, module.bias, False, 0.0, module.eps)


def _drop(
    module: nn.Dropout | nn.Dropout2d, key: str, whole: WholeImage | None, window: Window | None, x: Tensor
) -> Tensor:
    # Drawn on the CPU and as float32, so that neither the device nor the precision changes the mask.
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()))
    if whole is not None and window is not None and isinstance(module, nn.Dropout):
        kept = whole.kept(key, module.p, x, window, generator)
    else:
        shape = x.shape[1:] if isinstance(module, nn.Dropout) else (x.shape[1], *(1 for _ in x.shape[2:]))
        kept = torch.rand((1, *shape), generator=generator, device="cpu", dtype=torch.float32) >= module.p
    return torch.where(kept.to(x.device), x / (1 - module.p) if module.p < 1 else x, 0)
