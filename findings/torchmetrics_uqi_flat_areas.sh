#!/usr/bin/env bash
# torchmetrics: UniversalImageQualityIndex and SpatialCorrelationCoefficient of an image and itself are below 1, if it has flat areas.
#
# Expected: 1, as SSIM gives, and as both give for an image without flat areas.
# Happens: a window in which nothing varies counts as 0, also where both images are equal. The best possible value then depends
# on the picture: a drawing on white paper, a label map or a sky cannot reach 1, and a blank pair scores as the worst one.
# Avoid: compare values only between models on the same images; an identity or a perfect model need not reach 1.
# Python 3.11, torchmetrics 1.9.0, torch 2.13.0 (CPU)
# Seen 2026-11-28, noise whose left half is flat, compared with itself: UQI 0.59, SCC 0.56, SSIM 1.0
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch
import torchmetrics
from torchmetrics.image import (
    SpatialCorrelationCoefficient,
    StructuralSimilarityIndexMeasure,
    UniversalImageQualityIndex,
)

noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
half_flat = noise.clone()
half_flat[..., :32] = 0.5
print("torchmetrics", torchmetrics.__version__)
values = {}
for name, metric in {
    "UQI": UniversalImageQualityIndex(),
    "SCC": SpatialCorrelationCoefficient(),
    "SSIM": StructuralSimilarityIndexMeasure(data_range=1.0),
}.items():
    values[name] = [metric(image, image).item() for image in (noise, half_flat)]
    print(f"{name} of an image and itself: noise {values[name][0]:.3f}, with a flat half {values[name][1]:.3f}")
if not all(abs(whole - 1) < 1e-3 for whole, _ in values.values()):
    sys.exit("no longer as described")
if abs(values["SSIM"][1] - 1) > 1e-3 or max(values["UQI"][1], values["SCC"][1]) > 0.7:
    sys.exit("no longer as described")
PY
