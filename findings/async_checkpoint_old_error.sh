#!/usr/bin/env bash
# lightning 2.6.6: AsyncCheckpointIO never forgets an error: after one failed write, every later save and teardown raises it again.
#
# Expected: an error of the disk is raised once. When the disk has space again, the same plugin saves without errors.
# Happens: the error is kept in the plugin and never cleared. Later saves write their files, and still raise the old error, as
#   does each teardown, so that a second Trainer.fit with the plugin fails at its first checkpoint.
# Avoid: make a new AsyncCheckpointIO for each Trainer.
# Python 3.11, lightning 2.6.6, torch 2.13.0
# Seen 2026-11-28: written: ['2.ckpt', '3.ckpt']; raised: ['teardown 1', 'save 2', 'teardown 2', 'save 3', 'teardown 3']
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip install --quiet --no-compile --target "$tmp/lib" torch==2.13.0 lightning==2.6.6
PYTHONPATH="$tmp/lib" python3 - "$tmp" <<'PY'
import pathlib
import sys

import torch
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO


class FullOnceCheckpointIO(TorchCheckpointIO):
    """A disk that has no space left at the first save."""

    is_full = True

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        if self.is_full:
            raise OSError("No space left on device")
        super().save_checkpoint(checkpoint, path, storage_options)


folder = pathlib.Path(sys.argv[1], "checkpoints")
folder.mkdir()
disk = FullOnceCheckpointIO()
plugin = AsyncCheckpointIO(disk)
raised = []
for number in (1, 2, 3):
    disk.is_full = number == 1
    try:
        plugin.save_checkpoint({"weight": torch.ones(1)}, folder / f"{number}.ckpt")
    except OSError:
        raised.append(f"save {number}")
    try:
        plugin.teardown()  # waits until the file is written
    except OSError:
        raised.append(f"teardown {number}")
raised = [place for place in raised if place != "save 1"]  # depends on how fast the thread is
written = sorted(path.name for path in folder.iterdir())
print(f"written: {written}; raised: {raised}")
assert written == ["2.ckpt", "3.ckpt"], "no longer as described"
assert raised == ["teardown 1", "save 2", "teardown 2", "save 3", "teardown 3"], "no longer as described"
PY
