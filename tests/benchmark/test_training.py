import csv
import time
from pathlib import Path

import pytest
import torch

from helpers import TINY, make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.benchmark.training import run_training
from pix2pix_lightning.benchmark.turns import Contender
from pix2pix_lightning.training.monitor_choice import resolve_monitor
from pix2pix_lightning.training.run_logging import log_to_terminal

CPU = torch.device("cpu")


def configuration(tmp_path, *more):
    root = make_strips(tmp_path / "pairs", train=4)
    (tmp_path / "run").mkdir()
    return compose("train", [*TINY, f"data.root={root}", f"run_dir={tmp_path}/run", "seed=0", "speed=off", *more])


def test_batches_are_timed_and_the_loader_stopped_in_turns_of_others(tmp_path):
    cfg = configuration(tmp_path, "data.num_workers=1", "trainer.max_epochs=100", "data.batch_size=1")
    resolve_monitor(cfg)  # as building for another measurement has done
    training, other = (Contender(1, CPU, False, 0.0) for _ in range(2))
    states = []

    def work():
        for _ in range(500):  # at most 5 s, until the signal has arrived
            state = [Path(f"/proc/{w.pid}/stat").read_text().rpartition(")")[2].split()[0] for w in training.workers]
            if state == ["T"]:
                break
            time.sleep(0.01)
        states.append(state)

    other.work = work
    with log_to_terminal():
        run_training(cfg, training, [other], rounds=3)
    assert len(training.seconds) == len(other.seconds) == 3
    assert all(seconds > 0 for seconds in training.seconds)
    assert training.peak_memory is not None
    # the loader of the training was stopped during the other's turns
    assert states == [["T"]] * 6
    # logging stays; validation and checkpoints are left out
    with (tmp_path / "run" / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row.get("train/loss_g")]
    assert len(logged) == 8 + 3 * 2  # the first, then in each round one that does not count and one that does
    assert "val/l1" not in logged[0]
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    assert cfg.callbacks.best is not None  # the caller's configuration is unchanged


def test_training_shorter_than_the_rounds_is_an_error(tmp_path):
    cfg = configuration(tmp_path, "trainer.max_epochs=2")
    with log_to_terminal(), pytest.raises(ValueError, match=r"trainer\.max_epochs=2"):
        run_training(cfg, Contender(2, CPU, False, 0.0), [], rounds=3)
