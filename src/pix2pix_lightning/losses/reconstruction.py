"""Reconstruction losses besides L1 and L2: L1 over the scales of a pyramid, and L1 that tolerates shifted targets."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.losses.precision import widen_to_float32
from pix2pix_lightning.losses.shifting import shift_images
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError

__all__ = ["PyramidL1", "ShiftTolerantL1"]

_MAX_SCALES = 12
_MAX_SHIFT = 32


class PyramidL1(nn.Module):
    """The mean of the L1 losses of an image and of its copies at half, a quarter, ... of the side.

    Copies are made by averaging 2x2 pixels. A coarse scale compares mean colours of regions and does not see where
    exactly a detail lies. The value is at most that of L1, with equality where the differences have one sign.

    Args:
        num_scales: Scales, the image itself included, 1 to 12; 1 is L1.

    Raises:
        UserError: ``num_scales`` is out of range.

    Example:
        >>> stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
        >>> PyramidL1(num_scales=2)(stripes, torch.zeros(1, 1, 8, 8)).item()
        0.5
    """

    def __init__(self, num_scales: int = 4) -> None:
        super().__init__()
        check_counts(at_most=_MAX_SCALES, num_scales=num_scales)
        self.num_scales = num_scales

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the scales of the mean absolute difference, a scalar in float32 at least.

        Args:
            output: Generated images (B, C, H, W).
            target: Real images (B, C, H, W).
        """
        difference = widen_to_float32(output) - widen_to_float32(target)
        total = difference.abs().mean()
        for _ in range(self.num_scales - 1):
            # Pooling is linear, so the difference is pooled in place of both images. Odd sides keep their last pixels.
            difference = F.avg_pool2d(difference, 2, ceil_mode=True, count_include_pad=False)
            total = total + difference.abs().mean()
        return total / self.num_scales


class ShiftTolerantL1(nn.Module):
    """L1 to the target shifted by whole pixels, at the shift that fits best: for pairs that are off by some pixels.

    Each image has a shift of its own, up to ``max_shift`` in both directions. The loss of a shift is the mean over the
    pixels that output and shifted target share, so that no pixels are made up. The least of them counts, and among
    equal ones that of the shorter shift. It is the L1 form of the registered error with which super-resolution of
    satellite images is measured and trained (cPSNR, Märtens et al., arXiv 1907.01821; as a loss in DeepSUM, Molini et
    al., arXiv 1907.06490), without their correction of brightness.

    The loss does not see a shift that all outputs have in common, as long as it stays within ``max_shift``: set
    ``max_shift`` to how far pairs are off, and not more.

    Args:
        max_shift: Largest shift in pixels, 0 to 32; 0 is L1. The search costs ``(2 * max_shift + 1) ** 2`` comparisons
            without gradients.

    Raises:
        UserError: ``max_shift`` is out of range.

    Example:
        >>> target = torch.rand(1, 3, 16, 16)
        >>> ShiftTolerantL1(max_shift=2)(target.roll(2, dims=3), target).item()
        0.0
    """

    def __init__(self, max_shift: int = 3) -> None:
        super().__init__()
        check_counts(at_least=0, at_most=_MAX_SHIFT, max_shift=max_shift)
        self.max_shift = max_shift
        steps = range(-max_shift, max_shift + 1)
        # The shorter shift first, since argmin takes the first of equal ones.
        self._shifts = sorted(((y, x) for y in steps for x in steps), key=lambda shift: shift[0] ** 2 + shift[1] ** 2)
        self.shifts: Tensor  # on the device already: a copy to it would wait
        self.register_buffer("shifts", torch.tensor(self._shifts), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the images of the least mean absolute difference, a scalar in float32 at least.

        Args:
            output: Generated images (B, C, H, W), which the gradient reaches through the best shift alone.
            target: Real images (B, C, H, W).

        Raises:
            UserError: A side is not larger than ``max_shift``.
        """
        if min(output.shape[2:]) <= self.max_shift:
            raise UserError(
                f"max_shift={self.max_shift} with images of {output.shape[2]}x{output.shape[3]} pixels: their sides "
                "have to be larger than the shift"
            )
        output, target = widen_to_float32(output), widen_to_float32(target)
        down, right = self._find_shifts(output.detach(), target.detach())
        shifted, is_shared = shift_images(target, down, right)
        difference = torch.where(is_shared, output - shifted, 0.0).abs().mean(1).sum((1, 2))
        return (difference / is_shared.sum((1, 2, 3))).mean()

    @torch.no_grad()
    def _find_shifts(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far each target has to move down and to the right, (B,) each."""
        height, width = output.shape[2:]
        losses = []
        for y, x in self._shifts:
            top, bottom, left, right = max(y, 0), height + min(y, 0), max(x, 0), width + min(x, 0)
            moved = target[:, :, top - y : bottom - y, left - x : right - x]
            losses.append((output[:, :, top:bottom, left:right] - moved).abs().mean((1, 2, 3)))
        best = self.shifts[torch.stack(losses).argmin(0)]
        return best[:, 0], best[:, 1]
