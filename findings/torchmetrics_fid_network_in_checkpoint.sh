#!/usr/bin/env bash
# torchmetrics 1.9.0: a FID metric of a LightningModule puts its feature network into every checkpoint and among the parameters.
#
# Expected: a metric adds nothing to the checkpoint, since the states of metrics are not persistent by default.
# Happens: FrechetInceptionDistance(feature=network) holds the network as a submodule. Its weights are saved with the module's,
#   self.parameters() gives them to the optimizer, and strict loading fails in a module that is built without the metric.
# Avoid: keep the metric out of the module's submodules, for example in a callback or a list.
# Python 3.11, torchmetrics 1.9.0, lightning 2.6.6, torch 2.13.0
# Seen 2026-11-28: keys without FID: 2, with FID: 4; trainable numbers without: 2, with: 49170; strict loading fails: True
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/lib" torch==2.13.0 lightning==2.6.6 torchmetrics==1.9.0
PYTHONPATH="$tmp/lib" python3 - "$tmp" 2>"$tmp/warnings" <<'PY' || { cat "$tmp/warnings" >&2; exit 1; }
import pathlib
import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from torchmetrics.image.fid import FrechetInceptionDistance


class FeatureNetwork(torch.nn.Module):
    num_features = 16

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3 * 32 * 32, self.num_features)

    def forward(self, images):
        return self.layer(images.float().flatten(1))


class Module(LightningModule):
    def __init__(self, with_fid):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        if with_fid:
            self.fid = FrechetInceptionDistance(feature=FeatureNetwork(), input_img_size=(3, 32, 32))


def save(with_fid):
    module = Module(with_fid)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(module)
    path = pathlib.Path(sys.argv[1], f"{with_fid}.ckpt")
    trainer.save_checkpoint(path)
    trainable = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    return path, torch.load(path, weights_only=True)["state_dict"], trainable


_, plain, trainable_plain = save(False)
path, weights, trainable = save(True)
try:
    Module.load_from_checkpoint(path, with_fid=False)
    fails = False
except RuntimeError:
    fails = True
print(
    f"keys without FID: {len(plain)}, with FID: {len(weights)}; "
    f"trainable numbers without: {trainable_plain}, with: {trainable}; strict loading fails: {fails}"
)
assert len(plain) == 2 and "fid.inception.layer.weight" in weights and fails, "no longer as described"
assert trainable_plain == 2 and trainable == 49170, "no longer as described"
PY
