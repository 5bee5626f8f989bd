#!/usr/bin/env bash
# wandb: Image of floats in [0, 1] is a black picture since the values are expected in [0, 255]; 0.19 multiplied them by 255.
#
# Expected: after an update the pictures of a run look as before, or an error or a warning.
# Happens: fractions are cut to 0. Arrays and tensors of floats in [0, 1] or [-1, 1], as networks give, are logged as black.
# Avoid: give uint8 arrays or Pillow images, which are the same in both.
# Python 3.11, wandb 0.19.11 and 0.31.0
# Seen 2026-11-28: values 0.25 and 0.5 become 63 and 127 in 0.19.11, 0 and 0 in 0.31.0; uint8 64 and 128 stay in both
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 0.19.11 0.31.0; do
  python3 -m venv "$tmp/$version"
  "$tmp/$version/bin/python" -m pip install --quiet "wandb==$version" numpy==2.2.6 pillow==12.3.0
  "$tmp/$version/bin/python" - <<'PY'
import sys

import numpy as np
import wandb

floats = np.full((4, 4, 3), 0.25, np.float32)
floats[0, 0] = 0.5
as_bytes = np.full((4, 4, 3), 64, np.uint8)
as_bytes[0, 0] = 128
logged = [sorted({int(v) for v in np.unique(np.asarray(wandb.Image(a).image))}) for a in (floats, as_bytes)]
print("wandb", wandb.__version__, "floats", logged[0], "uint8", logged[1])
if logged != [{"0.19.11": [63, 127], "0.31.0": [0]}[wandb.__version__], [64, 128]]:
    sys.exit("no longer as described")
PY
done
