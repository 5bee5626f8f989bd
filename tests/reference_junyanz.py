"""Networks of torch.nn in J's order and under J's names, and their states."""

from functools import partial

import torch
from torch import nn

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": nn.Identity}


class Block(nn.Module):
    """A level of J's U-Net between its down and its up: it holds the next level."""

    def __init__(self, widths, depth, num_in, num_out, norm):
        super().__init__()
        self.outermost, innermost = depth == 0, depth == len(widths) - 1
        bias, width = norm == "instance", widths[depth]
        layers = [] if self.outermost else [nn.LeakyReLU(0.2, True)]
        layers += [nn.Conv2d(num_in, width, 4, 2, 1, bias=bias)]
        if not innermost:
            layers += [] if self.outermost else [NORMS[norm](width)]
            layers += [Block(widths, depth + 1, width, width, norm)]
        up_in = width if innermost else 2 * width
        layers += [nn.ReLU(True), nn.ConvTranspose2d(up_in, num_out, 4, 2, 1, bias=bias or self.outermost)]
        layers += [nn.Tanh() if self.outermost else NORMS[norm](num_out)]
        if 4 <= depth < len(widths) - 1:
            layers += [nn.Dropout(0.5)]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UNet(nn.Module):
    def __init__(self, num_downs, norm="batch", base=4, num_in=3, num_out=3):
        super().__init__()
        self.model = Block([base * min(2**depth, 8) for depth in range(num_downs)], 0, num_in, num_out, norm)

    def forward(self, x):
        return self.model(x)


class Residual(nn.Module):
    def __init__(self, width, norm, dropout):
        super().__init__()
        convolution = partial(nn.Conv2d, width, width, 3, bias=norm == "instance")
        layers = [nn.ReflectionPad2d(1), convolution(), NORMS[norm](width), nn.ReLU(True)]
        layers += [nn.Dropout(0.5)] if dropout else []
        self.conv_block = nn.Sequential(*layers, nn.ReflectionPad2d(1), convolution(), NORMS[norm](width))

    def forward(self, x):
        return x + self.conv_block(x)


class ResNet(nn.Module):
    def __init__(self, num_blocks, norm="batch", base=4, num_in=3, num_out=3, dropout=False):
        super().__init__()
        bias = norm == "instance"
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(num_in, base, 7, bias=bias), NORMS[norm](base), nn.ReLU(True)]
        for width in (base, 2 * base):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), NORMS[norm](2 * width), nn.ReLU(True)]
        layers += [Residual(4 * base, norm, dropout) for _ in range(num_blocks)]
        for width in (4 * base, 2 * base):
            layers += [nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1, bias=bias)]
            layers += [NORMS[norm](width // 2), nn.ReLU(True)]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(base, num_out, 7), nn.Tanh())

    def forward(self, x):
        return self.model(x)


class Patch(nn.Module):
    def __init__(self, num_layers, norm="batch", base=4, num_in=6):
        super().__init__()
        layers = [nn.Conv2d(num_in, base, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        widths = [base * min(2**depth, 8) for depth in range(num_layers + 1)]
        for depth in range(1, num_layers + 1):
            stride = 1 if depth == num_layers else 2
            layers += [nn.Conv2d(widths[depth - 1], widths[depth], 4, stride, 1, bias=norm == "instance")]
            layers += [NORMS[norm](widths[depth]), nn.LeakyReLU(0.2, True)]
        self.model = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x):
        return self.model(x)


class Pixel(nn.Module):
    def __init__(self, norm="batch", base=4, num_in=6):
        super().__init__()
        bias, slope = norm == "instance", partial(nn.LeakyReLU, 0.2, True)
        layers = [nn.Conv2d(num_in, base, 1), slope(), nn.Conv2d(base, 2 * base, 1, bias=bias), NORMS[norm](2 * base)]
        self.net = nn.Sequential(*layers, slope(), nn.Conv2d(2 * base, 1, 1, bias=bias))

    def forward(self, x):
        return self.net(x)


def trained(network, seed=0):
    """Weights that pass on what comes in, and statistics as a training may have gathered."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            leaf = name.rpartition(".")[2]
            if leaf == "num_batches_tracked":
                value.random_(1, 10**6)
            elif leaf == "running_var":
                value.uniform_(0.5, 2.0)
            else:
                value.normal_(1.0 if leaf == "weight" and value.ndim == 1 else 0.0, 0.1)
    return network


def save_to_bytes(state):
    return {key: (value.dtype, tuple(value.shape), value.numpy().tobytes()) for key, value in state.items()}


def legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)
