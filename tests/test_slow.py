"""What takes minutes: ``make test-slow``."""

import csv
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

from pix2pix_lightning import Translator
from pix2pix_lightning.data.procedural import ProceduralPairs
from pix2pix_lightning.metrics import CheckerboardRatio

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def outside():
    """The environment of a user: all cores, no traces of this process."""
    return {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "PYTHONPATH")}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_quickstart_learns(tmp_path, capfd, seed):
    words = ["experiment=quickstart", f"seed={seed}", "run_dir=run"]
    command = [sys.executable, "-m", "pix2pix_lightning.train", *words]
    subprocess.run(command, cwd=tmp_path, env=outside(), check=True)
    with (tmp_path / "run/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/l1"]]
    first, last = rows[0], rows[-1]
    with capfd.disabled():
        for name in ("val/l1", "val/psnr", "val/ssim"):
            print(f"\nseed {seed}: {name} {float(first[name]):.4f} -> {float(last[name]):.4f}", end="")
        grids = measure_grids(tmp_path / "run")
        print(f"\nseed {seed}: energy of grids of 2 and 4 pixels as a share of the photos' {grids}", end="")
    assert float(last["val/l1"]) <= 0.06
    assert float(last["val/ssim"]) >= 0.58
    assert max(grids) <= 1.2


def measure_grids(run):
    """Return `CheckerboardRatio` of 2 and of 4 pixels over the validation pairs."""
    translator = Translator(run, device="cpu")
    pairs = list(ProceduralPairs(24, size=128, split="val", num_looks=1))
    outputs, photos = (
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
        for images in ([translator(labels) for _, labels, _ in pairs], [photo for photo, _, _ in pairs])
    )
    return [CheckerboardRatio(period)(outputs, photos).item() for period in (2, 4)]


def test_the_wheel_in_an_empty_environment(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*words):
        process = subprocess.run([python, *words], cwd=elsewhere, env=outside(), capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return process.stdout

    run("-m", "pix2pix_lightning.train", "experiment=quickstart", "trainer.max_epochs=2", "run_dir=run")
    picture = next((elsewhere / "run/gallery/images").glob("*/input.png"))
    run("-m", "pix2pix_lightning.predict", "checkpoint=run", f"input={picture}", "output=out")
    assert (elsewhere / "out/input.png").is_file()
    run("-m", "pix2pix_lightning.predict", "checkpoint=builtin:facades", f"input={picture}", "output=shipped")
    assert (elsewhere / "shipped/input.png").is_file()
    run("-m", "pix2pix_lightning.evaluate", "checkpoint=run", "split=test")
    where = run("-c", "import pix2pix_lightning as p; p.Pix2PixModule; print(p.__file__)")
    assert str(tmp_path / "venv") in where
