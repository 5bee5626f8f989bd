"""Initial weights of a training from files: ``init_from``, ``init_weights``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pix2pix_lightning.checkpoints import pretrained
from pix2pix_lightning.checkpoints.files import (
    JUNYANZ,
    TRAINING_STATE,
    find_checkpoint,
    infer_checkpoint_kind,
    read_checkpoint,
    read_ema_weights,
)
from pix2pix_lightning.checkpoints.junyanz import find_discriminator, read_junyanz
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import check_finite
from pix2pix_lightning.utils.instantiate import TARGET, get_argument

_log = logging.getLogger(__name__)
_ROLES = ("generator", "discriminator")


def load_initial_weights(module: Pix2PixModule, init_from: str | Sequence[str], *, weights: str = "trained") -> None:
    """Load the weights of a file, or of several, into a module's networks.

    The generator's weights have to fit. A discriminator that does not fit keeps its own first weights, which is logged.

    Args:
        module: A new module.
        init_from: A ``.ckpt`` file, a run's folder, ``model.safetensors`` or its folder; ``latest_net_G.pth`` or
            ``latest_net_D.pth`` of junyanz, or the folder with both. Or a list of them.
        weights: ``trained``, or ``ema`` for the EMA weights of each generator.

    Raises:
        FileNotFoundError: The file does not exist.
        UserError: The file is none of these, its generator is another network or has no EMA weights, or the weights are
            not finite.
    """
    check_choice("init_weights", weights, ("trained", "ema"))
    for name in [init_from] if isinstance(init_from, str) else init_from:
        try:
            path = find_checkpoint(Path(name))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"init_from={name} is no checkpoint, and no folder with one: give a .ckpt or .safetensors file, "
                "latest_net_G.pth or latest_net_D.pth, or a folder with one of them"
            ) from None
        paths = [path]
        if Path(name).is_dir() and path.name == JUNYANZ and (second := find_discriminator(path)) is not None:
            paths.append(second)
        for file in paths:
            networks = _read_networks(file)
            if weights == "ema" and "generator" in networks:
                ema = read_ema_weights(file, otherwise="init_weights=trained")
                networks["generator"] = ema, networks["generator"][1]
            loaded = [role for role in networks if _load_network(module, role, *networks[role], file)]
            if not loaded and "generator" not in networks and module.discriminator is None:
                raise UserError(f"init_from={file} holds a discriminator, and this training has none: leave it out")
            if loaded:
                _log.info("initial weights: the %s of %s", " and the ".join(loaded), file)


def _read_networks(path: Path) -> dict[str, tuple[Mapping[str, Tensor], Mapping[str, Any] | None]]:
    """Return state and description of each network in a file."""
    if (kind := infer_checkpoint_kind(path)) == "junyanz":
        network = read_junyanz(path)
        return {network.role: (network.state, network.description)}
    if kind == "exported":
        raise UserError(f"init_from={path} is an exported graph: give the checkpoint that it was made from")
    saved = pretrained.read_pretrained(path) if kind == "pretrained" else read_checkpoint(path, skip=TRAINING_STATE)
    state, described = saved["state_dict"], saved["hyper_parameters"]
    networks: dict[str, tuple[Mapping[str, Tensor], Mapping[str, Any] | None]] = {}
    for role in _ROLES:
        own = {key.removeprefix(f"{role}."): value for key, value in state.items() if key.startswith(f"{role}.")}
        if own:
            networks[role] = (own, described.get(role))
    return networks


def _load_network(
    module: Pix2PixModule, role: str, state: Mapping[str, Tensor], described: Mapping[str, Any] | None, path: Path
) -> bool:
    network: nn.Module | None = getattr(module, role)
    if network is None:
        return False
    own = network.state_dict()
    other = next((key for key in [*own, *state] if _get_shape(own, key) != _get_shape(state, key)), None)
    if other is None:
        check_finite(state, network, f"init_from={path}")
        network.load_state_dict(state)
        return True
    found = f"{other} is {_get_shape(state, other) or 'missing'} there and {_get_shape(own, other) or 'missing'} here"
    if role == "discriminator":
        _log.info("the discriminator keeps its own first weights, since that of %s is another network: %s", path, found)
        return False
    raise UserError(
        f"init_from={path} holds another generator, {found}: {_format_fix(module.hparams[role], described)}"
    )


def _get_shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(state[key].shape) if key in state else None


def _format_fix(own: Mapping[str, Any] | None, described: Mapping[str, Any] | None) -> str:
    if not own or not described:
        return "train the network that it holds"
    if own[TARGET] != described[TARGET]:
        return f"it is a {described[TARGET].rpartition('.')[2]}, choose such a generator="
    # a file of an earlier version lacks new keys, which stand for the default of their class; dropout, which weights do
    # not show, is never the cause
    told = {key for key in {**described, **own} if key != TARGET and (key in described or "dropout" not in key)}
    values = {key: get_argument(described, key) for key in sorted(told)}
    keys = [key for key, value in values.items() if value != get_argument(own, key)]
    sides = [key for key in keys if key in ("in_channels", "out_channels")]
    if sides:
        key = sides[0]
        return f"its {key} is {values[key]}, and that of these pairs {own.get(key)}: see data.a and data.b"
    words = " ".join(f"module.generator.{key}={values[key]}" for key in keys)
    return f"set {words}" if words else "leave the generator's settings at their defaults"
