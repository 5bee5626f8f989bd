"""Load a module from a checkpoint, a pretrained model or a generator of the PyTorch reference implementation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2pix_lightning.checkpoints.files import PROJECT_KEY, infer_checkpoint_kind, open_checkpoint
from pix2pix_lightning.checkpoints.junyanz import JunyanzNetwork, read_junyanz
from pix2pix_lightning.checkpoints.pretrained import load_pretrained, read_pretrained
from pix2pix_lightning.checkpoints.restore import load_ema_weights
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import check_finite
from pix2pix_lightning.utils.instantiate import TARGET, check_trusted, locate

_COLORIZATION = 1, 2  # L in, a and b out
_ASSUMED_SIZE = 256  # pixels, the default of the reference implementation
_KINDS = {3: "rgb", 1: "grayscale"}  # of a side by its channels, as in the reference implementation


def ignore_line(line: str) -> None:
    """Ignore a line: the default of ``report``."""


def open_module(
    path: Path,
    *,
    weights: str = "trained",
    trust: Sequence[str] = (),
    pair: PairSpec | Mapping[str, Any] | None = None,
    report: Callable[[str], object] = ignore_line,
) -> Pix2PixModule:
    """Load the module of a file, on the CPU, in evaluation mode.

    Args:
        path: A ``.ckpt`` of a training; ``model.safetensors`` of ``save_pretrained``; or a generator of
            pytorch-CycleGAN-and-pix2pix, ``latest_net_G.pth``.
        weights: ``trained``, or ``ema`` for the exponential moving average of the generator, where training stored it.
        trust: Packages whose classes the file may name, in addition to this one's and torch's.
        pair: Meaning of the images, where the file does not contain it; by default that of the options file next to a
            ``latest_net_G.pth``, else sides of 256 pixels, ``rgb`` or ``grayscale`` by their channels.
        report: Called with one line that says what was taken from that options file.

    Returns:
        The module.

    Raises:
        UserError: The file is of another kind, has no EMA weights, names a class that is not trusted, holds weights
            that are not finite, or ``pair`` does not fit it.
    """
    if (kind := infer_checkpoint_kind(path)) == "junyanz":
        module = _load_junyanz(path, pair, report)
    elif pair is not None:
        raise UserError(
            f"pair={_describe_pair(pair)}: {path} already contains the meaning of its images; leave pair out"
        )
    elif kind == "pretrained":
        module = load_pretrained(
            _find_module_class(read_pretrained(path, verify=False), path, trust), path, trust=trust
        )
    else:
        with open_checkpoint(path, skip=None) as saved:
            cls = _find_module_class(saved, path, trust)
        module = cls.load_from_checkpoint(path, trust=trust)
    if weights == "ema":
        load_ema_weights(module.generator, path)
    return module


def _find_module_class(saved: Mapping[str, Any], path: Path, trust: Sequence[str]) -> type[Pix2PixModule]:
    name = saved[PROJECT_KEY]["module"]
    check_trusted({TARGET: name}, trust)
    cls = locate(name)
    if not issubclass(cls, Pix2PixModule):
        raise UserError(f"{path} is of class {name}, which is not a Pix2PixModule: give a .ckpt file of a training")
    module_class: type[Pix2PixModule] = cls
    return module_class


def _load_junyanz(
    path: Path, pair: PairSpec | Mapping[str, Any] | None, report: Callable[[str], object]
) -> Pix2PixModule:
    network = read_junyanz(path)
    if network.role != "generator":
        raise UserError(f"{path} holds a discriminator, which translates nothing: give latest_net_G.pth")
    given = (
        {} if isinstance(pair, PairSpec) else {key: value for key, value in (pair or {}).items() if value is not None}
    )
    spec = pair if isinstance(pair, PairSpec) else _complete_pair(network, given)
    for side, key in ((spec.source, "in_channels"), (spec.target, "out_channels")):
        if side.channels != network.description[key]:
            raise UserError(
                f"{path}: the generator's {key} is {network.description[key]}, but a side of kind {side.kind!r} has "
                f"{side.channels}: set pair.source= and pair.target= to the meaning of its images"
            )
    module = Pix2PixModule(network.description, None, pair_spec=spec)
    check_finite(network.state, module.generator, path)
    module.generator.load_state_dict(network.state)
    given_keys = ("size", "direction", "resize", "source", "target") if isinstance(pair, PairSpec) else tuple(given)
    if line := _format_origin(network, spec, given_keys, path):
        report(line)
    return module.eval()


def _is_colorization(network: JunyanzNetwork) -> bool:
    """Return whether a generator's channels are L, and a, b of Lab."""
    channels = network.description["in_channels"], network.description["out_channels"]
    return channels == _COLORIZATION or (network.options is not None and network.options.is_colorization)


def _complete_pair(network: JunyanzNetwork, given: Mapping[str, Any]) -> PairSpec:
    """Fill what is not given with the options next to the file, else with the reference implementation's defaults."""
    values = dict(given)
    if _is_colorization(network):  # of photos, which have no direction and lie in no strips
        for side, part in (("source", "l"), ("target", "ab")):
            values.setdefault(side, {"kind": "lab", "part": part})
        values.setdefault("strips", False)
    for side, key in (("source", "in_channels"), ("target", "out_channels")):
        channels = network.description[key]
        if side not in values and channels not in _KINDS:
            raise UserError(
                f"the generator's {key} is {channels}, which is neither rgb nor grayscale: set "
                f"pair.{side}={{kind:label,num_classes:{channels}}} or the like"
            )
        values.setdefault(side, {"kind": _KINDS.get(channels)})
    if (options := network.options) is not None:
        if options.has_strips:
            values.setdefault("strips", True)
        if "size" not in values and options.load_size is not None:
            values.setdefault("load_size", options.load_size)
        if "resize" not in values:
            values.setdefault("is_whole", options.has_whole_images)
        for key in ("size", "direction", "resize"):
            if (stated := getattr(options, key)) is not None:
                values.setdefault(key, stated)
    values.setdefault("is_whole", values.get("resize", "stretch") != "stretch")
    return PairSpec.from_dict({"size": _ASSUMED_SIZE, **values})


def _format_origin(network: JunyanzNetwork, spec: PairSpec, given: Collection[str], path: Path) -> str:
    """Format what was taken from the options next to a file, and what was assumed; empty if nothing was."""
    if (options := network.options) is None:
        return "" if "size" in given else f"no train_opt.txt next to {path}: pair.size={spec.size} is assumed"
    stated = ["size", "direction", *(["resize"] if options.resize != "stretch" else [])]
    used = [f"pair.{key}={getattr(spec, key)}" for key in stated if key not in given and getattr(options, key)]
    if "dropout_at" in network.description and "no_dropout" in options.values:
        used.append(f"dropout={network.description['dropout']}")
    notes = [" ".join(used)] if used else []
    if "size" not in given and options.size is None:
        notes.append(f"it has no crop_size, so that pair.size={spec.size} is assumed")
    if "direction" in given and options.direction not in (None, spec.direction):
        notes.append(f"trained {options.direction}, and used {spec.direction} here")
    if not options.is_whole:
        notes.append("it has no end, and may be cut short")
    return f"{options.path}: {'; '.join(notes)}" if notes else ""


def _describe_pair(pair: PairSpec | Mapping[str, Any]) -> dict[str, Any]:
    values = pair.to_dict() if isinstance(pair, PairSpec) else dict(pair)
    return {key: value for key, value in values.items() if value is not None}
