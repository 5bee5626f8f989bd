#!/usr/bin/env bash
# opencv-python-headless: a gray image in Sun raster format is read as black, without an error, unless colours are asked for.
#
# Expected: IMREAD_UNCHANGED, IMREAD_GRAYSCALE and IMREAD_ANYCOLOR give the pixels of an 8-bit .ras file without a colour map.
# Happens: all pixels are 0. The file is right: Pillow reads it, and so does IMREAD_COLOR (three equal channels).
# Avoid: read .ras files with Pillow, or with IMREAD_COLOR.
# Python 3.11, opencv-python-headless 4.11.0.86 and 5.0.0.93, pillow 12.3.0, numpy 2.2.6
# Seen 2026-11-28: both: largest value of an image from 0 to 252: pillow 252, COLOR 252, UNCHANGED 0, GRAYSCALE 0, ANYCOLOR 0
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.11.0.86 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "opencv-python-headless==$version" numpy==2.2.6 pillow==12.3.0
  PYTHONPATH="$tmp/$version" python3 - <<'PY'
import io
import sys

import cv2
import numpy as np
from PIL import Image

image = (4 * np.arange(64, dtype=np.uint8)).reshape(8, 8)
content = cv2.imencode(".ras", image)[1]
seen = {"pillow": np.asarray(Image.open(io.BytesIO(content.tobytes())))}
for flag in ("COLOR", "UNCHANGED", "GRAYSCALE", "ANYCOLOR"):
    seen[flag] = cv2.imdecode(content, getattr(cv2, f"IMREAD_{flag}"))
largest = {name: int(pixels.max()) for name, pixels in seen.items()}
print(cv2.__version__, largest)
right = np.array_equal(seen["pillow"], image) and np.array_equal(seen["COLOR"][..., 0], image)
if not right or [largest[flag] for flag in ("UNCHANGED", "GRAYSCALE", "ANYCOLOR")] != [0, 0, 0]:
    sys.exit("no longer as described")
PY
done
