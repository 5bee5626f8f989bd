"""Memory stays what it is over thousands of steps: ``make test-slow``."""

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from helpers import TINY, make_strips

EPOCHS, BATCHES, WARM = 50, 100, 10
FREE = 4 * 2**20  # bytes: pages that the allocator holds at one moment and not at another


class Sampler(Callback):
    """At the start of each epoch, when memory that is free was given back: resident bytes, tensors and objects."""

    def on_train_epoch_start(self, trainer, pl_module):
        trainer.strategy.checkpoint_io.teardown()  # what is being written is held in memory
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        objects = gc.get_objects()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in objects)
        with Path("samples.jsonl").open("a") as file:
            print(json.dumps([pages * os.sysconf("SC_PAGE_SIZE"), tensors, len(objects)]), file=file)


def median(values):
    return sorted(values)[len(values) // 2]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_memory_is_flat_over_5000_steps(tmp_path):
    make_strips(tmp_path / "pairs", train=BATCHES, val=2)
    words = [*TINY, "data.root=pairs", "run_dir=run", "data.batch_size=1", f"trainer.max_epochs={EPOCHS}"]
    words += [
        "module.generator.num_downs=3",
        "trainer.log_every_n_steps=5",
        "+callbacks.sampler._target_=test_soak.Sampler",
    ]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pix2pix_lightning.train", *words]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, check=True)
    assert (tmp_path / f"run/gallery/images/000_val_0/epoch_{EPOCHS - 1:04d}.png").is_file()
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == EPOCHS
    early, late = (
        [median(column) for column in zip(*part, strict=True)] for part in (samples[WARM : WARM + 10], samples[-10:])
    )
    memory, tensors, objects = (after - before for before, after in zip(early, late, strict=True))
    print(f"in {(EPOCHS - WARM - 10) * BATCHES} steps: {memory} bytes, {tensors} tensors, {objects} objects more")
    assert tensors == 0
    assert objects <= 5 * EPOCHS
    assert memory <= FREE
