"""From a checkpoint to a module: what it needs to be made of one, and to go on from one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from pix2pix_lightning.checkpoints import PROJECT_KEY, read_checkpoint
from pix2pix_lightning.config import check_trusted
from pix2pix_lightning.images import PairSpec

_log = logging.getLogger(__name__)


def module_of(
    cls: type[LightningModule],
    path: str | Path,
    *,
    map_location: Any,
    trust: Sequence[str],
    strict: bool,
    live: Mapping[str, Any],
) -> LightningModule:
    """The module of class ``cls`` that a checkpoint holds; arguments as of ``Pix2PixModule.load_from_checkpoint``.

    Raises:
        ValueError: The file is no such checkpoint, names what is not trusted, or a live object is missing.
    """
    checkpoint = read_checkpoint(path, map_location)
    saved = checkpoint["hyper_parameters"]
    missing = [name for name in checkpoint[PROJECT_KEY]["live"] if name.partition(".")[0] not in live]
    if missing:
        raise ValueError(
            f"{path} was made with live objects: give {', '.join(f'{name}=' for name in missing)} "
            "to load_from_checkpoint"
        )
    arguments = {**{key: value for key, value in saved.items() if not key.startswith("_")}, **live}
    check_trusted({key: value for key, value in arguments.items() if key not in live}, trust)
    try:
        module = cls(**arguments)
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=strict)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} does not make a {cls.__name__}: {reason}") from None
    return module


def check_goes_on(spec: PairSpec, own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint of other pairs or other networks; warn of other optimizers.

    Args:
        spec: Of the pairs that are trained on.
        own: The module's hyperparameters.
        saved: The checkpoint's.

    Raises:
        ValueError: The line names what differs.
    """
    _check_pairs(spec, PairSpec.from_dict(saved["pair_spec"]))
    for name in ("generator", "discriminator"):
        if saved[name] != own[name]:
            raise ValueError(
                f"the checkpoint's {name} is {saved[name]}, not {own[name]}: resume with the run's own settings"
            )
    for name in ("optimizer_g", "optimizer_d"):
        if saved[name] != own[name]:
            _log.warning("%s goes on with the checkpoint's settings, not with %s", name, own[name])


def _check_pairs(own: PairSpec, saved: PairSpec) -> None:
    if own.direction != saved.direction:
        raise ValueError(
            f"data.direction={own.direction}, but the checkpoint was trained {saved.direction}: go on with the run's "
            "own direction, or start anew without resume="
        )
    sides = ("a", "b") if own.direction == "a_to_b" else ("b", "a")
    for key, side, before in zip(sides, (own.source, own.target), (saved.source, saved.target), strict=True):
        if (side.kind, side.channels) != (before.kind, before.channels):
            raise ValueError(
                f"data.{key}.kind={side.kind} (channels: {side.channels}), but the checkpoint was trained with "
                f"kind={before.kind} (channels: {before.channels}): go on with the run's own data, or start anew "
                "without resume="
            )
        if side.palette != before.palette:
            raise ValueError(
                f"data.{key}.palette is not the one that the checkpoint was trained with: go on with the run's own "
                "data, or start anew without resume="
            )
