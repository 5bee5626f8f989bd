"""Let a run whose folder was moved find its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class FollowRunDir(Callback):
    """Replace the paths in the state of each ``ModelCheckpoint`` by those of the present folder.

    A ``ModelCheckpoint`` in another folder forgets its best score, and would replace the best checkpoint by a worse
    one.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Replace the paths in the callbacks' states before they are loaded."""
        states = checkpoint.get("callbacks", {})
        for callback in trainer.checkpoint_callbacks:
            state = states.get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state is not None:
                states[callback.state_key] = _replace_paths(state, str(callback.dirpath))


def _replace_paths(state: dict[str, Any], folder: str) -> dict[str, Any]:
    def replace(path: str) -> str:
        return str(Path(folder) / Path(path).name) if path else path

    paths = {key: replace(value) for key, value in state.items() if key.endswith("_path")}
    best = {replace(path): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "best_k_models": best, "dirpath": folder}
