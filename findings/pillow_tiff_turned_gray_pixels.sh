#!/usr/bin/env bash
# pillow: the pixels of an uncompressed gray TIFF with an orientation of 5 to 8 come in a wrong shape as a NumPy array.
#
# Expected: (6, 4), the picture turned upright, as for RGB, for other compressions, and for the same file from memory.
# Happens: an array of the stored shape (4, 6) that holds the turned rows one after the other, which is neither the stored nor the
# turned picture; Image.size says 4 x 6 pixels (width, height). Only files that are opened by their path, which Pillow maps.
# Avoid: open from io.BytesIO, or call copy() before the pixels are used.
# Python 3.11, pillow 12.3.0, numpy 2.4.6
# Seen 2026-11-28: by path: shape (4, 6); from memory: shape (6, 4), equal to numpy.rot90(stored, -1)
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/site" pillow==12.3.0 numpy==2.4.6
cd "$tmp"
PYTHONPATH="$tmp/site" python3 - <<'PY'
import io
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

stored = np.arange(24, dtype=np.uint8).reshape(4, 6)
exif = Image.Exif()
exif[274] = 6  # to be turned by 90 degrees clockwise
Image.fromarray(stored).save("turned.tif", exif=exif)
by_path = np.asarray(Image.open("turned.tif"))
from_memory = np.asarray(Image.open(io.BytesIO(Path("turned.tif").read_bytes())))
print(PIL.__version__, "size", Image.open("turned.tif").size, "by path", by_path.shape, "from memory", from_memory.shape)
print(by_path)
is_turned = np.array_equal(from_memory, np.rot90(stored, -1))
if not is_turned or by_path.shape != (4, 6) or np.array_equal(by_path, stored):
    sys.exit("no longer as described")
PY
