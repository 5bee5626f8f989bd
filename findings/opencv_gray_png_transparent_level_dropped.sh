#!/usr/bin/env bash
# opencv-python-headless: the transparent gray level of a PNG is dropped, where the transparent colour of an RGB one is not.
#
# Expected: IMREAD_UNCHANGED returns the alpha of a PNG's transparent colour (tRNS), for gray levels as for RGB.
# Happens: RGB comes with a fourth channel, 0 where the colour is the transparent one; gray levels come with one channel,
# and what was transparent looks like any other level, in 8 and in 16 bits. There is no warning.
# Avoid: look for the tRNS chunk, or decode such files by Pillow.
# Python 3.11, opencv-python-headless 4.11.0.86 and 5.0.0.93, numpy 2.2.6, pillow 12.0.0
# Seen 2026-11-28: gray (2, 2), rgb (2, 2, 4) with alpha 0, in both
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.11.0.86 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" \
    "opencv-python-headless==$version" numpy==2.2.6 pillow==12.0.0
  seen=$(cd "$tmp" && PYTHONPATH="$tmp/$version" python3 - <<'PY'
import cv2
import numpy as np
from PIL import Image

gray = np.uint8([[0, 10], [20, 30]])
Image.fromarray(gray).save("gray.png", transparency=10)
Image.fromarray(np.dstack([gray] * 3)).save("rgb.png", transparency=(10, 10, 10))
plain, colour = (cv2.imread(name, cv2.IMREAD_UNCHANGED) for name in ("gray.png", "rgb.png"))
print(f"gray {plain.shape}, rgb {colour.shape} with alpha {colour[0, 1, 3]}")
PY
)
  echo "opencv-python-headless $version: $seen"
  if [ "$seen" != "gray (2, 2), rgb (2, 2, 4) with alpha 0" ]; then
    echo "no longer as described" >&2
    exit 1
  fi
done
