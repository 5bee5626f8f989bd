#!/usr/bin/env bash
# torch: to(dtype, memory_format=torch.contiguous_format) returns a window that is not contiguous, if its type is dtype already.
#
# Expected: a contiguous tensor, which the argument names, whatever type the window has.
# Happens: with another type the copy is contiguous; with the same type the window itself is returned. Code that converts the sum of
# a mixed-precision step back is dense in bfloat16 and strided in float32, where the next kernel is several times slower.
# Avoid: tensor.to(dtype).contiguous().
# Python 3.11, torch 2.13.0 (CPU); pytorch issues 62027, 86558 and 132020
# Seen 2026-11-30: float32 to float32: False, same memory True; float32 to bfloat16: True; contiguous(): True
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch

window = torch.zeros(1, 6, 6, 4)[:, 1:-1, 1:-1]
same = window.to(torch.float32, memory_format=torch.contiguous_format)
other = window.to(torch.bfloat16, memory_format=torch.contiguous_format)
found = same.is_contiguous(), same.data_ptr() == window.data_ptr(), other.is_contiguous(), window.contiguous().is_contiguous()
print(torch.__version__, "same type: contiguous %s, same memory %s; other type: %s; contiguous(): %s" % found)
if found != (False, True, True, True):
    sys.exit("no longer as described")
PY
