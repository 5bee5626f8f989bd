"""Checkpoints that are found again after a run's folder was moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class FollowRunDir(Callback):
    """Tells each ``ModelCheckpoint`` that its folder is where it is now.

    Else it would forget its best score when a moved run is resumed, and overwrite the best checkpoint with a worse one.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Rewrite the paths in the callbacks' states before they are loaded."""
        states = checkpoint.get("callbacks", {})
        for callback in trainer.checkpoint_callbacks:
            state = states.get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state is not None:
                states[callback.state_key] = _moved(state, str(callback.dirpath))


def _moved(state: dict[str, Any], folder: str) -> dict[str, Any]:
    def here(path: str) -> str:
        return str(Path(folder) / Path(path).name) if path else path

    paths = {key: here(value) for key, value in state.items() if key.endswith("_path")}
    best = {here(path): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "best_k_models": best, "dirpath": folder}
