"""Let a resumed run follow its present settings where the saved state of a callback would win."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

_log = logging.getLogger(__name__)


class KeepSettings(Callback):
    """Change the states of other callbacks before they are loaded from a checkpoint.

    - ``EarlyStopping`` saves its ``patience`` and would go on with that of the checkpoint.
    - ``ModelCheckpoint`` finds its state by how often it saves. With another interval it would forget its best score,
      and replace the best checkpoint by a worse one. With another metric it does forget it, which is logged.
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
                else:
                    _report_other_metric(callback, trainer, states)


def _report_other_metric(callback: ModelCheckpoint, trainer: Trainer, states: Mapping[str, Any]) -> None:
    """Log that the best checkpoint begins anew, since its metric is another than before."""
    present = {getattr(one, "monitor", None) for one in trainer.checkpoint_callbacks}
    before = [
        state["monitor"]
        for key, state in states.items()
        if str(key).startswith(f"{type(callback).__qualname__}{{") and state.get("monitor") not in present
    ]
    if before:
        _log.info(
            "%s.ckpt was chosen by %s until here, and is chosen by %s from now on: its best value begins anew",
            callback.filename,
            before[0],
            callback.monitor,
        )
