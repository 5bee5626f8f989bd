#!/usr/bin/env bash
# torch: the gradient of L1Loss is 0 where the target is NaN, although the loss is NaN.
#
# Expected: NaN, as for MSELoss and SmoothL1Loss, so that a check of gradients finds targets that hold NaN.
# Happens: the sign of NaN is taken as 0. The loss is NaN, the gradients are finite, and training goes on without these values.
# Avoid: look at losses as well as gradients; a gradient scaler or a clip that looks at gradients alone sees nothing.
# Python 3.11, torch 2.13.0 (CPU)
# Seen 2026-11-28: L1Loss: loss nan, gradient [0.0, 0.5]; SmoothL1Loss: loss nan, gradient [nan, 0.5]; MSELoss: [nan, 2.0]
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$tmp/venv/bin/python" - <<'PY'
import math
import sys

import torch

gradients = {}
for loss in (torch.nn.L1Loss(), torch.nn.SmoothL1Loss(), torch.nn.MSELoss()):
    output = torch.tensor([1.0, 2.0], requires_grad=True)
    value = loss(output, torch.tensor([math.nan, 0.0]))
    value.backward()
    name = type(loss).__name__
    gradients[name] = output.grad.tolist()
    print(torch.__version__, name, "loss", value.item(), "gradient", gradients[name])
if gradients["L1Loss"] != [0.0, 0.5] or not all(math.isnan(gradients[name][0]) for name in ("SmoothL1Loss", "MSELoss")):
    sys.exit("no longer as described")
PY
