#!/usr/bin/env bash
# albumentations: two transforms turn a 16-bit image into one of 255 everywhere, and a third into float64.
#
# Expected: a transform that takes uint16 images returns uint16 in their range, as Rotate and GaussianBlur do, or refuses
# them, as CLAHE does.
# Happens: Downscale, and MedianBlur of five channels, return float32 that is 255 in every pixel; RandomGamma returns
# float64. None of them raises or warns.
# Avoid: check the type of what a transform returns, or scale images to floats in [0, 1] before.
# Python 3.11, albumentations 2.0.8, opencv-python-headless 4.11.0.86, numpy 2.2.6
# Seen 2026-11-28: Downscale float32 255..255, MedianBlur float32 255..255, RandomGamma float64, Rotate uint16
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/packages" \
  albumentations==2.0.8 opencv-python-headless==4.11.0.86 numpy==2.2.6
seen=$(cd "$tmp" && NO_ALBUMENTATIONS_UPDATE=1 PYTHONPATH="$tmp/packages" python3 -W ignore - <<'PY'
import albumentations as A
import numpy as np

image = np.random.default_rng(0).integers(1000, 60000, (16, 16, 5)).astype(np.uint16)


def describe(name):
    result = getattr(A, name)(p=1)(image=image)["image"]
    span = f" {result.min():g}..{result.max():g}" if result.dtype == np.float32 else ""
    return f"{name} {result.dtype}{span}"


print(", ".join(map(describe, ("Downscale", "MedianBlur", "RandomGamma", "Rotate"))))
PY
)
echo "$seen"
if [ "$seen" != "Downscale float32 255..255, MedianBlur float32 255..255, RandomGamma float64, Rotate uint16" ]; then
  echo "no longer as described" >&2
  exit 1
fi
