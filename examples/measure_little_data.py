"""Measure what is meant for little or imperfect data: trainings with and without it, on few and on shifted pairs.

    python examples/measure_little_data.py <facades> <output> [--pairs 60 400] [--shifts 0 3] [--seeds 0 1]

Trains a small U-Net at 128x128 for each method, number of training pairs and shift, and evaluates the validation pairs,
which are never shifted. With a shift of 3, the target of each training pair is moved by -3 to 3 pixels in both
directions, a draw for each pair that stays the same in all epochs. What is finished is not repeated. Prints a table of
figures, and the difference to the first method with its paired 95 % bootstrap interval over the validation pairs; a
difference counts where the interval excludes 0 and all seeds have its sign.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import torch

from pix2pix_lightning import compose
from pix2pix_lightning.data.files.image_files import read_image, write_image
from pix2pix_lightning.evaluate import evaluate
from pix2pix_lightning.evaluation import bootstrap
from pix2pix_lightning.losses import ShiftTolerantL1
from pix2pix_lightning.train import train

METHODS = {
    "baseline": ["loss=l1_cgan", "augmentation=paper"],
    "strong": ["loss=l1_cgan", "augmentation=strong"],
    "diff_augment": ["loss=l1_cgan", "module.diff_augment=[color,translation,cutout]"],
    "pyramid_l1": ["loss=pyramid_l1_cgan"],
    "shift_tolerant_l1": ["loss=shift_tolerant_l1_cgan"],
}
SIZE = 128
WORDS = [
    *("experiment=facades", "generator=unet", f"data.size={SIZE}", "data.cache=true", "data.num_workers=0"),
    *("module.generator.base_channels=16", "module.discriminator.base_channels=16", "trainer=cpu"),
    *("callbacks.gallery=null", "callbacks.best=null", "callbacks.warn=null", "trainer.limit_val_batches=0"),
]
METRICS = ("l1", "psnr", "ssim", "shifted_l1")
BETTER = {"l1": -1, "psnr": 1, "ssim": 1, "shifted_l1": -1}


def main() -> None:
    """Make the folders of pairs, train and evaluate what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facades", type=Path, help="folder with train/ and val/ of strips, the target on the left")
    parser.add_argument("output", type=Path, help="folder of the pairs, the runs and the evaluations")
    parser.add_argument("--pairs", type=int, nargs="+", default=[60, 400], help="numbers of training pairs")
    parser.add_argument("--shifts", type=int, nargs="+", default=[0, 3], help="largest shifts in pixels at 128x128")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--images", type=int, default=2400, help="images that each training sees")
    parser.add_argument("--batch", type=int, default=2, help="pairs in a batch")
    arguments = parser.parse_args()
    folders = {}
    for count, shift in product(arguments.pairs, arguments.shifts):
        folders[count, shift] = arguments.output / f"pairs_{count}_shift_{shift}"
        if not folders[count, shift].is_dir():
            make_pairs(arguments.facades, folders[count, shift], count, shift)
    for seed, folder, method in product(arguments.seeds, folders.values(), arguments.methods):
        run = arguments.output / "runs" / f"{folder.name}_{method}_seed_{seed}"
        if not (run / "evaluation").is_dir():
            epochs = round(arguments.images / len(list((folder / "train").iterdir())))
            words = [f"data.root={folder}", f"data.batch_size={arguments.batch}", f"seed={seed}", f"run_dir={run}"]
            words += [f"trainer.max_epochs={epochs}", *([f"resume={run}"] if run.is_dir() else [])]
            train(compose("train", [*WORDS, *METHODS[method], *words]))
            evaluate(compose("evaluate", [f"checkpoint={run}/checkpoints/last.ckpt"]))
    for (count, shift), folder in folders.items():
        print(f"\n{count} pairs, targets shifted by up to {shift} pixels\n")
        print_table(arguments.output / "runs", folder.name, arguments.methods, arguments.seeds)


def make_pairs(facades: Path, folder: Path, count: int, shift: int) -> None:
    """Write a folder with the first training pairs, their targets shifted, and all validation pairs."""
    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(facades / "val", temporary / "val")
    (temporary / "train").mkdir()
    generator = np.random.default_rng(0)
    for path in sorted((facades / "train").iterdir(), key=lambda path: (len(path.stem), path.stem))[:count]:
        if not shift:
            shutil.copy(path, temporary / "train")
            continue
        target, source = np.split(read_image(path), 2, axis=1)
        limit = round(shift * len(target) / SIZE)
        down, right = generator.integers(0, 2 * limit + 1, 2)
        padded = np.pad(target, ((limit, limit), (limit, limit), (0, 0)), mode="reflect")
        moved = padded[down : down + target.shape[0], right : right + target.shape[1]]
        write_image(temporary / "train" / f"{path.stem}.png", np.concatenate([moved, source], 1))
    temporary.rename(folder)


def print_table(runs: Path, folder: str, methods: list[str], seeds: list[int]) -> None:
    """Print the figures of each method, and how they differ from the first one's."""
    scores = {method: [read_scores(runs / f"{folder}_{method}_seed_{seed}") for seed in seeds] for method in methods}
    print("| method | L1 | PSNR (dB) | SSIM | L1 at the best shift | gradient |\n|---|---|---|---|---|---|")
    for method, of_seeds in scores.items():
        figures = [np.mean([scores[metric].mean() for scores in of_seeds]) for metric in METRICS]
        gradient = np.mean([scores["gradient"].mean() for scores in of_seeds])
        print(f"| {method} | {' | '.join(f'{figure:.4f}' for figure in figures)} | {gradient:.2f} |")
    print("\n| less the baseline | L1 | PSNR (dB) | SSIM | L1 at the best shift |\n|---|---|---|---|---|")
    for method in methods[1:]:
        cells = []
        for metric in METRICS:
            differences = np.stack(
                [own[metric] - other[metric] for own, other in zip(scores[method], scores[methods[0]], strict=True)]
            )
            mean, low, high = bootstrap(differences.mean(0))
            signs = np.sign(differences.mean(1))
            counts = low * high > 0 and abs(signs.sum()) == len(seeds)
            verdict = ("better" if np.sign(mean) == BETTER[metric] else "worse") if counts else "no effect"
            each = ", ".join(f"{value:+.4f}" for value in differences.mean(1))
            cells.append(f"{mean:+.4f} ({low:+.4f} to {high:+.4f}; seeds {each}): {verdict}")
        print(f"| {method} | {' | '.join(cells)} |")


def read_scores(run: Path) -> dict[str, np.ndarray]:
    """Read the values of each validation pair, and compute L1 at the shift that fits best, up to 3 pixels."""
    (evaluation,) = (run / "evaluation").iterdir()
    with (evaluation / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = {name: np.array([float(row[name]) for row in rows]) for name in ("l1", "psnr", "ssim", "gradient")}
    loss, shifted = ShiftTolerantL1(max_shift=3), []
    for folder in sorted((evaluation / "images").iterdir()):
        output, target = (
            torch.from_numpy(read_image(folder / f"{name}.png")).permute(2, 0, 1)[None] / 255
            for name in ("output", "target")
        )
        shifted.append(loss(output, target).item())
    return {**scores, "shifted_l1": np.array(shifted)}


if __name__ == "__main__":
    main()
