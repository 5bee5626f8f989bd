#!/usr/bin/env bash
# torchmetrics: with normalize=True, InceptionScore, FID and KID cut floats off to levels of 8 bits instead of rounding them.
#
# Expected: an image of the levels 0 to 255, taken to [-1, 1] and back to [0, 1] in float32, reaches the network with its levels.
# Happens: the metrics compute (images * 255).byte(). What lies a rounding error below a whole level becomes the level below it:
#   63 of the 256 levels here, and all values between two levels become the lower one, so that outputs of a generator are half
#   a level darker on average than in a file that was rounded.
# Avoid: give uint8 images and normalize=False: (images * 127.5 + 127.5).round().clamp(0, 255).byte().
# Python 3.11, torchmetrics 1.9.0, torch 2.13.0 (CPU). InceptionScore does so for a network of one's own too, which shows it here
#   without weights; FID, KID and MiFID have the same line for their Inception.
# Seen 2026-11-29: 63 levels changed, all by -1
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 torchmetrics==1.9.0
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch
from torch import nn
from torchmetrics.image.inception import InceptionScore


class Recorder(nn.Module):
    """A network that keeps what it was given."""

    def forward(self, images):
        self.images = images
        return images.float().flatten(1)


levels = torch.arange(256).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
images = levels.float() / 127.5 - 1  # as a network is trained with
recorder = Recorder()
InceptionScore(feature=recorder, normalize=True).update((images + 1) / 2)
difference = recorder.images.int()[0, 0] - levels[0, 0]
print((difference != 0).sum().item(), "levels changed, by", difference[difference != 0].unique().tolist())
if (difference == 0).all():
    sys.exit("no longer as described")
PY
