"""A small project that installs the wheel and brings parts of its own, at every extension point."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers import make_strips
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.data.files.image_files import read_image

ROOT = Path(__file__).parents[1]
PROJECT = {
    "my_project/__init__.py": "",
    "my_project/parts.py": """
import albumentations
import torch
from torch import nn
from torch.nn.functional import softplus
from torchmetrics import Metric
from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.losses import AdversarialLoss


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


class RelativisticPairs(AdversarialLoss):
    needs_real_logits = True

    def discriminator_loss(self, real, fake):
        assert real.shape == fake.shape and real.ndim == 4  # a single map, whatever the discriminator returns
        return softplus(fake - real).mean()

    def generator_loss(self, fake, real=None):
        return self.discriminator_loss(fake, real)


class ShareWithinTenth(Metric):
    higher_is_better = True
    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds, target):
        self.total += ((preds - target).abs() < 0.1).float().mean((1, 2, 3)).sum()
        self.count += len(preds)

    def compute(self):
        return self.total / self.count


class MeanColour(nn.Module):
    num_features = 3

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return self.scale * images.float().mean((2, 3))


class Darken(albumentations.ImageOnlyTransform):
    def __init__(self, divisor, p=1.0):
        super().__init__(p=p)
        self.divisor = divisor

    def apply(self, img, **params):
        return img // self.divisor


class Module(Pix2PixModule):
    def __init__(self, *args, brightness_weight=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters("brightness_weight")

    def training_step(self, batch, batch_idx):
        assert batch["source"].max() < -0.49 and batch["target"].max() > 0  # the source alone is darkened
        return super().training_step(batch, batch_idx)

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
    "conf/adversarial/pairs.yaml": """
# @package module.adversarial
_target_: my_project.parts.RelativisticPairs
""",
    "conf/module/mine.yaml": """
defaults: [pix2pix]
_target_: my_project.parts.Module
brightness_weight: 3.0
metrics:
- l1
- _target_: my_project.parts.ShareWithinTenth
- _target_: torchmetrics.image.fid.FrechetInceptionDistance
  normalize: true
  feature: {_target_: my_project.parts.MeanColour}
""",
    "conf/experiment/mine.yaml": """
# @package _global_
defaults:
  - override /data: folder
  - override /module: mine
  - override /generator: three_layers
  - override /discriminator: multi_scale
  - override /adversarial: pairs
  - override /loss: charbonnier_cgan
  - override /trainer: cpu
data:
  root: pairs
  size: 32
  num_workers: 0
  augmentation: [{_target_: my_project.parts.Darken, divisor: 4, sides: source}]
module:
  discriminator: {base_channels: 2, num_layers: 1}
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
    package_data = {"conf/train.yaml", "py.typed", "checkpoints/weights/facades.ckpt"}
    assert {f"pix2pix_lightning/{name}" for name in package_data} <= names
    assert not any(name.startswith(("tests", "conf/")) for name in names)
    return folder / "site"


COMMANDS = """
import json, sys
import pix2pix_lightning
from pix2pix_lightning import evaluate, predict, train

print("package", pix2pix_lightning.__file__)
for name, words in json.loads(sys.argv[1]):
    command = {"evaluate": evaluate, "predict": predict, "train": train}[name]
    print(f"status {name}", command.main(words), flush=True)
    if name == "train":
        unused = "gradio huggingface_hub matplotlib onnx pandas safetensors skimage tensorboard wandb".split()
        print("loaded for nothing", [name for name in unused if name in sys.modules])
"""
OWN_METRICS = """[
    l1,
    {_target_: my_project.parts.ShareWithinTenth},
    {_target_: torchmetrics.image.fid.FrechetInceptionDistance, normalize: true,
     feature: {_target_: my_project.parts.MeanColour}}]"""
DIRECTIONS = {"l1": "lower", "share_within_tenth": "higher", "frechet_inception_distance": "lower"}


def test_a_project_of_ones_own(installed, tmp_path):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    make_strips(tmp_path / "pairs", train=2, val=2)

    predict_words = ["checkpoint=run", "input=run/gallery/images/000_val_0/input.png", "output=out"]
    trust = "trust=[my_project]"
    metrics = " ".join(OWN_METRICS.split())
    commands = [
        ["train", ["--config-dir", "conf", "experiment=mine", "run_dir=run"]],
        ["train", ["resume=run"]],
        ["train", ["resume=run", trust]],
        ["predict", predict_words],
        ["predict", [*predict_words, trust]],
        ["evaluate", ["checkpoint=run", "output=measured", f"metrics={metrics}", trust]],
    ]
    process = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
    )
    statuses = re.findall(r"(?m)^status (\w+) (\d+)$", process.stdout)
    assert statuses == [
        *(("train", status) for status in "010"),
        ("predict", "1"),
        ("predict", "0"),
        ("evaluate", "0"),
    ], process.stderr
    assert process.stdout.count("loaded for nothing []\n") == 3, process.stdout
    assert f"package {installed / 'pix2pix_lightning'}" in process.stdout
    assert process.stderr.count(trust) == 2  # why the second train and the first predict were refused
    assert (tmp_path / "out/input.png").stat().st_size > 0

    saved = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert saved["pix2pix_lightning"]["module"] == "my_project.parts.Module"
    assert saved["hyper_parameters"]["brightness_weight"] == 3.0
    assert saved["hyper_parameters"]["generator"]["in_channels"] == 3
    assert saved["hyper_parameters"]["adversarial"]["_target_"] == "my_project.parts.RelativisticPairs"
    logged = (tmp_path / "run/metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/charbonnier", *(f"val/{name}" for name in DIRECTIONS)} <= set(logged)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert {f"val/{name}" for name in DIRECTIONS} <= summary["metrics"].keys(), summary

    check_evaluation(tmp_path / "measured")


def check_evaluation(folder):
    """The own metrics have values and directions in the file, and the page lists them."""
    results = json.loads((folder / "metrics.json").read_text())
    assert {name: info["direction"] for name, info in results["metric_info"].items()} == DIRECTIONS
    shares, means = [], {"output": [], "target": []}
    for pair in sorted((folder / "images").iterdir()):
        images = {kind: read_image(pair / f"{kind}.png") / 255 for kind in means}
        shares.append((np.abs(images["output"] - images["target"]) < 0.1).mean())
        for kind, image in images.items():
            means[kind].append(2 * image.mean((0, 1)))
    assert results["metrics"]["share_within_tenth"]["mean"] == pytest.approx(np.mean(shares), abs=1e-4)
    assert results["metrics"]["frechet_inception_distance"]["mean"] == pytest.approx(compute_fid(**means), rel=1e-3)
    page = (folder / "index.html").read_text()
    assert "ShareWithinTenth" in page
    assert "FrechetInceptionDistance" in page


def compute_fid(output, target):
    """The Frechet distance of two Gaussians (Heusel et al., arXiv 1706.08500, equation 6)."""
    (mean_a, cov_a), (mean_b, cov_b) = ((np.mean(x, 0), np.cov(x, rowvar=False)) for x in (output, target))
    roots = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).astype(complex)).real
    return ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b) - 2 * roots.sum()
