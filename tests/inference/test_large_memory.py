"""Memory of a large image through the paper's generator on a CPU: that of `memory=`, and little more."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

SCRIPT = """
import re
import sys
from pathlib import Path

import numpy as np
import torch

from pix2pix_lightning import Pix2PixModule, Translator

torch.manual_seed(0)
module = Pix2PixModule({"_target_": "pix2pix_lightning.networks.UNetGenerator"}, None)
translator = Translator(module, norm=sys.argv[1], memory="2GB", report=print)
image = np.random.default_rng(0).integers(0, 256, (6144, 6144, 3), np.uint8)
result = translator(image)
assert (result.reshape(48, 128, 48, 128, 3).std((1, 3)) > 0).all()
status = Path("/proc/self/status").read_text()  # ru_maxrss is at least that of the process that has started this one
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024 / 1e9)
"""


@pytest.mark.parametrize("norm", ["running", "image"])
def test_memory_is_bounded(capfd, norm):
    """Of a process for which 7 GB of maps and rows would not be too much: with torch, weights and two images."""
    process = subprocess.run([sys.executable, "-c", SCRIPT, norm], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    *lines, peak = process.stdout.splitlines()
    with capfd.disabled():
        print(f"\nnorm={norm}: {float(peak):.2f} GB", end="")
    assert len(lines) == (norm == "image")  # which announces its files
    assert float(peak) < 2.4
