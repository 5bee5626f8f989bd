"""DiffAugment: differentiable random changes of what the discriminator sees, for trainings on few pairs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pix2pix_lightning.losses.shifting import shift_images
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError

__all__ = ["DiffAugment", "change_colours", "cut_out"]

_POLICIES = ("color", "translation", "cutout")
_LARGEST_SHIFT = 0.125  # share of a side, as in the paper
_CUT = 0.5  # share of a side, as in the paper


class DiffAugment(nn.Module):
    """Change real and generated pairs at random before the discriminator (Zhao et al., arXiv 2006.10738).

    The generator's gradient passes through the changes, so that its outputs do not take them over. Each image of a
    batch has a draw of its own, from the device's global generator, and no draw waits for the device.

    Real and generated pairs that are given together are changed alike, which feature matching needs. Source and target
    are shifted and cut alike, so that they stay a pair; colours are changed in the target alone, since the
    discriminator is to judge it, and the source is given.

    Args:
        policies: What is changed, some of ``"color"`` (brightness, saturation and contrast), ``"translation"`` (up to
            an eighth of each side, with 0 beyond the border) and ``"cutout"`` (a window of half of each side becomes
            0). They are applied in this order. An empty list changes nothing and draws nothing.
        target_channels: Channels of the target, the last ones of a pair.

    Raises:
        UserError: ``policies`` is no list, or has an unknown name.

    Example:
        >>> real, fake = torch.rand(2, 6, 32, 32), torch.rand(2, 6, 32, 32)
        >>> [pair.shape for pair in DiffAugment(["translation", "cutout"])(real, fake)]
        [torch.Size([2, 6, 32, 32]), torch.Size([2, 6, 32, 32])]
    """

    def __init__(self, policies: Sequence[str] = _POLICIES, *, target_channels: int = 3) -> None:
        super().__init__()
        if isinstance(policies, str) or not isinstance(policies, Sequence):
            raise UserError(f"diff_augment={policies}: a list is expected, such as [{', '.join(_POLICIES)}]")
        for policy in policies:
            check_choice("diff_augment", policy, _POLICIES)
        check_counts(target_channels=target_channels)
        self.policies = tuple(policies)
        self.target_channels = target_channels

    def forward(self, *pairs: Tensor) -> tuple[Tensor, ...]:
        """Change pairs, all of them alike.

        Args:
            *pairs: Each (B, C, H, W), the target's channels last; all of the same B, H and W.

        Returns:
            The changed pairs, in the same order and of the same shapes.
        """
        count, _, height, width = pairs[0].shape
        device = pairs[0].device
        if "color" in self.policies:
            brightness, saturation, contrast = torch.rand(3, count, 1, 1, 1, device=device)
            pairs = tuple(
                self._change_colours(pair, brightness - 0.5, 2 * saturation, contrast + 0.5) for pair in pairs
            )
        if "translation" in self.policies:
            down, right = (
                torch.randint(-limit, limit + 1, (count,), device=device)
                for limit in (int(side * _LARGEST_SHIFT + 0.5) for side in (height, width))
            )
            pairs = tuple(shift_images(pair, down, right)[0] for pair in pairs)
        if "cutout" in self.policies:
            sizes = [int(side * _CUT + 0.5) for side in (height, width)]
            # The window's centre is anywhere in the image, so that a part of it may lie outside.
            top, left = (
                torch.randint(0, side + 1 - size % 2, (count,), device=device) - size // 2
                for side, size in zip((height, width), sizes, strict=True)
            )
            pairs = tuple(cut_out(pair, top, left, *sizes) for pair in pairs)
        return pairs

    def _change_colours(self, pair: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
        source, target = pair[:, : -self.target_channels], pair[:, -self.target_channels :]
        return torch.cat([source, change_colours(target, brightness, saturation, contrast)], 1)


def change_colours(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Change brightness, then saturation, then contrast; the values are not clipped.

    Args:
        images: (B, C, H, W).
        brightness: What is added to all values, (B, 1, 1, 1).
        saturation: Factor of each pixel's distance from the mean of its channels, (B, 1, 1, 1).
        contrast: Factor of each value's distance from the mean of the image, (B, 1, 1, 1).

    Returns:
        The changed images, in the type of ``images``.
    """
    brightness, saturation, contrast = (factor.to(images.dtype) for factor in (brightness, saturation, contrast))
    images = images + brightness
    gray = images.mean(1, keepdim=True)
    images = (images - gray) * saturation + gray
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean


def cut_out(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Set a window of each image to 0.

    Args:
        images: (B, C, H, W).
        top: First row of each window, (B,) int64; it may lie outside of the image.
        left: First column of each window, (B,) int64.
        height: Rows of the windows.
        width: Columns of the windows.

    Returns:
        The images with windows of 0.
    """
    rows = torch.arange(images.shape[2], device=images.device) - top[:, None]
    columns = torch.arange(images.shape[3], device=images.device) - left[:, None]
    is_row, is_column = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return images.masked_fill(is_row[:, None, :, None] & is_column[:, None, None, :], 0.0)
