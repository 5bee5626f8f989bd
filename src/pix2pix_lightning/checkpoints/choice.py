"""Which weights of a model a command takes by default, and how it says so."""

from __future__ import annotations

from pathlib import Path

from pix2pix_lightning.checkpoints.builtin import is_builtin
from pix2pix_lightning.checkpoints.files import (
    BEST,
    EMA_KEY,
    LAST,
    has_discriminator,
    infer_checkpoint_kind,
    open_checkpoint,
)

WEIGHTS = ("auto", "trained", "ema")
"""Values of ``weights``: ``auto`` is ``ema`` where the checkpoint has EMA weights of the generator."""


def resolve_weights(path: Path, weights: str) -> str:
    """Return ``trained`` or ``ema`` for one of `WEIGHTS`.

    Args:
        path: The file that is loaded.
        weights: One of `WEIGHTS`; only ``auto`` reads the file.

    Raises:
        UserError: The file is no checkpoint, or is damaged.
        OSError: The file cannot be read.
    """
    if weights != "auto":
        return weights
    if infer_checkpoint_kind(path) != "training":
        return "trained"
    with open_checkpoint(path, skip=None) as checkpoint:
        return "ema" if EMA_KEY in checkpoint else "trained"


def describe_choice(given: Path, path: Path, weights: str) -> str | None:
    """Describe in one line which weights were chosen, and why.

    Args:
        given: What the user named: a file or a folder.
        path: The file that is loaded.
        weights: ``trained`` or ``ema``, as `resolve_weights` returns it.

    Returns:
        The line; None where there was nothing to choose: a file without EMA weights, or one of another program.

    Raises:
        UserError: The file is no checkpoint, or is damaged.
        OSError: The file cannot be read.
    """
    if is_builtin(given) or infer_checkpoint_kind(path) != "training" or (given == path and weights == "trained"):
        return None
    with open_checkpoint(path, skip=None) as checkpoint:
        is_adversarial, epoch = has_discriminator(checkpoint), checkpoint.get("epoch")
        monitors = [
            state["monitor"]
            for name, state in (checkpoint.get("callbacks") or {}).items()
            if str(name).startswith("ModelCheckpoint") and isinstance(state, dict) and state.get("monitor")
        ]
    facts = []
    if path == given / LAST:
        facts.append("the last of a training with a discriminator" if is_adversarial else "the last")
    elif path == given / BEST:
        facts.append(f"the best by {monitors[0]}" if len(monitors) == 1 else "the best")
    if isinstance(epoch, int):
        facts.append(f"epoch {epoch + 1}")
    reason = f" ({', '.join(facts)})" if facts else ""
    return f"weights: {path}{reason}, {'EMA' if weights == 'ema' else 'trained'} weights"
