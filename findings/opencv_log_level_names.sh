#!/usr/bin/env bash
# opencv-python-headless: no call that sets the log level works in both 4.12 and 4.13 (or 5.0).
#
# Expected: cv2.setLogLevel, or cv2.utils.logging.setLogLevel, works through the minor releases of OpenCV 4, and in OpenCV 5.
# Happens: 4.12 has only cv2.setLogLevel. 4.13 and 5.0 have only cv2.utils.logging.setLogLevel. None of them has both, so code
#   that silences OpenCV's warnings (for broken or odd image files) raises AttributeError after a minor update.
# Avoid: look for both names, or set the environment variable OPENCV_LOG_LEVEL before the import.
# Python 3.11, opencv-python-headless 4.12.0.88, 4.13.0.92, 5.0.0.93, numpy 2.2.6
# Seen 2026-11-28: 4.12.0: cv2.setLogLevel; 4.13.0: cv2.utils.logging.setLogLevel; 5.0.0: cv2.utils.logging.setLogLevel
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 4.12.0.88 4.13.0.92 5.0.0.93; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "opencv-python-headless==$version" numpy==2.2.6
  PYTHONPATH="$tmp/$version" python3 - >>"$tmp/seen" <<'PY'
import cv2

names = []
if hasattr(cv2, "setLogLevel"):
    names.append("cv2.setLogLevel")
if hasattr(getattr(cv2.utils, "logging", None), "setLogLevel"):
    names.append("cv2.utils.logging.setLogLevel")
print(f"{cv2.__version__}: {' and '.join(names) or 'none'}")
PY
done
seen=$(paste -s -d ';' "$tmp/seen" | sed 's/;/; /g')
echo "$seen"
new=cv2.utils.logging.setLogLevel
if [ "$seen" != "4.12.0: cv2.setLogLevel; 4.13.0: $new; 5.0.0: $new" ]; then
  echo "no longer as described" >&2
  exit 1
fi
