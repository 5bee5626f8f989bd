#!/usr/bin/env bash
# torch 2.13.0: torch.nn.init functions do nothing, silently, on the weight of a layer with spectral norm.
#
# Expected: torch.nn.init.normal_(layer.weight, 0.0, 0.02) fills the weight, as for any layer, or raises an error.
# Happens: with torch.nn.utils.parametrizations.spectral_norm, `layer.weight` is computed anew at each access. The function
#   fills that temporary tensor. The parameter keeps PyTorch's default initialization, so a GAN's usual initialization
#   (`network.apply(init_weights)` after the network is built) changes all layers but those.
# Avoid: initialize before spectral_norm is applied.
# Python 3.11, torch 2.13.0
# Seen 2026-11-28: parameter changed by init: plain True, spectral norm False
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/lib" torch==2.13.0
PYTHONPATH="$tmp/lib" python3 - <<'PY'
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

plain = nn.Conv2d(3, 8, 4)
normalized = spectral_norm(nn.Conv2d(3, 8, 4))
changed = {}
for name, layer, parameter in (
    ("plain", plain, plain.weight),
    ("spectral norm", normalized, normalized.parametrizations.weight.original),
):
    before = parameter.detach().clone()
    nn.init.normal_(layer.weight, 0.0, 0.02)
    changed[name] = not torch.equal(before, parameter)
print("parameter changed by init: " + ", ".join(f"{name} {value}" for name, value in changed.items()))
assert changed == {"plain": True, "spectral norm": False}, "no longer as described"
PY
