#!/usr/bin/env bash
# torchmetrics: MetricCollection gives two metrics one value for ever if they happened to agree on the first batch.
#
# Expected: each metric of a collection has the value that it has alone.
# Happens: with compute_groups=True, the default, metrics whose states are equal after the first update share them from then on.
# A first batch without a pixel of the ignored class, without a value outside of the range, or of blank images is enough.
# Avoid: compute_groups=False, or a list of the groups that are equal by what they compute.
# Python 3.11, torchmetrics 1.9.0, torch 2.13.0 (CPU)
# Seen 2026-11-28, value in the collection and alone: accuracy without class 0 0.75 and 0.60; PSNR clamped to [0, 1] 3.91 and 6.02;
# SSIM with a range of 255 0.41 and 1.00
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch
import torchmetrics
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure


def compare(name, build, *batches):
    """The value of the metric `name` in a collection and alone."""
    together, alone = MetricCollection(build()), build()[name]
    for batch in batches:
        together.update(*batch)
        alone.update(*batch)
    values = together.compute()[name].item(), alone.compute().item()
    print(f"{name}: {values[0]:.2f} in the collection, {values[1]:.2f} alone")
    return values


print("torchmetrics", torchmetrics.__version__)
accuracy = compare(
    "accuracy without class 0",
    lambda: {
        "accuracy": MulticlassAccuracy(3, average="micro"),
        "accuracy without class 0": MulticlassAccuracy(3, average="micro", ignore_index=0),
    },
    (torch.tensor([1, 2, 1, 1]), torch.tensor([1, 2, 2, 1])),
    (torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 2])),
)
gray = torch.full((1, 1, 16, 16), 0.5)
psnr = compare(
    "PSNR clamped to the range",
    lambda: {
        "PSNR": PeakSignalNoiseRatio(data_range=1.0),
        "PSNR clamped to the range": PeakSignalNoiseRatio(data_range=(0.0, 1.0)),
    },
    (gray, gray - 0.5),
    (gray + 0.75, gray),
)
ssim = compare(
    "SSIM of a range of 255",
    lambda: {
        "SSIM of a range of 1": StructuralSimilarityIndexMeasure(data_range=1.0),
        "SSIM of a range of 255": StructuralSimilarityIndexMeasure(data_range=255.0),
    },
    (gray * 0, gray * 0),
    [torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)],
)
if any(abs(together - alone) < 0.1 for together, alone in (accuracy, psnr, ssim)):
    sys.exit("no longer as described")
PY
