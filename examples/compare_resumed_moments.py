"""Compare a training that is not stopped with ones that are resumed from exact and from rounded moments.

python examples/compare_resumed_moments.py --folder runs/moments

Drawn facades (experiment=quickstart). A finished training in the folder is not repeated.
"""

import argparse
import csv
from pathlib import Path

import torch

from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.train import train

ROUNDED = "saving.moments=bfloat16"


def main() -> None:
    """Print a line for each way to train: metrics of the last epochs, and how far weights are from the first way's."""
    parser = argparse.ArgumentParser(description="trainings that are resumed from exact and from rounded moments")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10, help="at least 2 and even")
    parser.add_argument("--only", nargs="*", help="numbers of the ways, from 0")
    parser.add_argument("words", nargs="*", help="further keys of train")
    arguments = parser.parse_args()
    epochs = arguments.epochs
    each, once = list(range(1, epochs + 1)), [epochs // 2, epochs]
    ways = {
        "not stopped": ([epochs], []),
        "exact, resumed each epoch": (each, []),
        "bfloat16, resumed once": (once, [ROUNDED]),
        "bfloat16, resumed each epoch": (each, [ROUNDED]),
        "not stopped, other rounding (speed=off)": ([epochs], ["speed=off"]),
        "not stopped, seed 1": ([epochs], ["seed=1"]),
    }
    base = ["experiment=quickstart", "callbacks.gallery=null", "callbacks.progress=null", *arguments.words]
    base += [] if epochs == 10 else [f"module.schedule.hold_epochs={epochs - epochs // 2}"]
    base += [] if epochs == 10 else [f"module.schedule.decay_epochs={epochs // 2}"]
    print("| training | val/l1, last epoch | mean of the last three | distance of the weights | checkpoint, MB |")
    print("|---|---|---|---|---|")
    for number, (name, (stops, words)) in enumerate(ways.items()):
        folder = arguments.folder / str(number)
        if not arguments.only or str(number) in arguments.only:
            for stop in stops:
                own = [f"run_dir={folder}", "resume=auto", f"trainer.max_epochs={stop}"]
                train(compose("train", [*base, *words, *own]))
        if (folder / "metrics.csv").is_file():
            print(f"| {name} | {' | '.join(describe(folder, arguments.folder / '0'))} |", flush=True)


def describe(folder: Path, reference: Path) -> list[str]:
    """Return the columns of a run: its metrics, its weights next to those of another run, its size."""
    with (folder / "metrics.csv").open(newline="") as file:
        values = [float(row["val/l1"]) for row in csv.DictReader(file) if row["val/l1"]]
    own, other = (read_weights(one) for one in (folder, reference))
    distance = (own - other).norm() / other.norm()
    size = (folder / "checkpoints/last.ckpt").stat().st_size
    return [f"{values[-1]:.5f}", f"{sum(values[-3:]) / 3:.5f}", f"{distance:.2%}", f"{size / 1e6:.1f}"]


def read_weights(folder: Path) -> torch.Tensor:
    """Return all weights of both networks as one vector."""
    state = read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
    return torch.cat([value.double().flatten() for value in state.values()])


if __name__ == "__main__":
    main()
