#!/usr/bin/env bash
# opencv-python-headless: a video of odd sides loses its last row and column when it is written.
#
# Expected: VideoWriter for frames of 33 x 31 pixels writes them, or isOpened() is False.
# Happens: the writer opens, takes all frames, and the file holds 32 x 30 pixels, without an error.
# Avoid: make the sides even before writing, and crop after reading.
# Python 3.11, opencv-python-headless 4.11.0.86 and 5.0.0.93, numpy 2.2.6
# Seen 2026-11-28: opened, written (33, 31), read (32, 30), in both
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.11.0.86 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "opencv-python-headless==$version" numpy==2.2.6
  seen=$(cd "$tmp" && PYTHONPATH="$tmp/$version" python3 - <<'PY'
import cv2
import numpy as np

writer = cv2.VideoWriter("odd.mp4", cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 12, (33, 31))
opened = writer.isOpened()
for _ in range(4):
    writer.write(np.full((31, 33, 3), 128, np.uint8))
writer.release()
height, width = cv2.VideoCapture("odd.mp4").read()[1].shape[:2]
print(f"{'opened' if opened else 'refused'}, written (33, 31), read {(width, height)}")
PY
)
  echo "opencv-python-headless $version: $seen"
  if [ "$seen" != "opened, written (33, 31), read (32, 30)" ]; then
    echo "no longer as described" >&2
    exit 1
  fi
done
