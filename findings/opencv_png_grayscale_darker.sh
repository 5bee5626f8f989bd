#!/usr/bin/env bash
# OpenCV: a colour PNG read with IMREAD_GRAYSCALE is half a level darker than the same picture in other lossless formats.
#
# Expected: lossless files of one picture are read as one gray image, that of cvtColor.
# Happens: the decoder of PNG weighs the colours without rounding, so that every second pixel is one level lower. TIFF and BMP
# differ from cvtColor in 2 of 1000 pixels, WebP in none. Between a PNG source and a WebP target there is a constant shift.
# Avoid: read in colour and convert with cvtColor.
# Python 3.11, opencv-python-headless 4.11.0 and 5.0.0
# Seen 2026-11-28, random colours, mean difference from cvtColor: .png -0.50, .tiff 0.00, .bmp 0.00, .webp 0.00, none above 1
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for opencv in 4.11.0.86 5.0.0.93; do
  python3 -m venv "$tmp/$opencv"
  "$tmp/$opencv/bin/python" -m pip install --quiet "opencv-python-headless==$opencv"
  "$tmp/$opencv/bin/python" - <<'PY'
import sys

import cv2
import numpy as np

image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
converted = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(int)
print("opencv", cv2.__version__)
means = {}
for suffix, options in {".png": [], ".tiff": [], ".bmp": [], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}.items():
    file = cv2.imencode(suffix, image, options)[1]
    assert (cv2.imdecode(file, cv2.IMREAD_COLOR) == image).all(), "the file is not lossless"
    difference = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE).astype(int) - converted
    means[suffix] = difference.mean()
    print(f"{suffix}: mean difference {difference.mean():.2f}, from {difference.min()} to {difference.max()}")
if means[".png"] > -0.4 or any(abs(means[suffix]) > 0.01 for suffix in (".tiff", ".bmp", ".webp")):
    sys.exit("no longer as described")
PY
done
