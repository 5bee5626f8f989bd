"""Measure what is meant for little or imperfect data: trainings with and without it, on few and on shifted pairs.

    python examples/measure_little_data.py <facades> <output> [--pairs 60 400] [--shifts 0 3] [--seeds 0 1]

Trains a small U-Net at 128x128 for each method, number of training pairs and shift, and evaluates the validation pairs,
which are never shifted. With a shift of 3, the target of each training pair is moved by -3 to 3 pixels in both
directions, a draw for each pair that stays the same in all epochs. What is finished is not repeated. Prints a table of
figures and one of differences to the baseline, with 95 % intervals: by bootstrap over the validation pairs for a number
of pairs and a shift, and Student's over the trainings of a shift.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy import stats

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
    "pyramid_l1_weight_400": ["loss=pyramid_l1_cgan", "module.weights.pyramid_l1=400"],  # 100 for the finest scale
    "shift_tolerant_l1": ["loss=shift_tolerant_l1_cgan"],
}
SIZE = 128
WORDS = [
    *("experiment=facades", "generator=unet", f"data.size={SIZE}", "data.cache=true", "data.num_workers=0"),
    *("module.generator.base_channels=16", "module.discriminator.base_channels=16", "trainer=cpu"),
    *("callbacks.gallery=null", "callbacks.best=null", "callbacks.warn=null", "trainer.limit_val_batches=0"),
]
METRICS = {"l1": 4, "psnr": 2, "ssim": 3, "shifted_l1": 4}  # digits that are printed


def main() -> None:
    """Make the folders of pairs, train and evaluate what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facades", type=Path, help="folder with train/ and val/ of strips, the target on the left")
    parser.add_argument("output", type=Path, help="folder of the pairs, the runs and the evaluations")
    parser.add_argument("--pairs", type=int, nargs="+", default=[60, 400], help="numbers of training pairs")
    parser.add_argument("--shifts", type=int, nargs="+", default=[0, 3], help="largest shifts in pixels at 128x128")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--images", type=int, default=1600, help="images that each training sees")
    parser.add_argument("--batch", type=int, default=2, help="pairs in a batch")
    parser.add_argument("--only-print", action="store_true", help="print what is finished, and train nothing")
    arguments = parser.parse_args()
    folders = {}
    for count, shift in product(arguments.pairs, arguments.shifts):
        folders[count, shift] = arguments.output / f"pairs_{count}_shift_{shift}"
        if not folders[count, shift].is_dir():
            make_pairs(arguments.facades, folders[count, shift], count, shift)
    for seed, folder, method in product(arguments.seeds, folders.values(), arguments.methods):
        run = find_run(arguments.output, folder, method, seed)
        if not (run / "evaluation").is_dir() and not arguments.only_print:
            epochs = round(arguments.images / len(list((folder / "train").iterdir())))
            words = [f"data.root={folder}", f"data.batch_size={arguments.batch}", f"seed={seed}", f"run_dir={run}"]
            words += [f"trainer.max_epochs={epochs}", *([f"resume={run}"] if run.is_dir() else [])]
            train(compose("train", [*WORDS, *METHODS[method], *words]))
            evaluate(compose("evaluate", [f"checkpoint={run}/checkpoints/last.ckpt"]))
    chosen = product(folders, arguments.methods, arguments.seeds)
    runs = {
        (*pairs, method, seed): find_run(arguments.output, folders[pairs], method, seed)
        for pairs, method, seed in chosen
    }
    scores = {key: read_scores(run) for key, run in runs.items() if (run / "evaluation").is_dir()}
    print_figures(scores)
    print_differences(scores)


def find_run(output: Path, folder: Path, method: str, seed: int) -> Path:
    """Return the folder of a training."""
    return output / "runs" / f"{folder.name}_{method}_seed_{seed}"


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


def print_figures(scores: dict[tuple[int, int, str, int], dict[str, np.ndarray]]) -> None:
    """Print the mean figures of each number of pairs, shift and method."""
    print("| pairs | shift | method | trainings | L1 | PSNR (dB) | SSIM | L1 at the best shift | gradient |")
    print("|---|---|---|---|---|---|---|---|---|")
    for count, shift, method in dict.fromkeys(key[:3] for key in scores):
        trainings = [values for key, values in scores.items() if key[:3] == (count, shift, method)]
        l1, psnr, ssim, shifted, gradient = (
            np.mean([values[metric].mean() for values in trainings]) for metric in (*METRICS, "gradient")
        )
        figures = f"{l1:.4f} | {psnr:.2f} | {ssim:.3f} | {shifted:.4f} | {gradient:.2f}"
        print(f"| {count} | {shift} | {method} | {len(trainings)} | {figures} |")


def print_differences(scores: dict[tuple[int, int, str, int], dict[str, np.ndarray]]) -> None:
    """Print what each method has more than the baseline of the same pairs and seed.

    A row of one number of pairs has the bootstrap interval over the validation pairs. It does not contain that two
    trainings differ; Student's interval over all trainings of a shift does.
    """
    names = {"l1": "L1", "psnr": "PSNR (dB)", "ssim": "SSIM", "shifted_l1": "L1 at the best shift"}
    print(f"\n| less the baseline | shift | pairs | {' | '.join(names.values())} |\n|---|---|---|---|---|---|---|")
    for method, shift in dict.fromkeys((key[2], key[1]) for key in scores if key[2] != "baseline"):
        own = [key for key in scores if key[1:3] == (shift, method) and (key[0], shift, "baseline", key[3]) in scores]
        differences = {
            key: {name: scores[key][name] - scores[key[0], shift, "baseline", key[3]][name] for name in METRICS}
            for key in own
        }
        for count in dict.fromkeys(key[0] for key in own):
            of_count = [values for key, values in differences.items() if key[0] == count]
            cells = [
                format_cell(bootstrap(np.mean([values[name] for values in of_count], 0)), digits)
                for name, digits in METRICS.items()
            ]
            print(f"| {method} | {shift} | {count} | {' | '.join(cells)} |")
        if len(own) > 1:
            cells = []
            for name, digits in METRICS.items():
                means = [values[name].mean() for values in differences.values()]
                reach = stats.t.ppf(0.975, len(means) - 1) * stats.sem(means)
                cells.append(format_cell((np.mean(means), np.mean(means) - reach, np.mean(means) + reach), digits))
            print(f"| {method} | {shift} | {len(own)} trainings | {' | '.join(cells)} |")


def format_cell(interval: tuple[float, float, float], digits: int) -> str:
    """Format a difference and its interval, bold where the interval excludes 0."""
    mean, low, high = interval
    mark = "**" if low * high > 0 else ""
    return f"{mark}{mean:+.{digits}f}{mark} ({low:+.{digits}f} to {high:+.{digits}f})"


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
