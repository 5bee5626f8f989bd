"""How the trainer writes its checkpoints."""

from __future__ import annotations

from typing import Any

from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from pix2pix_lightning.checkpoints import write_checkpoint


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all.

    Lightning's own writes to the folder of temporary files and moves the result, which copies it where that is another
    disk: onto the last good checkpoint, which a full disk then cuts short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Write to a file beside ``path``, and put it in its place.

        Raises:
            OSError: There is no room for it, or it may not be written.
        """
        assert storage_options is None
        write_checkpoint(checkpoint, path)
