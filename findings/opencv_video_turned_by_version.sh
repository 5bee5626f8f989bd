#!/usr/bin/env bash
# opencv-python-headless: whether frames are turned upright by the orientation of the file depends on the version.
#
# Expected: VideoCapture turns a phone's clip upright in all versions, or in none.
# Happens: CAP_PROP_ORIENTATION_AUTO is off by default in 4.11 and on in 5.0, so that the same file gives frames of other shapes.
# Avoid: set CAP_PROP_ORIENTATION_AUTO to 1 after opening.
# Python 3.11, opencv-python-headless 4.11.0.86 and 5.0.0.93, numpy 2.2.6
# Seen 2026-11-28: 4.11.0.86 0.0, 5.0.0.93 1.0
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.11.0.86 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "opencv-python-headless==$version" numpy==2.2.6
  (cd "$tmp" && PYTHONPATH="$tmp/$version" python3 - "$version" <<'PY'
import sys

import cv2
import numpy as np

writer = cv2.VideoWriter("clip.mp4", cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 12, (64, 32))
for _ in range(4):
    writer.write(np.full((32, 64, 3), 128, np.uint8))
writer.release()
print(sys.argv[1], cv2.VideoCapture("clip.mp4").get(cv2.CAP_PROP_ORIENTATION_AUTO))
PY
  ) >>"$tmp/seen"
done
seen=$(paste -s -d ',' "$tmp/seen" | sed 's/,/, /g')
echo "$seen"
if [ "$seen" != "4.11.0.86 0.0, 5.0.0.93 1.0" ]; then
  echo "no longer as described" >&2
  exit 1
fi
