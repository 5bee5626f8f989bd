#!/usr/bin/env bash
# lightning 2.6.6: logging a metric called `step` removes the automatic `epoch` from what the loggers get.
#
# Expected: a metric `step` replaces the x-axis of the loggers (as the docstring of log_metrics says), and nothing else changes.
# Happens: the loggers do not get `epoch` any more. The column is missing in the CSV file (the curve in TensorBoard or W&B),
#   without a warning, and plots over the epoch are empty.
# Avoid: log `epoch` yourself where you log `step`.
# Python 3.11, lightning 2.6.6, torch 2.13.0
# Seen 2026-11-28: without: ['epoch', 'loss', 'other', 'step'] steps ['0', '1', '2']; with: ['loss', 'step'] steps ['100', '101', '102']
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/lib" torch==2.13.0 lightning==2.6.6
PYTHONPATH="$tmp/lib" python3 - "$tmp" 2>"$tmp/warnings" <<'PY' || { cat "$tmp/warnings" >&2; exit 1; }
import csv
import pathlib
import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger


class Module(LightningModule):
    def __init__(self, metric):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.metric = metric

    def training_step(self, batch, batch_index):
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        self.log(self.metric, 100.0 + batch_index)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(metric):
    logger = CSVLogger(sys.argv[1], name=metric)
    trainer = Trainer(
        max_epochs=1,
        logger=logger,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(metric), torch.utils.data.DataLoader(torch.ones(3, 1)))
    with pathlib.Path(logger.log_dir, "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return sorted(rows[0]), [row["step"] for row in rows]


columns, steps = train("other")
columns_with, steps_with = train("step")
print(f"without: {columns} steps {steps}; with: {columns_with} steps {steps_with}")
assert "epoch" in columns and "epoch" not in columns_with, "no longer as described"
assert steps == ["0", "1", "2"] and steps_with == ["100", "101", "102"], "no longer as described"
PY
