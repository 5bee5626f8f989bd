#!/usr/bin/env bash
# opencv-python-headless: VideoWriter.write leaves out a frame of another size without an error.
#
# Expected: an exception, since the number of frames no longer fits the sound and the frame rate.
# Happens: the frame is missing from the file. write() returns None in 4.11 and False in 5.0 for it.
# Avoid: compare each frame's shape with the writer's, and count the frames of the written file.
# Python 3.11, opencv-python-headless 4.11.0.86 and 5.0.0.93, numpy 2.2.6
# Seen 2026-11-28: 4 frames written, 3 in the file, in both
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.11.0.86 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "opencv-python-headless==$version" numpy==2.2.6
  seen=$(cd "$tmp" && PYTHONPATH="$tmp/$version" python3 - 2>/dev/null <<'PY'
import cv2
import numpy as np

writer = cv2.VideoWriter("sizes.mp4", cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 12, (32, 32))
for side in (32, 32, 16, 32):
    writer.write(np.full((side, side, 3), 128, np.uint8))
writer.release()
reader, count = cv2.VideoCapture("sizes.mp4"), 0
while reader.read()[0]:
    count += 1
print(f"4 frames written, {count} in the file")
PY
)
  echo "opencv-python-headless $version: $seen"
  if [ "$seen" != "4 frames written, 3 in the file" ]; then
    echo "no longer as described" >&2
    exit 1
  fi
done
