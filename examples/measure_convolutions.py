"""Time of single convolutions of the default pair, forward and with both gradients, by torch and by this package.

python examples/measure_convolutions.py --batch 4

In float32 on the CPU, the fastest of several runs, in milliseconds.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pix2pix_lightning.networks.fast_convolutions import thin, winograd
from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution
from pix2pix_lightning.utils.allocator import keep_memory


def convolve_thin_transposed(x: Tensor, weight: Tensor, convolution: Convolution) -> Tensor:
    """Convolve maps with the only kind of transposed kernel that `thin` has."""
    return thin.convolve_transposed(x, weight)


LAYERS = {  # and the side of the maps
    "discriminator stages.3.conv": (nn.Conv2d(256, 512, 4, padding=1, bias=False), 32, winograd.convolve),
    "discriminator stages.4.conv": (nn.Conv2d(512, 1, 4, padding=1, bias=False), 31, thin.convolve),
    "generator up.0.conv": (nn.ConvTranspose2d(128, 3, 4, 2, 1, bias=False), 128, convolve_thin_transposed),
    "residual block": (nn.Conv2d(256, 256, 3, padding=1, bias=False), 64, winograd.convolve),
    "generator down.1.conv": (nn.Conv2d(64, 128, 4, 2, 1, bias=False), 128, winograd.convolve),
    "generator down.2.conv": (nn.Conv2d(128, 256, 4, 2, 1, bias=False), 64, winograd.convolve),
    "generator down.3.conv": (nn.Conv2d(256, 512, 4, 2, 1, bias=False), 32, winograd.convolve),
    "generator up.1.conv": (nn.ConvTranspose2d(256, 64, 4, 2, 1, bias=False), 64, winograd.convolve_transposed),
    "generator up.2.conv": (nn.ConvTranspose2d(512, 128, 4, 2, 1, bias=False), 32, winograd.convolve_transposed),
    "generator up.3.conv": (nn.ConvTranspose2d(1024, 256, 4, 2, 1, bias=False), 16, winograd.convolve_transposed),
}


def main() -> None:
    """Print a row for each layer."""
    parser = argparse.ArgumentParser(description="measure convolutions")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    keep_memory()
    print("| layer | forward, torch | here | gradients, torch | here | rounding, torch | here |")
    print("|---|---|---|---|---|---|---|")
    for name, (layer, side, method) in LAYERS.items():
        layer = layer.to(memory_format=torch.channels_last)
        x = torch.randn(arguments.batch, layer.in_channels, side, side).to(memory_format=torch.channels_last)
        ways = [layer, lambda x, layer=layer, way=method: way(x, layer.weight, Convolution.of(layer))]
        times = [measure(way, layer.weight, x, arguments.runs) for way in ways]
        exact = layer.double()(x.double()).detach()
        layer.float()
        errors = [float(((way(x).detach() - exact).square().mean() / exact.square().mean()).sqrt()) for way in ways]
        columns = [f"{times[way][part]:.1f}" for part in (0, 1) for way in (0, 1)] + [
            f"{error:.0e}" for error in errors
        ]
        print(f"| {name} | " + " | ".join(columns) + " |", flush=True)


def measure(way: Callable[[Tensor], Tensor], weight: Tensor, x: Tensor, runs: int) -> tuple[float, float]:
    """Return the milliseconds of the output, and of its gradients."""
    x = x.detach().requires_grad_()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs + 2):
        start = time.perf_counter()
        output = way(x)
        middle = time.perf_counter()
        torch.autograd.grad(output, (x, weight), torch.ones_like(output))
        seconds[0].append(middle - start)
        seconds[1].append(time.perf_counter() - middle)
    return min(seconds[0]) * 1000, min(seconds[1]) * 1000


if __name__ == "__main__":
    main()
