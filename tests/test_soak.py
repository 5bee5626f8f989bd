"""A process stays what it is over thousands of steps: ``make test-slow``, and longer by ``make soak``."""

import csv
import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from statistics import mean, median

import pytest
import torch
from lightning.pytorch import Callback

from helpers import make_strips
from tiny_training import SMALLEST

STEPS, BATCHES = int(os.environ.get("SOAK_STEPS", "5000")), 100  # in all, and in an epoch
EPOCHS, WARM, WINDOW = STEPS // BATCHES, min(2000, STEPS // 5) // BATCHES, 10
SHARE = 1.02  # what may be taken at the end, of what was taken after the first epochs


class Sampler(Callback):
    """At the start of each epoch, when memory that is free was given back: what the process and the run take."""

    def on_train_epoch_start(self, trainer, pl_module):
        trainer.strategy.checkpoint_io.teardown()  # what is being written is held in memory
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        objects = gc.get_objects()
        sample = {
            "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
            "tensors": sum(issubclass(type(thing), torch.Tensor) for thing in objects),
            "objects": len(objects),
            "open files": len(list(Path("/proc/self/fd").iterdir())),
            "threads": threading.active_count(),
            "threads of the system": len(list(Path("/proc/self/task").iterdir())),
            "bytes of train.log": Path("run/train.log").stat().st_size,
            "bytes of checkpoints": sum(path.stat().st_size for path in Path("run/checkpoints").glob("*")),
            "files besides the gallery": sum("gallery" not in path.parts for path in Path("run").rglob("*")),
        }
        with Path("samples.jsonl").open("a") as file:
            print(json.dumps(sample), file=file)


def read_row_sizes(path):
    """The bytes of each row of a table, without the numbers of epoch and step, which grow."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [sum(len(value) + 1 for name, value in row.items() if name not in ("epoch", "step")) for row in rows]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_a_long_training_takes_no_more_than_a_short_one(tmp_path):
    make_strips(tmp_path / "pairs", train=BATCHES, val=2, side=20)
    words = [*SMALLEST, "data.root=pairs", "run_dir=run", "data.batch_size=1", f"trainer.max_epochs={EPOCHS}"]
    words += ["trainer.log_every_n_steps=5", "+callbacks.sampler._target_=test_soak.Sampler"]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pix2pix_lightning.train", *words]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, check=True)
    assert (tmp_path / f"run/gallery/images/000_val_0/epoch_{EPOCHS - 1:04d}.png").is_file()
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == EPOCHS
    rows = read_row_sizes(tmp_path / "run/metrics.csv")
    assert len(rows) == STEPS // 5
    parts = slice(WARM, WARM + WINDOW), slice(EPOCHS - WINDOW, EPOCHS)
    taken = {name: [median(sample[name] for sample in samples[part]) for part in parts] for name in samples[0]}
    logged = [sample["bytes of train.log"] for sample in samples]  # it gets a line for each epoch
    taken["bytes of train.log"] = [(logged[part][-1] - logged[part][0]) / (WINDOW - 1) for part in parts]
    share = len(rows) // EPOCHS
    taken["bytes of a row"] = [mean(rows[share * part.start : share * part.stop]) for part in parts]
    print(f"after {WARM * BATCHES} and after {STEPS} steps:", json.dumps(taken, indent=2))
    for name, (before, after) in taken.items():
        assert after <= before * SHARE, name
    assert taken["tensors"][0] == taken["tensors"][1]
