#!/usr/bin/env bash
# torch: the bytes of a contiguous tensor cannot be viewed, if it is an image of one channel that was permuted to (H, W, C).
#
# Expected: view(torch.uint8) takes any tensor of which is_contiguous() is True, at the latest after contiguous().
# Happens: the stride of a side of 1 does not count for is_contiguous(), so that contiguous() copies nothing and keeps it; view()
# looks at the last stride alone, and raises. Images of three channels are copied, and work.
# Avoid: flatten first, tensor.view(-1).view(torch.uint8), or clone(memory_format=torch.contiguous_format).
# Python 3.11, torch 2.13.0 (CPU)
# Seen 2026-11-30: 1 channel: contiguous True, view raises; 3 channels: contiguous True, view ok; flat: ok
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch


def look(tensor):
    try:
        tensor.view(torch.uint8)
    except RuntimeError as error:
        return f"raises, {error}"
    return "ok"


found = {}
for channels in (1, 3):
    image = torch.zeros(channels, 8, 8).permute(1, 2, 0).contiguous()
    found[channels] = image.is_contiguous(), look(image)
    print(torch.__version__, channels, "channels, stride", image.stride(), "contiguous and bytes:", found[channels])
flat = look(torch.zeros(1, 8, 8).permute(1, 2, 0).contiguous().view(-1))
print("flat:", flat)
if not (found[1][0] and found[1][1].startswith("raises") and found[3] == (True, "ok") and flat == "ok"):
    sys.exit("no longer as described")
PY
