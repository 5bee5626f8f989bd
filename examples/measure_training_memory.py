"""Measure the memory of a training step at a size.

python examples/measure_training_memory.py

Each case is a process of its own. `step` is the highest resident memory of a step on a batch in memory, beyond what the
process has before networks are built; `saved` is what autograd keeps for the backward pass.
"""

import argparse
import itertools
import json
import multiprocessing
import time
from pathlib import Path

import torch


def main() -> None:
    """Print a line for each case as it is measured."""
    parser = argparse.ArgumentParser(description="memory of a training step")
    parser.add_argument("--sides", type=int, nargs="+", default=[1024])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precisions", nargs="+", default=["32-true"], help="32-true bf16-mixed")
    parser.add_argument("--layouts", nargs="+", default=["contiguous", "channels_last"])
    parser.add_argument("--kept", nargs="+", default=["all", "checkpointed"], help="activations that are kept")
    parser.add_argument("--output", type=Path, help="a file that gets a JSON object per line")
    arguments = parser.parse_args()
    cases = itertools.product(
        arguments.precisions, arguments.sides, arguments.layouts, arguments.kept, arguments.batches
    )
    for precision, side, layout, kept, batch in cases:
        case = {"precision": precision, "side": side, "layout": layout, "kept": kept, "batch": batch}
        with multiprocessing.get_context("spawn").Pool(1) as own:
            case |= own.apply(measure, (side, batch, precision, layout == "channels_last", kept == "checkpointed"))
        print(" ".join(f"{key}={value}" for key, value in case.items()), flush=True)
        if arguments.output:
            with arguments.output.open("a") as file:
                file.write(json.dumps(case) + "\n")


def measure(side: int, batch: int, precision: str, channels_last: bool, checkpoint_activations: bool) -> dict:
    """Take a step whose optimizers have moments; figures are in MB, times in seconds."""
    from pix2pix_lightning import compose
    from pix2pix_lightning.benchmark.bare_step import build_bare_step
    from pix2pix_lightning.benchmark.memory import PeakMemory, measure_memory_by_part

    switches = {"channels_last": channels_last, "checkpoint_activations": checkpoint_activations}
    words = [f"speed.{key}={str(value).lower()}" for key, value in switches.items()]
    words += [f"data.size={side}", f"data.batch_size={batch}", "generator=unet", "trainer.accelerator=cpu"]
    words += ["data.num_train=2", "data.num_val=1", "data.num_workers=0"]
    cfg = compose("train", ["speed=off", f"speed.precision={precision}", *words])
    cpu = torch.device("cpu")
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def draw_images(batch: int, side: int) -> list[torch.Tensor]:
        return [(torch.rand(batch, 3, side, side) * 2 - 1).contiguous(memory_format=layout) for _ in range(2)]

    images = draw_images(batch, side)
    with PeakMemory(cpu) as peak:
        step, _ = build_bare_step(cfg, cpu)
        step(*draw_images(1, 256))  # makes moments and gradients
        start = time.perf_counter()
        parts = measure_memory_by_part(step, *images)
        seconds = time.perf_counter() - start
        peak.stop()
    figures = {
        "step": peak.bytes,
        "saved": parts["activations"],
        **{key: parts[key] for key in ("weights", "optimizer")},
    }
    figures["narrowed"] = parts["narrowed_weights"]
    return {
        "num_downs": step.module.hparams["generator"]["num_downs"],
        **{key: round(value / 1e6) for key, value in figures.items()},
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
