"""From a file, whoever wrote it, to a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pix2pix_lightning.checkpoints.files import EMA_KEY, PROJECT_KEY, infer_checkpoint_kind, read_checkpoint
from pix2pix_lightning.checkpoints.junyanz import read_junyanz
from pix2pix_lightning.checkpoints.pretrained import load_pretrained, read_pretrained
from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, check_trusted, locate

_KINDS = {3: "rgb", 1: "grayscale"}  # of a side of so many channels, as J has it


def open_module(
    path: Path,
    *,
    weights: str = "trained",
    trust: Sequence[str] = (),
    pair: PairSpec | Mapping[str, Any] | None = None,
) -> Pix2PixModule:
    """The module that a file holds, on the CPU, in evaluation mode.

    Args:
        path: A ``.ckpt`` that training wrote; ``model.safetensors`` of ``save_pretrained``; a generator of
            pytorch-CycleGAN-and-pix2pix, ``latest_net_G.pth``.
        weights: ``trained``, or ``ema`` where training kept an average of the generator.
        trust: Packages whose classes the file may name, beside this one's and torch's.
        pair: What the images mean, where the file does not say it: by default sides of 256 pixels, ``rgb`` or
            ``grayscale`` by their channels.

    Raises:
        ValueError: The file is none of these, names what is not trusted, or ``pair`` does not fit it.
    """
    if (kind := infer_checkpoint_kind(path)) == "junyanz":
        module = _of_junyanz(path, pair)
    elif pair is not None:
        raise UserError(f"pair={_said(pair)}: {path} says itself what its images mean; leave pair out")
    elif kind == "pretrained":
        module = load_pretrained(_trained_class(read_pretrained(path), path, trust), path, trust=trust)
    else:
        module = _trained_class(read_checkpoint(path), path, trust).load_from_checkpoint(path, trust=trust)
    if weights == "ema":
        module.generator.load_state_dict(_averaged(path))
    return module


def _trained_class(saved: Mapping[str, Any], path: Path, trust: Sequence[str]) -> type[Pix2PixModule]:
    name = saved[PROJECT_KEY]["module"]
    check_trusted({TARGET: name}, trust)
    cls = locate(name)
    if not issubclass(cls, Pix2PixModule):
        raise UserError(f"{path} is of a {name}, which is no Pix2PixModule: give a .ckpt file that training wrote")
    trained: type[Pix2PixModule] = cls
    return trained


def _of_junyanz(path: Path, pair: PairSpec | Mapping[str, Any] | None) -> Pix2PixModule:
    network = read_junyanz(path)
    if network.role != "generator":
        raise UserError(f"{path} holds a discriminator, which translates nothing: give latest_net_G.pth")
    spec = pair if isinstance(pair, PairSpec) else _completed(network.description, pair or {})
    for side, key in ((spec.source, "in_channels"), (spec.target, "out_channels")):
        if side.channels != network.description[key]:
            raise UserError(
                f"{path}: the generator's {key} is {network.description[key]}, but a side of kind {side.kind!r} has "
                f"{side.channels}: say by pair.source= and pair.target= what its images mean"
            )
    module = Pix2PixModule(network.description, None, pair_spec=spec)
    module.generator.load_state_dict(network.state)
    return module.eval()


def _completed(description: Mapping[str, Any], pair: Mapping[str, Any]) -> PairSpec:
    """J's defaults where nothing is said."""
    given = {key: value for key, value in pair.items() if value is not None}
    for side, key in (("source", "in_channels"), ("target", "out_channels")):
        channels = description[key]
        if side not in given and channels not in _KINDS:
            raise UserError(
                f"the generator's {key} is {channels}, which is neither rgb nor grayscale: say what its images mean by "
                f"pair.{side}={{kind:label,num_classes:{channels}}}"
            )
        given.setdefault(side, {"kind": _KINDS.get(channels)})
    return PairSpec.from_dict({"load_size": given.get("size", 256), **given})


def _averaged(path: Path) -> dict[str, Tensor]:
    checkpoint = read_checkpoint(path) if infer_checkpoint_kind(path) == "training" else {}
    if EMA_KEY not in checkpoint:
        raise UserError(f"{path} has no EMA weights: train with callbacks=[default,ema], or weights=trained")
    average: dict[str, Tensor] = checkpoint[EMA_KEY]
    return average


def _said(pair: PairSpec | Mapping[str, Any]) -> dict[str, Any]:
    values = pair.to_dict() if isinstance(pair, PairSpec) else dict(pair)
    return {key: value for key, value in values.items() if value is not None}
