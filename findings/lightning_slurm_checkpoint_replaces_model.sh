#!/usr/bin/env bash
# Lightning: in a Slurm job, `trainer.test(model)` and `trainer.validate(model)` replace the model's weights by those of
# `hpc_ckpt_1.ckpt`, if the current folder has one.
#
# Expected: the given model is measured. The file is what Lightning writes before a job is requeued, for that training alone.
# Happens: every later job in the folder takes it, whatever it does and whichever model it gives: the figures of `test` are those
# of other weights, and `fit` of a new model goes on with the old epoch. The path of the checkpoint is logged as information.
# Avoid: a folder of its own for each run (default_root_dir), or remove the file when the requeued job is done.
# Python 3.11, lightning 2.6.6, torch 2.13.0 (CPU)
# Seen 2026-11-28, a model whose weight is 2, beside a file of one whose weight is 1: without Slurm's variables test gives 2,
# with them test and validate give 1
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet lightning==2.6.6 torch==2.13.0 numpy
cd "$tmp"
"$tmp/venv/bin/python" - <<'PY'
import logging
import os
import sys
import warnings

import lightning
import torch
from lightning.pytorch import LightningModule, Trainer

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Model(LightningModule):
    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def training_step(self, batch):
        return self.weight * batch.sum()

    def test_step(self, batch):
        self.log("weight", self.weight)

    validation_step = test_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def build_trainer():
    return Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False)


def measure(command):
    (values,) = getattr(build_trainer(), command)(Model(2.0), loader, verbose=False)
    return values["weight"]


loader = torch.utils.data.DataLoader(torch.ones(2, 1))
first = build_trainer()
first.fit(Model(1.0), loader)
first.save_checkpoint("hpc_ckpt_1.ckpt")  # the name that Lightning gives before it requeues a job
found = [measure("test")]
os.environ |= {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
os.environ |= {"SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost", "SLURM_NTASKS_PER_NODE": "1"}
found += [measure("test"), measure("validate")]
print("lightning", lightning.__version__, "without Slurm: test", found[0], "with Slurm: test", found[1], "validate", found[2])
if found != [2.0, 1.0, 1.0]:
    sys.exit("no longer as described")
PY
