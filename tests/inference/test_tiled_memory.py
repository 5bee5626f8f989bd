"""Memory of an image of 8192 x 8192 pixels through the paper's generator on a CPU: below 4 GB."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import resource
import sys

import numpy as np
import torch

from pix2pix_lightning.inference.statistics import estimate_statistics, shrink_image
from pix2pix_lightning.inference.tiles import build_reader, build_writer, compute_default_tile, plan_tiling
from pix2pix_lightning.inference.tiles import run_in_tiles
from pix2pix_lightning.networks import UNetGenerator, TilingState, find_image_norms, measure_receptive_field
from pix2pix_lightning.networks import use_eval_mode

norm, overlap = sys.argv[1], None if sys.argv[2] == "exact" else int(sys.argv[2])
side = 8192
network = UNetGenerator()
image = np.zeros((side, side, 3), np.uint8)
image[::2, 1::3] = 200
result = np.zeros_like(image)
whole = TilingState(side, side)
context = measure_receptive_field(network, 3)
tile = compute_default_tile(context.margin, 256)


def encode(part):
    return torch.from_numpy(part.transpose(2, 0, 1)[None]).float() / 127.5 - 1


def decode(output, part):
    return ((output + 1) * 127.5).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()


@torch.no_grad()
def run(source, window=None):
    known = {} if window is None else {"tiling": whole, "window": window}
    with use_eval_mode(network, norm=norm, **known):
        return network(source)


if norm == "image":
    small = encode(shrink_image(image, tile, "bicubic"))
    whole.statistics.update(estimate_statistics(network, run, small, find_image_norms(network, norm)))
tiling = plan_tiling(side, side, context=context.margin, stride=256, tile=tile, overlap=overlap)
run_in_tiles(run, build_reader(image, side, side, encode), build_writer(image, result, decode), tiling)
assert (result.reshape(64, 128, 64, 128, 3).max((1, 3)) > 0).all()
print(len(tiling), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)  # KiB to GiB
"""


@pytest.mark.parametrize(("norm", "overlap", "tiles"), [("running", "exact", 49), ("image", "256", 25)])
def test_memory_is_bounded(capfd, norm, overlap, tiles):
    """Measured as the peak of a process: two images of 0.2 GB, weights of 0.2 GB, torch and a window."""
    process = subprocess.run([sys.executable, "-c", SCRIPT, norm, overlap], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    count, peak = process.stdout.split()
    with capfd.disabled():
        print(f"\nnorm={norm} overlap={overlap}: {count} tiles, {float(peak):.2f} GB", end="")
    assert int(count) == tiles
    assert float(peak) < 4
