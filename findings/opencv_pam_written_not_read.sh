#!/usr/bin/env bash
# opencv-python-headless: PAM files with 16 bits or four channels are written, but cannot be read again by OpenCV.
#
# Expected: what imencode(".pam") and imwrite accept, imdecode and imread give back; or writing is refused.
# Happens: uint16 images and uint8 images with four channels are written with right pixels, but without the line TUPLTYPE,
#   which OpenCV's own reader needs to tell their format: imdecode returns None. uint8 with one or three channels is read.
# Avoid: write 16-bit images and alpha as PNG or TIFF.
# Python 3.11, opencv-python-headless 4.11.0.86 and 5.0.0.93, numpy 2.2.6
# Seen 2026-11-28: both: uint8 x1 read, uint8 x3 read, uint8 x4 None, uint16 x1 None, uint16 x3 None; the pixels in all files are right
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.11.0.86 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "opencv-python-headless==$version" numpy==2.2.6
  OPENCV_LOG_LEVEL=OFF PYTHONPATH="$tmp/$version" python3 - <<'PY'
import sys

import cv2
import numpy as np

seen = []
for name, channels in (("uint8", 1), ("uint8", 3), ("uint8", 4), ("uint16", 1), ("uint16", 3)):
    image = np.arange(42 * channels, dtype=name).reshape(6, 7, channels)
    written, content = cv2.imencode(".pam", image)
    header, _, pixels = content.tobytes().partition(b"ENDHDR\n")
    stored = np.frombuffer(pixels, np.dtype(name).newbyteorder(">")).reshape(image.shape)
    if not (written and np.array_equal(stored, image)) or b"TUPLTYPE" in header:
        sys.exit("no longer as described")
    read = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    seen.append(f"{name} x{channels} {'None' if read is None else 'read'}")
print(cv2.__version__, ", ".join(seen))
if seen != ["uint8 x1 read", "uint8 x3 read", "uint8 x4 None", "uint16 x1 None", "uint16 x3 None"]:
    sys.exit("no longer as described")
PY
done
