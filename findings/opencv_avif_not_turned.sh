#!/usr/bin/env bash
# OpenCV: AVIF files are not turned by their orientation, as JPEG, PNG and WebP files are.
#
# Expected: IMREAD_COLOR turns every file that says how it is to be turned.
# Happens: the same photo, saved by Pillow with orientation 6 as JPEG, PNG, WebP and AVIF, is upright in three of the four.
# Avoid: read AVIF with Pillow and ImageOps.exif_transpose, or convert it first.
# Python 3.11, opencv-python-headless 5.0.0, pillow 12.3.0
# Seen 2026-11-28, an image of 60 x 40 pixels, turned by a quarter: JPEG, PNG, WEBP 40 x 60, AVIF 60 x 40
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet opencv-python-headless==5.0.0.93 pillow==12.3.0
"$tmp/venv/bin/python" - <<'PY'
import io
import sys

import cv2
import numpy as np
import PIL
from PIL import Image, ImageOps

exif = Image.Exif()
exif[274] = 6
print("opencv", cv2.__version__, "pillow", PIL.__version__)
sizes = {}
for format in ("JPEG", "PNG", "WEBP", "AVIF"):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, format, exif=exif)
    height, width = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR).shape[:2]
    sizes[format] = width, height
    print(format, "opencv", (width, height), "pillow", ImageOps.exif_transpose(Image.open(file)).size)
if sizes != {"JPEG": (40, 60), "PNG": (40, 60), "WEBP": (40, 60), "AVIF": (60, 40)}:
    sys.exit("no longer as described")
PY
