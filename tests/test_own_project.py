"""A small project that installs the wheel and brings a module, a generator, a loss and an experiment of its own."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers import make_strips
from pix2pix_lightning.checkpoints.files import read_checkpoint

ROOT = Path(__file__).parents[1]
PROJECT = {
    "my_project/__init__.py": "",
    "my_project/parts.py": """
import torch
from torch import nn
from pix2pix_lightning import Pix2PixModule


class ThreeLayers(nn.Sequential):
    def __init__(self, in_channels, out_channels, width):
        super().__init__(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(width, out_channels, 3, padding=1), nn.Tanh())


class Charbonnier(nn.Module):
    def __init__(self, epsilon):
        super().__init__()
        self.epsilon = epsilon

    def forward(self, output, target):
        return torch.sqrt((output - target) ** 2 + self.epsilon**2).mean()


class Module(Pix2PixModule):
    def __init__(self, *args, brightness_weight=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters("brightness_weight")

    def generator_loss(self, source, target, fake):
        brightness = (fake.mean() - target.mean()).abs()
        return super().generator_loss(source, target, fake) + self.hparams.brightness_weight * brightness
""",
    "conf/generator/three_layers.yaml": """
# @package module.generator
_target_: my_project.parts.ThreeLayers
in_channels: null
out_channels: null
width: 8
""",
    "conf/loss/charbonnier_cgan.yaml": """
# @package module
conditional: true
weights: {adversarial: 1.0, charbonnier: 50.0}
reconstruction:
  charbonnier: {_target_: my_project.parts.Charbonnier, epsilon: 0.01}
""",
    "conf/module/mine.yaml": """
defaults: [pix2pix]
_target_: my_project.parts.Module
brightness_weight: 3.0
""",
    "conf/experiment/mine.yaml": """
# @package _global_
defaults:
  - override /data: folder
  - override /module: mine
  - override /generator: three_layers
  - override /discriminator: patch_16
  - override /loss: charbonnier_cgan
  - override /trainer: cpu
data: {root: pairs, size: 16, num_workers: 0}
trainer: {max_epochs: 1, log_every_n_steps: 1}
""",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package as its wheel installs it, without the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(folder / "site")
    assert {"pix2pix_lightning/conf/train.yaml", "pix2pix_lightning/py.typed"} <= names
    assert not any(name.startswith(("tests", "conf/")) for name in names)
    return folder / "site"


COMMANDS = """
import json, sys
from pix2pix_lightning import predict, train

for name, words in json.loads(sys.argv[1]):
    print(f"status {name}", {"predict": predict, "train": train}[name].main(words), flush=True)
"""


def test_a_project_of_ones_own(installed, tmp_path):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    make_strips(tmp_path / "pairs", train=2, val=1)

    own = ["--config-dir", "conf", "experiment=mine"]
    arguments = ["checkpoint=run", "input=run/gallery/images/000_val_0/input.png", "output=out"]
    commands = [
        ["train", [*own, "--info", "searchpath"]],
        ["train", [*own, "run_dir=run"]],
        ["predict", arguments],
        ["predict", [*arguments, "trust=[my_project]"]],
    ]
    process = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
    )
    statuses = re.findall(r"(?m)^status (\w+) (\d+)$", process.stdout)
    assert statuses == [("train", "0"), ("train", "0"), ("predict", "1"), ("predict", "0")], process.stderr
    assert str(installed / "pix2pix_lightning" / "conf") in process.stdout
    assert "trust=[my_project]" in process.stderr  # why the first predict was refused
    assert (tmp_path / "out/input.png").stat().st_size > 0

    saved = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert saved["pix2pix_lightning"]["module"] == "my_project.parts.Module"
    assert saved["hyper_parameters"]["brightness_weight"] == 3.0
    assert saved["hyper_parameters"]["generator"]["in_channels"] == 3
    assert "train/charbonnier" in (tmp_path / "run/metrics.csv").read_text().splitlines()[0]
