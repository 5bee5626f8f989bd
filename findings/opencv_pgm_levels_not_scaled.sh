#!/usr/bin/env bash
# opencv: a binary PGM file with a greatest level below 255 is read as stored, the same picture as a text PGM is scaled to 255.
#
# Expected: both alike; the format's level 15 of 15 is white.
# Happens: P5 gives 0 to 15, nearly black, P2 gives 0 to 255, without a word.
# Avoid: read the header's greatest level, and scale; Pillow scales both.
# Python 3.11, opencv-python-headless 5.0.0 and 4.11.0
# Seen 2026-11-28: both versions: P5 [0 5 10 15], P2 [0 85 170 255]
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.11.0.86 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "opencv-python-headless==$version" numpy==2.4.6
  PYTHONPATH="$tmp/$version" python3 - "$tmp" <<'PY'
import sys
from pathlib import Path

import cv2

folder = Path(sys.argv[1])
(folder / "binary.pgm").write_bytes(b"P5 4 1 15\n" + bytes([0, 5, 10, 15]))
(folder / "text.pgm").write_text("P2 4 1 15\n0 5 10 15\n")
read = {name: cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)[0].tolist() for name in ("binary.pgm", "text.pgm")}
print(cv2.__version__, read)
if read != {"binary.pgm": [0, 5, 10, 15], "text.pgm": [0, 85, 170, 255]}:
    sys.exit("no longer as described")
PY
done
