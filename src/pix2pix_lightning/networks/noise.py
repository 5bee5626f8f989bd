"""What is random in a generator: dropout, and planes of noise next to its input."""

import torch
from torch import Tensor, nn

from pix2pix_lightning.utils.checks import check_counts

__all__ = ["MAX_NOISE_CHANNELS", "NoisePlanes", "find_noise"]

MAX_NOISE_CHANNELS = 256


class NoisePlanes(nn.Module):
    """Append planes to the input, each of one value drawn from N(0, 1), the z of the paper's equation 1.

    In training each image has values of its own. In eval mode they are 0, the mean, unless `use_eval_mode` draws them.

    Args:
        channels: Number of planes, 1 to 256.

    Raises:
        UserError: ``channels`` is out of range.

    Example:
        >>> NoisePlanes(2).eval()(torch.ones(1, 1, 1, 2)).tolist()
        [[[[1.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]]]]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_counts(at_most=MAX_NOISE_CHANNELS, noise_channels=channels)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to (B, C + channels, H, W)."""
        shape = (x.shape[0], self.channels, 1, 1)
        if self.training:
            return self.append(x, torch.randn(shape, dtype=x.dtype, device=x.device))
        return self.append(x, torch.zeros(shape, dtype=x.dtype, device=x.device))

    def append(self, x: Tensor, values: Tensor) -> Tensor:
        """Append planes of ``values``, (B or 1, channels, 1, 1), to images (B, C, H, W)."""
        return torch.cat([x, values.expand(x.shape[0], -1, *x.shape[2:])], dim=1)


def find_noise(network: nn.Module) -> list[str]:
    """Find the layers that make the outputs for one input differ.

    Args:
        network: Any module.

    Returns:
        Names as in ``network.named_modules()`` of dropout with a probability above 0 and of `NoisePlanes`.
    """
    return [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, NoisePlanes) or (isinstance(layer, nn.Dropout | nn.Dropout2d) and layer.p > 0)
    ]
