"""A discriminator that judges by the features of a pretrained network, randomly mixed (Projected GAN)."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.networks.features import get_layer_channels, load_features, to_rgb
from pix2pix_lightning.networks.layers import (
    LEAK,
    MAX_CHANNELS,
    apply_spectral_norm,
    build_norm,
    build_sequential,
    check_sides,
    initialize,
    uses_bias,
)
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError

_DEVIATION = 8.0
"""Deviation of the layers of EfficientNet-Lite on photos, by which they are divided: the source has about 1."""


class ProjectedDiscriminator(nn.Module):
    """Small discriminators on features of a fixed network (Sauer et al., arXiv 2111.01007, section 3.2).

    A pretrained network sees the target. Its layers are mixed at random, across channels by 1x1 convolutions and, from
    coarse to fine, across scales by 3x3 convolutions, whose weights are drawn once and not trained, so that no feature
    is left out. Each scale has a small discriminator. What the paper does not have is the source: a stack of
    convolutions of stride 2 brings it to the size of each scale. The hinge loss is the paper's.

    The pretrained network belongs to no module, so that no checkpoint has its weights. It is loaded when it is needed
    first, which is in the first step of a training.

    Args:
        in_channels: Channels of source and target together, or of the target alone when unconditional.
        target_channels: Channels of the target, the last ones: 1 (gray) or 3 (RGB).
        pretrained: Name of the pretrained network, as in ``networks.features.FEATURES``.
        num_feature_layers: How many of its layers are used, the coarsest ones; each is a scale.
        base_channels: Channels of the finest scale's features after mixing; they double from scale to scale.
        source_channels: Channels to which the source is brought at each scale.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"``.
        spectral_norm: Whether each convolution's weight is divided by its spectral norm.

    Attributes:
        min_side: The sides of the input are at least this, so that the coarsest layer has one pixel, or two with
            instance norm, which has no statistics of one.

    Raises:
        UserError: An argument is out of its range or is not one of the names, or the target is neither gray nor RGB.

    Example:
        >>> discriminator = ProjectedDiscriminator(6, base_channels=4)
        >>> discriminator.num_scales, discriminator.min_side
        (3, 16)
    """

    def __init__(
        self,
        in_channels: int = 6,
        target_channels: int = 3,
        *,
        pretrained: str = "lite0",
        num_feature_layers: int = 3,
        base_channels: int = 64,
        source_channels: int = 32,
        norm: str = "none",
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        check_counts(at_most=MAX_CHANNELS, in_channels=in_channels, base_channels=base_channels)
        check_counts(at_most=MAX_CHANNELS, source_channels=source_channels)
        if target_channels not in (1, 3) or target_channels > in_channels:
            raise UserError(
                f"target_channels={target_channels}: a pretrained network takes gray or RGB targets; choose another "
                "discriminator, such as discriminator=patch_70"
            )
        layer_channels = get_layer_channels(pretrained)
        check_counts(at_most=len(layer_channels), num_feature_layers=num_feature_layers)
        self.pretrained = pretrained
        self.target_channels = target_channels
        self.num_scales = num_feature_layers
        self.min_side = 2 ** (len(layer_channels) + (norm == "instance"))
        widths = [base_channels * 2**scale for scale in range(num_feature_layers)]
        for scale, channels in enumerate(layer_channels[-num_feature_layers:]):
            self.register_buffer(f"mix_channels_{scale}", _draw_kernel(channels, widths[scale], 1) / _DEVIATION)
            if scale > 0:
                self.register_buffer(f"mix_scales_{scale}", _draw_kernel(widths[scale], widths[scale - 1], 3))
        is_conditional = in_channels > target_channels
        self.source = nn.ModuleList()
        for level in range(len(layer_channels) if is_conditional else 0):
            channels = source_channels if level else in_channels - target_channels
            self.source.append(_build_stage(channels, source_channels, "none", kernel=3, stride=2))
        self.heads = nn.ModuleList(
            _build_head(width + is_conditional * source_channels, width, num_feature_layers - 1 - scale, norm)
            for scale, width in enumerate(widths)
        )
        initialize(self)
        if spectral_norm:
            apply_spectral_norm(self)

    def features(self, x: Tensor) -> list[list[Tensor]]:
        """Return, for each scale, every layer's output; the last of each scale is its logits.

        Args:
            x: Images in [-1, 1], (B, in_channels, H, W), the source's channels first.

        Returns:
            A list of maps for each scale, the finest first.

        Raises:
            UserError: A side is below ``min_side``, or the pretrained network is not installed.
        """
        check_sides(x, min_side=self.min_side)
        source, target = x[:, : -self.target_channels], x[:, -self.target_channels :]
        sources = []
        for stage in self.source:
            source = stage(source)
            sources.append(source)
        outputs: list[list[Tensor]] = []
        for scale, mixed in enumerate(self.mix(target)):
            seen = torch.cat([sources[scale - self.num_scales], mixed], 1) if sources else mixed
            outputs.append([])
            for stage in cast(nn.ModuleList, self.heads[scale]):
                seen = stage(seen)
                outputs[-1].append(seen)
        return outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, in_channels, H, W) to the logits of each scale, (B, 1, h, w); raises as `features`."""
        return [layers[-1] for layers in self.features(x)]

    def mix(self, target: Tensor) -> list[Tensor]:
        """Return the mixed features of a target.

        Args:
            target: (B, target_channels, H, W) in [-1, 1].

        Returns:
            Maps (B, base_channels * 2**scale, h, w), the finest first.
        """
        weights = dict(self.named_buffers(recurse=False))
        network = load_features(self.pretrained, target.device, weights["mix_channels_0"].dtype)
        with torch.autocast(target.device.type, enabled=False):  # bfloat16 turns the gradient
            images = to_rgb(target.to(weights["mix_channels_0"].dtype), "discriminator")
            layers = network.compute_layers(images)[-self.num_scales :]
        mixed = [F.conv2d(layer, weights[f"mix_channels_{scale}"]) for scale, layer in enumerate(layers)]
        for scale in reversed(range(1, self.num_scales)):
            finer = mixed[scale - 1]
            coarse = F.interpolate(mixed[scale], size=finer.shape[2:], mode="bilinear", align_corners=False)
            mixed[scale - 1] = (finer + F.conv2d(coarse, weights[f"mix_scales_{scale}"], padding=1)) / math.sqrt(2)
        return mixed


def _draw_kernel(in_channels: int, out_channels: int, side: int) -> Tensor:
    """Draw fixed weights (out, in, side, side) that keep the variance."""
    return torch.randn(out_channels, in_channels, side, side) / math.sqrt(in_channels * side**2)


def _build_head(in_channels: int, width: int, num_downs: int, norm: str) -> nn.ModuleList:
    """Build the discriminator of one scale, whose logits are as many as the coarsest layer has pixels."""
    stages = []
    for _ in range(num_downs):
        stages.append(_build_stage(in_channels, width, norm, kernel=3, stride=2))
        in_channels = width
    stages.append(_build_stage(in_channels, width, norm, kernel=3))
    stages.append(build_sequential(conv=nn.Conv2d(width, 1, 3, padding=1)))
    return nn.ModuleList(stages)


def _build_stage(in_channels: int, width: int, norm: str, *, kernel: int, stride: int = 1) -> nn.Sequential:
    return build_sequential(
        conv=nn.Conv2d(in_channels, width, kernel, stride=stride, padding=kernel // 2, bias=uses_bias(norm)),
        norm=build_norm(norm, width),
        activation=nn.LeakyReLU(LEAK, inplace=True),
    )
