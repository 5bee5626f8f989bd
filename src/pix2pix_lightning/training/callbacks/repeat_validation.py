"""Let a run that was stopped during a validation repeat it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class RepeatValidation(Callback):
    """Change the counters of a checkpoint that is saved during a validation, so that a resumed run repeats it whole.

    With Lightning's own counters the run would go on in the middle, with a loader that begins anew and metrics that
    have forgotten the images before: the figures of the epoch would be those of other images, or training would go on
    after the last batch of the epoch (lightning 2.6).
    """

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Set the counters to a validation that has begun and seen no batch."""
        if not trainer.validating or "fit_loop" not in checkpoint.get("loops", {}):
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
        begun = max(1, progress["total"]["ready"])
        total = {"ready": begun, "started": begun, "processed": begun - 1, "completed": begun - 1}
        progress["total"] = {**progress["total"], **total}
        progress["current"] = dict.fromkeys(progress["current"], 0)
        progress["is_last_batch"] = False
