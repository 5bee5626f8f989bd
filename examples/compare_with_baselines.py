"""Compare trained runs with predictors that need no network.

    python examples/compare_with_baselines.py <data folder> <run folder> [<run folder> ...]

Prints, for the validation pairs, L1, PSNR, SSIM and the mean gradient magnitude as a share of the targets', for an
untrained network, the mean training target, each label colour's mean training colour, and each run's last
checkpoint; and for each run the difference in L1 to every baseline with its paired 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from pix2pix_lightning import PairedDataModule, Pix2PixModule, Translator
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.evaluation import bootstrap
from pix2pix_lightning.metrics import build_metric

_METRICS = {name: build_metric(name, eight_bit=True) for name in ("l1", "psnr", "ssim", "gradient")}


def main() -> None:
    """Read the runs, measure them and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train/ and val/")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, all with the same data settings")
    arguments = parser.parse_args()

    cfg = OmegaConf.load(arguments.runs[0] / "config.yaml")
    train, val = (read_pairs(cfg, arguments.data, split) for split in ("train", "val"))
    targets = val[1]
    predictions = {
        "untrained network": translate_all(build_untrained(arguments.runs[0]), val[0]),
        "mean training photo": np.broadcast_to(np.rint(train[1].mean(0)).astype(np.uint8), targets.shape),
        "each label colour's mean": predict_mean_colours(train, val[0]),
    }
    baselines = list(predictions)
    for run in arguments.runs:
        predictions[run.name] = translate_all(Translator(run / "checkpoints/last.ckpt"), val[0])
    scores = {name: measure(images, targets) for name, images in predictions.items()}

    print("| predictor | L1 | PSNR (dB) | SSIM | gradient, share of the targets' |\n|---|---|---|---|---|")
    for predictor, values in scores.items():
        figures = [metric.compute_value(torch.from_numpy(values[name].mean(0))) for name, metric in _METRICS.items()]
        print(f"| {predictor} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |")
    print("\n| L1 of, less that of | mean | 95 % interval |\n|---|---|---|")
    for run in arguments.runs:
        for baseline in [*baselines[1:], *(other.name for other in arguments.runs if other != run)]:
            mean, low, high = bootstrap(scores[run.name]["l1"] - scores[baseline]["l1"])
            print(f"| {run.name}, {baseline} | {mean:+.4f} | {low:+.4f} to {high:+.4f} |")


def read_pairs(cfg, root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read sources and targets of a split at the runs' size, (N, H, W, 3) uint8 each."""
    options = {key: cfg.data[key] for key in ("direction", "size")}
    data = PairedDataModule(root, **options, jitter=False, mirror=False, num_workers=0, val_split=split)
    data.setup("validate")
    samples = list(data.val_dataloader())
    return tuple(
        torch.cat([sample[side] for sample in samples]).permute(0, 2, 3, 1).numpy() for side in ("source", "target")
    )


def build_untrained(run: Path) -> Translator:
    """Build the run's network with its initial weights."""
    hparams = Pix2PixModule.load_from_checkpoint(run / "checkpoints/last.ckpt").hparams
    return Translator(Pix2PixModule(**hparams))


def translate_all(translator: Translator, sources: np.ndarray) -> np.ndarray:
    """Translate images one at a time, (N, H, W, 3) uint8."""
    return np.stack([translator(source) for source in sources])


def predict_mean_colours(train: tuple[np.ndarray, np.ndarray], sources: np.ndarray) -> np.ndarray:
    """Predict for every pixel the mean colour of its label in the training targets."""
    labels = build_side(kind="label", palette=find_palette(train[0]))
    classes = np.stack([labels.prepare(source)[..., 0] for source in train[0]])
    colours = np.stack([train[1][classes == number].mean(0) for number in range(labels.channels)])
    return np.stack([np.rint(colours).astype(np.uint8)[labels.prepare(source)[..., 0]] for source in sources])


def find_palette(images: np.ndarray, *, least_share: float = 0.001, apart: int = 48) -> list[list[int]]:
    """Find the colours of label maps despite JPEG noise: frequent colours that are far from each other."""
    colours = Counter(map(tuple, (images.reshape(-1, 3) // 8 * 8 + 4).tolist()))
    palette: list[tuple[int, ...]] = []
    for colour, count in colours.most_common():
        if count < least_share * images.size / 3:
            break
        if all(np.abs(np.subtract(colour, other)).max() >= apart for other in palette):
            palette.append(colour)
    return [list(colour) for colour in palette]


def measure(images: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the statistics of each metric for each image."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in _METRICS}
    for image, target in zip(images, targets, strict=True):
        a, b = (torch.from_numpy(x.copy()).permute(2, 0, 1)[None].double() / 255 for x in (image, target))
        for name, metric in _METRICS.items():
            rows[name].append(metric.compute_statistics(a, b)[0].numpy())
    return {name: np.stack(of_images) for name, of_images in rows.items()}


if __name__ == "__main__":
    main()
