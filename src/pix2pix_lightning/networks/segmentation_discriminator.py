"""A discriminator that segments the target: one logit for each class and one for "fake" at each pixel."""

from torch import Tensor, nn

from pix2pix_lightning.networks.hourglass import build_down_levels, build_up_levels
from pix2pix_lightning.networks.layers import (
    MAX_CHANNELS,
    MAX_CHANNELS_FACTOR,
    MAX_LEVELS,
    apply_spectral_norm,
    check_sides,
    initialize,
)
from pix2pix_lightning.utils.checks import check_counts


class SegmentationDiscriminator(nn.Module):
    """A U-Net from a target to logits of its N classes and of "fake" (OASIS; arXiv 2012.04781, section 3.1).

    It sees the target alone: the label map is what it has to find. Its loss is ``losses.SegmentationAdversarial``. The
    levels are those of `UNetGenerator`, without a tanh; the paper's are residual blocks.

    Args:
        in_channels: Channels of the target.
        num_classes: Classes N of the source.
        num_downs: How often the side is halved, at least 1; the paper's is 6.
        base_channels: Channels of the outermost level; they double with depth, up to eight times as many.
        norm: ``"batch"``, ``"instance"``, ``"none"`` or ``"none_no_bias"``.
        spectral_norm: Whether each convolution's weight is divided by its spectral norm.

    Attributes:
        predicts_classes: True: its logits are those of classes.
        side_multiple: The sides of the input are multiples of this, ``2**num_downs``.

    Raises:
        UserError: An argument is out of its range or is not one of the names.

    Example:
        >>> import torch
        >>> discriminator = SegmentationDiscriminator(3, num_classes=5, num_downs=3, base_channels=4)
        >>> discriminator(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 6, 32, 48])
    """

    predicts_classes = True

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        *,
        num_downs: int = 6,
        base_channels: int = 64,
        norm: str = "none",
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        check_counts(
            at_most=MAX_CHANNELS, in_channels=in_channels, num_classes=num_classes, base_channels=base_channels
        )
        check_counts(at_most=MAX_LEVELS, num_downs=num_downs)
        self.num_classes = num_classes
        self.side_multiple = 2**num_downs
        widths = [base_channels * min(2**depth, MAX_CHANNELS_FACTOR) for depth in range(num_downs)]
        self.down = build_down_levels(in_channels, widths, norm=norm)
        self.up = build_up_levels(
            num_classes + 1,
            widths,
            norm=norm,
            dropout=0.0,
            dropout_at="paper",
            upsample="resize",  # a convolution, which can have a spectral norm
            has_skips=True,
            has_tanh=False,
        )
        initialize(self)
        if spectral_norm:
            apply_spectral_norm(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return every level's output; the last is the logits.

        Args:
            x: Targets in [-1, 1], (B, in_channels, H, W), sides multiples of ``side_multiple``.

        Returns:
            ``2 * num_downs`` maps, the last (B, num_classes + 1, H, W); its last channel is "fake".

        Raises:
            UserError: A side is no positive multiple of ``side_multiple``.
        """
        check_sides(x, multiple=self.side_multiple, min_side=self.side_multiple)
        skips: list[Tensor] = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        outputs = [*skips]
        skips.pop()  # the innermost map is the decoder's input, not a skip
        for level in reversed(self.up):
            x = level(skips.pop(), x) if len(outputs) > len(self.down) else level(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map targets (B, in_channels, H, W) to logits (B, num_classes + 1, H, W); raises as `features`."""
        return self.features(x)[-1]
