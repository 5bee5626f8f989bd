#!/usr/bin/env bash
# torchmetrics: MeanSquaredError, MeanAbsoluteError, TotalVariation and others of uint8 images are wrong, without an error.
#
# Expected: the value of the same images as floats, or an error. PeakSignalNoiseRatio gives the former, SSIM the latter.
# Happens: differences and squares are computed in uint8 and wrap around at 256, so that values are too small or too large.
# Avoid: give floats. The PSNR of the same two tensors tells nothing about the others.
# Python 3.11, torchmetrics 1.9.0, torch 2.13.0 (CPU)
# Seen 2026-11-28, 0 beside 200 in all pixels: MeanSquaredError 64 instead of 40000, MeanAbsoluteError 56 instead of 200,
# R2Score and PSNR with blocked effect differ too; PeakSignalNoiseRatio 2.11 for both
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch
import torchmetrics
from torchmetrics.image import PeakSignalNoiseRatio, PeakSignalNoiseRatioWithBlockedEffect, TotalVariation

output = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
target = torch.full((1, 1, 16, 16), 200, dtype=torch.uint8)
print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)


def compare(name, build, *images):
    as_bytes, as_floats = build()(*images).item(), build()(*[image.float() for image in images]).item()
    print(f"{name}: uint8 {as_bytes:.4g}, float32 {as_floats:.4g}")
    return as_bytes, as_floats


mse = compare("MeanSquaredError", torchmetrics.MeanSquaredError, output, target)
mae = compare("MeanAbsoluteError", torchmetrics.MeanAbsoluteError, output, target)
psnr = compare("PeakSignalNoiseRatio", lambda: PeakSignalNoiseRatio(data_range=255.0), output, target)
stripes = output.clone()
stripes[..., ::2] = 200
variation = compare("TotalVariation", TotalVariation, stripes)
blocked = compare("PSNR with blocked effect", lambda: PeakSignalNoiseRatioWithBlockedEffect(data_range=255.0), stripes, target)
if mse != (64, 40000) or mae != (56, 200) or psnr[0] != psnr[1] or variation[0] == variation[1] or blocked[0] == blocked[1]:
    sys.exit("no longer as described")
PY
