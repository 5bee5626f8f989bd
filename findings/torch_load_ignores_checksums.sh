#!/usr/bin/env bash
# torch: a checkpoint with a changed byte in a tensor is loaded without an error, although the file holds the CRC32 of each tensor.
#
# Expected: an error, as Python's zipfile gives for the same file, and as gzip and PNG readers give for theirs.
# Happens: torch.save writes the checksums and torch.load does not compare them, with and without mmap and weights_only.
# Avoid: `zipfile.ZipFile(path).testzip()` before loading, or a checksum of one's own.
# Python 3.11, torch 2.13.0 (CPU)
# Seen 2026-11-28: of 1000 ones the loaded tensor has 999; zipfile: "Bad CRC-32 for file ..."
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
cd "$tmp"
"$tmp/venv/bin/python" - <<'PY'
import sys
import zipfile
from pathlib import Path

import torch

torch.save({"weight": torch.ones(1000)}, "model.ckpt")
content = bytearray(Path("model.ckpt").read_bytes())
content[content.find(b"\x00\x00\x80\x3f" * 4) + 3] ^= 1  # one bit of the first value
Path("model.ckpt").write_bytes(content)
sums = [(torch.load("model.ckpt", mmap=mmap, weights_only=True)["weight"] == 1).sum().item() for mmap in (False, True)]
named = zipfile.ZipFile("model.ckpt").testzip()
print("torch", torch.__version__, "ones in the loaded tensor:", sums, "zipfile finds damage in:", named)
if sums != [999, 999] or named is None:
    sys.exit("no longer as described")
PY
