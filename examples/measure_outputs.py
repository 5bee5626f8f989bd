"""Measure the pictures of an evaluation again, from its files alone, and compare with what metrics.json says.

    python examples/measure_outputs.py <folder of an evaluation> [<folder of an evaluation> ...]

Reads images/<name>/output.png and target.png. L1, PSNR and SSIM are computed here; the perceptual distance
and KID by the network that the evaluation names. Prints the value of the files and the difference
to the evaluation's, and exits with 1 where one is above 1e-6.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.metrics import build_named_metrics

LIMIT = 1e-6


def main(folders: list[str]) -> int:
    """Print a line for each metric of each evaluation, and return the exit status."""
    if not folders:
        sys.exit("give the folder of an evaluation")
    is_equal = True
    print("| evaluation | metric | of the files | difference |\n|---|---|---|---|")
    for folder in map(Path, folders):
        facts = json.loads((folder / "metrics.json").read_text())
        values = measure_files(folder, facts["metrics"], facts.get("features"))
        for name, value in values.items():
            difference = abs(value - facts["metrics"][name]["mean"])
            is_equal &= difference <= LIMIT  # NaN is not
            print(f"| {folder} | {name} | {value:.7f} | {difference:.1e} |")
    return int(not is_equal)


def measure_files(folder: Path, wanted: dict[str, object], features: str | None) -> dict[str, float]:
    """Return the values of the metrics that can be computed here, of those that are wanted."""
    pairs = [read_pair(pair) for pair in sorted((folder / "images").iterdir())]
    judges = build_named_metrics([name for name in ("perceptual", "kid") if name in wanted], features=features)
    rows = []
    for output, target in pairs:
        squares = np.square(output.numpy() - target.numpy()).mean()
        l1 = np.abs(output.numpy() - target.numpy()).mean()
        rows.append((l1, -10 * np.log10(squares), compute_ssim(output[0], target[0])))
        for judge in judges.values():
            judge.update(output.float(), target.float())
    means = dict(zip(("l1", "psnr", "ssim"), np.mean(rows, 0).tolist(), strict=True))
    values = {name: value for name, value in means.items() if name in wanted}
    return values | {name: float(judge.compute()) for name, judge in judges.items()}


def compute_ssim(one: Tensor, other: Tensor) -> float:
    """Return the structural similarity of images (C, H, W), over windows of 11 x 11 that lie in the image."""
    places = torch.arange(-5, 6, dtype=torch.float64)
    row = torch.exp(-places.square() / (2 * 1.5**2))
    window = torch.outer(row, row)[None, None] / row.sum() ** 2
    kinds = [one, other, one * one, other * other, one * other]
    mean, mean_other, square, square_other, product = (F.conv2d(kind[:, None], window) for kind in kinds)
    small, large = 0.01**2, 0.03**2
    above = (2 * mean * mean_other + small) * (2 * (product - mean * mean_other) + large)
    variances = square - mean * mean + square_other - mean_other * mean_other
    below = (mean * mean + mean_other * mean_other + small) * (variances + large)
    return float((above / below).mean())


def read_pair(folder: Path) -> tuple[Tensor, Tensor]:
    """Return output and target, (1, C, H, W) float64 in [0, 1]."""
    arrays = [read_image(folder / f"{name}.png") for name in ("output", "target")]
    if any(array.dtype != np.uint8 for array in arrays):
        sys.exit(
            f"{folder} has images of {arrays[0].dtype} and {arrays[1].dtype}: only those of uint8 are measured here"
        )
    images = map(torch.from_numpy, arrays)
    output, target = ((image if image.ndim == 3 else image[..., None]).permute(2, 0, 1)[None] / 255 for image in images)
    return output.double(), target.double()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
