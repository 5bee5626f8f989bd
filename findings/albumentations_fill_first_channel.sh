#!/usr/bin/env bash
# albumentations: `fill=255` of ElasticTransform and GridDistortion fills red alone; green and blue get 0.
#
# Expected: white, as the same number gives in Pad, Rotate, Affine and Perspective: a number is the value of all channels.
# Happens: the number reaches OpenCV's remap as the value of the first channel. With more than four channels it is the first of
# each four. Drawings on white paper get red borders, and an image on a black ground is not affected.
# Avoid: give one value for each channel, fill=(255, 255, 255).
# Python 3.11, albumentations 2.0.8, opencv-python-headless 4.13.0 and 5.0.0
# Seen 2026-11-28: Affine [255, 255, 255], ElasticTransform and GridDistortion [255, 0, 0]
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for opencv in 4.13.0.90 5.0.0.93; do
  python3 -m venv "$tmp/$opencv"
  "$tmp/$opencv/bin/python" -m pip install --quiet albumentations==2.0.8 "opencv-python-headless==$opencv"
  NO_ALBUMENTATIONS_UPDATE=1 "$tmp/$opencv/bin/python" - <<'PY'
import sys

import albumentations as A
import cv2
import numpy as np

gray = np.full((64, 64, 3), 100, np.uint8)
border = {"border_mode": cv2.BORDER_CONSTANT, "p": 1}
print("albumentations", A.__version__, "opencv", cv2.__version__)
found = {}
for fill in (255, (255, 255, 255)):
    for transform in (
        A.Affine(translate_px=(20, 20), fill=fill, **border),
        A.ElasticTransform(alpha=600, sigma=4, fill=fill, **border),
        A.GridDistortion(distort_limit=(0.6, 0.6), normalized=False, fill=fill, **border),
    ):
        image = A.Compose([transform], seed=0)(image=gray)["image"].reshape(-1, 3).astype(int)
        farthest = image[np.abs(image - 100).sum(1).argmax()].tolist()
        found[type(transform).__name__, fill] = farthest
        print(type(transform).__name__, "fill", fill, "gives", farthest)
white, red = [255, 255, 255], [255, 0, 0]
as_described = {255: (white, red, red), (255, 255, 255): (white, white, white)}
for fill, expected in as_described.items():
    if tuple(found[name, fill] for name in ("Affine", "ElasticTransform", "GridDistortion")) != expected:
        sys.exit("no longer as described")
PY
done
