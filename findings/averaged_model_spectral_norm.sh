#!/usr/bin/env bash
# torch: AveragedModel(use_buffers=True) of a network with spectral norm has weights many times too large, silently.
#
# Expected: the averaged network's layers have a spectral norm of about 1, as the trained network's have.
# Happens: use_buffers=True averages the vectors _u and _v of the parametrization too. They have length 1; their average is
#   shorter, since they turn during training. The norm that is estimated with them, by which the weight is divided in eval mode,
#   comes out too small. People set use_buffers=True so that batch norm's statistics are averaged, and it is the default of
#   WeightAveraging in lightning 2.6.
# Avoid: use_buffers=False, which copies buffers; or run the averaged network in training mode a few times, so that the power
#   iteration finds new vectors.
# Python 3.11, torch 2.13.0
# Seen 2026-11-28: largest singular value: use_buffers=False 1.0, use_buffers=True 20.2 (length of _u 0.23)
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/lib" torch==2.13.0 numpy==2.2.6
PYTHONPATH="$tmp/lib" python3 - <<'PY'
import sys

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

norms = {}
for use_buffers in (False, True):
    torch.manual_seed(0)
    network = spectral_norm(nn.Linear(32, 32, bias=False))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=use_buffers)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    wanted = torch.randn(32, 32) / 6
    for _ in range(600):
        x = torch.randn(16, 32)
        optimizer.zero_grad()
        (network(x) - x @ wanted).square().mean().backward()
        optimizer.step()
        average.update_parameters(network)
    average.eval()
    norms[use_buffers] = torch.linalg.matrix_norm(average.module.weight, 2).item()
    length = next(average.module.buffers()).norm().item()
    print(f"use_buffers={use_buffers}: largest singular value {norms[use_buffers]:.1f}, length of _u {length:.2f}")
if norms[False] > 1.5 or norms[True] < 5:
    sys.exit("no longer as described")
PY
