"""Let a resumed run follow its present settings where the saved state of a callback would win."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint


class KeepSettings(Callback):
    """Change the states of other callbacks before they are loaded from a checkpoint.

    - ``EarlyStopping`` saves its ``patience`` and would go on with that of the checkpoint.
    - ``ModelCheckpoint`` finds its state by how often it saves. With another interval it would forget its best score,
      and replace the best checkpoint by a worse one.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Change the states, in place."""
        states = checkpoint.get("callbacks", {})
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.state_key in states:
                states[callback.state_key]["patience"] = callback.patience
            if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.state_key not in states:
                beginning = (
                    f"{type(callback).__qualname__}{{'monitor': {callback.monitor!r}, 'mode': {callback.mode!r},"
                )
                found = [key for key in states if str(key).startswith(beginning)]
                if len(found) == 1:
                    states[callback.state_key] = states.pop(found[0])
