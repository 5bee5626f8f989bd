#!/usr/bin/env bash
# albumentations 2.0.8: Compose(mask_interpolation=...) changes the transforms that it is given, for every other pipeline too.
#
# Expected: the argument concerns the pipeline that has it. Another pipeline of the same transform objects stays as it was.
# Happens: Compose writes the value into each transform. A pipeline that was built before, without the argument, then
#   interpolates its label map as well. It returns class numbers between the classes that are in the map.
# Avoid: build new transform objects for each Compose.
# Python 3.11, albumentations 2.0.8, opencv-python-headless 5.0.0.93, numpy 2.4.6
# Seen 2026-11-28: classes [0, 9] before, [0, 2, 7, 9] after another pipeline was built
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/lib" \
  albumentations==2.0.8 albucore==0.0.24 opencv-python-headless==5.0.0.93 numpy==2.4.6 scipy==1.17.1
NO_ALBUMENTATIONS_UPDATE=1 PYTHONPATH="$tmp/lib" python3 - <<'PY'
import albumentations
import cv2
import numpy

image = numpy.zeros((8, 8, 3), numpy.uint8)
labels = numpy.zeros((8, 8), numpy.uint8)
labels[:, 4:] = 9

resize = albumentations.Resize(16, 16)
pipeline = albumentations.Compose([resize])
before = numpy.unique(pipeline(image=image, mask=labels)["mask"]).tolist()
albumentations.Compose([resize], mask_interpolation=cv2.INTER_LINEAR)  # never called
after = numpy.unique(pipeline(image=image, mask=labels)["mask"]).tolist()
print(f"classes {before} before, {after} after another pipeline was built")
assert before == [0, 9], "no longer as described"
assert len(after) > 2, "no longer as described"
PY
