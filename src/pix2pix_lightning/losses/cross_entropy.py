"""Cross-entropy over classes, of a generator that ends in a tanh."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.losses.precision import widen_to_float32
from pix2pix_lightning.utils.errors import UserError

__all__ = ["ClassCrossEntropy"]


class ClassCrossEntropy(nn.Module):
    """Cross-entropy between an output and the classes of a label map.

    A generator ends in a tanh, so its outputs in [-1, 1] are no logits. They become logits by a factor: the
    probabilities of the classes are ``softmax(scale * output)``, so that two classes can differ in their logits by
    ``2 * scale`` at most. With the default the greatest probability is 0.9995 of 12 classes, and 0.989 of 256. The
    class with the greatest output is the most probable one, so outputs are decoded as with any other loss.

    Pixels that have no class, -1 in all channels of the target, do not count.

    Args:
        scale: Factor from outputs to logits, the inverse of a temperature; a finite number above 0.

    Attributes:
        takes_mask: The loss takes the mask of the pixels that count as its third argument.
        compares_classes: The target has to be one channel for each class, 1 where the class is and -1 elsewhere.

    Raises:
        UserError: ``scale`` is out of range.

    Example:
        >>> target = torch.tensor([1.0, -1.0, -1.0, -1.0])[None, :, None, None].expand(1, 4, 2, 2)
        >>> round(ClassCrossEntropy()(torch.zeros(1, 4, 2, 2), target).item(), 4)  # log(4)
        1.3863
    """

    takes_mask = True
    compares_classes = True

    def __init__(self, scale: float = 5.0) -> None:
        super().__init__()
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise UserError(f"scale={scale}: a finite number above 0 is expected")
        self.scale = scale

    def forward(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean over the pixels of the batch that count, a scalar in float32 at least; 0 if there is none.

        Args:
            output: Generated images (B, K, H, W) in [-1, 1].
            target: Label maps (B, K, H, W): 1 in the channel of the class and -1 elsewhere.
            mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.
        """
        greatest, classes = target.max(1)
        counts = greatest > 0
        if mask is not None:
            counts = counts & mask[:, 0]
        losses = F.cross_entropy(self.scale * widen_to_float32(output), classes, reduction="none")
        return torch.where(counts, losses, 0.0).sum() / counts.sum().clamp_min(1)
