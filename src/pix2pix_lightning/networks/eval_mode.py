"""Generators in evaluation: normalization by each image's own statistics, with repeatable dropout or none."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.networks.noise import NoisePlanes
from pix2pix_lightning.networks.patching import Forward, patch_forwards
from pix2pix_lightning.networks.tiling_state import Statistics, TilingState, Window, draw_mask
from pix2pix_lightning.utils.checks import check_choice

__all__ = ["NORMS", "NormMode", "draw_noise_mask", "drop", "find_image_norms", "normalize_by", "use_eval_mode"]

NormMode = Literal["image", "running"]
NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d)


@contextmanager
def use_eval_mode(
    network: nn.Module,
    *,
    norm: str = "image",
    dropout: bool = False,
    seed: int = 0,
    sample: int = 0,
    tiling: TilingState | None = None,
    window: Window | None = None,
) -> Iterator[nn.Module]:
    """Put ``network`` in eval mode with a choice of norm statistics and dropout, until the context ends.

    The paper applies dropout at test time and normalizes by the statistics of the test image (arXiv 1611.07004,
    section 3.3, "Optimization and inference"): ``norm="image"`` and ``dropout=True``. The output for an image does not
    depend on the other images of its batch. On leaving, every module is as it was before. The layers themselves are
    changed, so two threads need two networks.

    Args:
        network: Any module; batch norms and dropout layers inside it are found.
        norm: ``"image"``: a batch norm uses mean and biased variance of each image, then its scale and shift;
            ``"running"``: its running statistics, or the image's if it has none.
        dropout: Whether `nn.Dropout`, `nn.Dropout2d` and `NoisePlanes` are active. Their noise is a function of
            ``seed``, ``sample`` and the layer's index in the network alone, the same for all images of a batch and on
            all devices. Torch's global generators are not used.
        seed: Seed of the noise.
        sample: Number of the sample; each has noise of its own.
        tiling: The whole image, if the network sees a window of it. Norm layers, instance norms too, use its statistics
            if it has them. Dropout's noise is the window's part of the whole image's noise.
        window: Where the window lies in the whole image; by default it is all of it.

    Yields:
        ``network`` itself.

    Raises:
        UserError: ``norm`` is not one of its values. In the network's forward: the noise of the whole image
            would take more than a gigabyte.

    Example:
        >>> network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5))
        >>> with use_eval_mode(network):
        ...     network(torch.tensor([[[[1.0, 3.0]]], [[[10.0, 30.0]]]])).flatten().round(decimals=3)
        tensor([-1.,  1., -1.,  1.], grad_fn=<RoundBackward1>)
    """
    check_choice("norm", norm, get_args(NormMode))
    if tiling is not None and window is None:
        window = Window(0, 0, tiling.height, tiling.width)

    def choose_forward(index: int, name: str, module: nn.Module) -> Forward | None:
        if tiling is not None and name in tiling.statistics:
            assert isinstance(module, NORMS)
            return partial(normalize_by, module, tiling.statistics[name])
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and _uses_image_statistics(module, norm):
            return partial(_normalize_each, module)
        if isinstance(module, NoisePlanes) and dropout:
            return partial(_append_noise, module, f"{seed} {sample} {index}")
        if isinstance(module, nn.Dropout | nn.Dropout2d) and dropout and module.p > 0:
            return partial(_drop, module, f"{seed} {sample} {index}", tiling, window)
        return None

    with patch_forwards(network, choose_forward):
        yield network


def find_image_norms(network: nn.Module, norm: str) -> list[str]:
    """Find the layers that use the statistics of the image in `use_eval_mode` with ``norm``.

    Args:
        network: Any module.
        norm: ``"image"`` or ``"running"``.

    Returns:
        Names as in ``network.named_modules()``.

    Raises:
        UserError: ``norm`` is not one of its values.
    """
    check_choice("norm", norm, get_args(NormMode))
    return [name for name, module in network.named_modules() if _uses_image_statistics(module, norm)]


def _uses_image_statistics(module: nn.Module, norm: str) -> bool:
    if isinstance(module, nn.InstanceNorm2d):
        return not module.track_running_stats
    return isinstance(module, NORMS) and (norm == "image" or module.running_mean is None)


def _normalize_each(module: nn.BatchNorm2d | nn.SyncBatchNorm, x: Tensor) -> Tensor:
    if x.shape[-2:].numel() == 1:
        # One pixel is its own mean, so the output is the shift. The kernels would add rounding noise to it.
        x = torch.zeros_like(x)
    options = (module.weight, module.bias, None, None, True, 0.0, module.eps, torch.backends.cudnn.enabled)
    if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        # instance_norm converts the maps to contiguous and leaves them so, which slows all later layers: up to 4 times.
        images = [torch.batch_norm(image, *options) for image in torch.split(x, 1)]
        return images[0] if len(images) == 1 else torch.cat(images)
    return torch.instance_norm(x, *options)  # not F.instance_norm, which raises for maps of one pixel


def normalize_by(
    module: nn.BatchNorm2d | nn.SyncBatchNorm | nn.InstanceNorm2d, statistics: Statistics, x: Tensor
) -> Tensor:
    """Normalize maps by given statistics, then by the scale and shift of a norm layer.

    Args:
        module: The layer.
        statistics: Mean and biased variance of each channel, (C,).
        x: Maps (B, C, H, W).

    Returns:
        Maps of the same shape.
    """
    dtype = torch.promote_types(x.dtype, torch.float32) if module.weight is None else module.weight.dtype
    mean, variance = (values.to(x.device, dtype) for values in statistics)
    return F.batch_norm(x, mean, variance, module.weight, module.bias, False, 0.0, module.eps)


def draw_noise_mask(network: nn.Module, name: str, shape: tuple[int, ...], *, seed: int, sample: int) -> Tensor:
    """Draw the mask of a dropout layer, as `use_eval_mode` draws it for maps of a whole image.

    Args:
        network: The network that `use_eval_mode` takes.
        name: The layer's name in ``network.named_modules()``.
        shape: Shape of the layer's maps, (1, C, H, W).
        seed: Seed of the noise.
        sample: Number of the sample.

    Returns:
        Booleans on the CPU, True for what is kept: (1, C, H, W), for `nn.Dropout2d` (1, C, 1, 1).
    """
    index = [other for other, _ in network.named_modules()].index(name)
    module = network.get_submodule(name)
    shape = (*shape[:2], 1, 1) if isinstance(module, nn.Dropout2d) else shape
    assert isinstance(module, nn.Dropout | nn.Dropout2d)
    return draw_mask(shape, module.p, _seed_generator(f"{seed} {sample} {index}"))


def _drop(
    module: nn.Dropout | nn.Dropout2d, key: str, tiling: TilingState | None, window: Window | None, x: Tensor
) -> Tensor:
    generator = _seed_generator(key)
    if tiling is not None and window is not None and isinstance(module, nn.Dropout):
        mask = tiling.draw_keep_mask(key, module.p, x, window, generator)
    else:
        shape = x.shape[1:] if isinstance(module, nn.Dropout) else (x.shape[1], *(1 for _ in x.shape[2:]))
        mask = draw_mask((1, *shape), module.p, generator)
    return drop(x, mask, module.p)


def drop(x: Tensor, mask: Tensor, probability: float) -> Tensor:
    """Zero what a mask does not keep, and scale the rest.

    Args:
        x: Maps (B, C, H, W).
        mask: True for what is kept, broadcastable to ``x``.
        probability: Probability of dropping an element, in [0, 1].

    Returns:
        Maps of the same shape.
    """
    return torch.where(mask.to(x.device), x / (1 - probability) if probability < 1 else x, 0)


def _append_noise(module: NoisePlanes, key: str, x: Tensor) -> Tensor:
    shape = (1, module.channels, 1, 1)  # for all windows of an image the same
    return module.append(x, torch.randn(shape, generator=_seed_generator(key), device="cpu").to(x.device, x.dtype))


def _seed_generator(key: str) -> torch.Generator:
    """Return a generator on the CPU for float32, so that neither the device nor the precision changes the noise."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()))
