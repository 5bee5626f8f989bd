#!/usr/bin/env bash
# opencv-python-headless: TIFF files are turned by their orientation although the flags say that it is to be ignored.
#
# Expected: IMREAD_UNCHANGED ("Ignore EXIF orientation") and IMREAD_IGNORE_ORIENTATION give the pixels as they are stored, as
# they do for PNG and JPEG files with the same tag.
# Happens: for TIFF both give the turned image, with other sides for a quarter turn. No flag gives the stored pixels.
# Avoid: turn no TIFF a second time; read stored pixels with tifffile.
# Python 3.11, opencv-python-headless 4.11.0.86 and 5.0.0.93, pillow 12.3.0, numpy 2.2.6
# Seen 2026-11-28: both, stored pixels [[0, 40, 80], [120, 160, 200]] with orientation 6: png [0, 40, 80] by both flags, tiff
# [120, 0, 160] by both
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

stored = 40 * np.arange(6, dtype=np.uint8).reshape(2, 3)
upright = np.rot90(stored, -1)  # what orientation 6 means
flags = {
    "UNCHANGED": cv2.IMREAD_UNCHANGED,
    "IGNORE_ORIENTATION": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
}
expected = {"png": stored, "tiff": upright}
for kind, pixels in expected.items():
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.fromarray(stored).save(file, kind, exif=exif)
    for name, flag in flags.items():
        seen = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), flag)
        print(cv2.__version__, kind, name, seen.shape, seen.ravel()[:3].tolist())
        if not np.array_equal(seen, pixels):
            sys.exit("no longer as described")
PY
done
