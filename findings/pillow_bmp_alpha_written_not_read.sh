#!/usr/bin/env bash
# pillow: the alpha of an RGBA image is written to a BMP file, and is gone when Pillow itself reads the file.
#
# Expected: what `save` accepts without a warning comes back from `open`, or is refused as for JPEG ("cannot write mode RGBA").
# Happens: the file has 32 bits a pixel with alpha in the fourth byte, and opens as RGB. The header written (40 bytes, no
# masks) calls that byte unused, so OpenCV gives three channels too.
# Avoid: save RGBA as PNG, WebP or TIFF; read the fourth byte yourself.
# Python 3.11, pillow 12.3.0 and 11.3.0
# Seen 2026-11-28: both: RGBA (10, 20, 30, 128) saved; the file's last bytes 30 20 10 128; opened as RGB (10, 20, 30)
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 11.3.0 12.3.0; do
  python3 -m pip install --quiet --no-compile --target "$tmp/$version" "pillow==$version"
  PYTHONPATH="$tmp/$version" python3 - <<'PY'
import io
import sys

import PIL
from PIL import Image

colour = (10, 20, 30, 128)
file = io.BytesIO()
Image.new("RGBA", (2, 2), colour).save(file, "bmp")
stored = list(file.getvalue()[-4:])
image = Image.open(file)
print(PIL.__version__, "saved RGBA", colour, "stored", stored, "opened", image.mode, image.getpixel((0, 0)))
if stored != [30, 20, 10, 128] or image.mode != "RGB":
    sys.exit("no longer as described")
PY
done
