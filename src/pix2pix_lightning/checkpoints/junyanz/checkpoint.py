"""The checkpoints of junyanz/pytorch-CycleGAN-and-pix2pix ("J"), ``latest_net_G.pth`` and ``latest_net_D.pth``."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pix2pix_lightning.checkpoints.files import read_data, write_checkpoint
from pix2pix_lightning.checkpoints.junyanz.keys import describe, key_names, layer_names
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build

if TYPE_CHECKING:
    from torch import Tensor, nn

_MEND = "give a latest_net_G.pth or latest_net_D.pth that a pix2pix of pytorch-CycleGAN-and-pix2pix wrote"
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile


class JunyanzNetwork(NamedTuple):
    """What a file of J holds.

    Attributes:
        role: ``"generator"`` or ``"discriminator"``.
        description: Of the network, as ``config.build`` takes it.
        state: For its ``load_state_dict``, the bytes as the file has them; a network of another precision rounds them.
    """

    role: str
    description: dict[str, Any]
    state: dict[str, Tensor]


def read_junyanz(path: str | Path) -> JunyanzNetwork:
    """A generator or discriminator of J; no code in the file is run.

    What kind of network it is, is found from names and shapes alone. Files of any age are read: those that know no
    ``num_batches_tracked``, which then is 0, and those that have statistics of instance norms, which J drops.

    Args:
        path: ``<epoch>_net_G.pth`` or ``<epoch>_net_D.pth``, by whatever name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is something else, or of a network that has no equal here.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {_MEND}")
    data = read_data(path, mend=_MEND)
    try:
        theirs = _tensors(data)
        description = describe({key: tuple(value.shape) for key, value in theirs.items()})
        with torch.device("meta"):
            network = build(description)
        state = _renamed(theirs, network)
    except ValueError as error:
        raise UserError(
            f"{path} holds no network of pytorch-CycleGAN-and-pix2pix that is known here ({error}): {_MEND}"
        ) from None
    role = "discriminator" if description[TARGET].endswith("Discriminator") else "generator"
    return JunyanzNetwork(role, description, state)


def junyanz_state(network: nn.Module) -> OrderedDict[str, Tensor]:
    """The state of a network of ours by J's names, in J's order.

    Args:
        network: A generator or discriminator of ``networks``.

    Raises:
        ValueError: J has no such network.
    """
    try:
        keys = key_names(network)
    except ValueError as error:
        raise UserError(f"pytorch-CycleGAN-and-pix2pix could not read this network: {error}") from None
    own = network.state_dict()
    return OrderedDict((theirs, own[ours]) for ours, theirs in keys.items())


def write_junyanz(network: nn.Module, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a network as J would, whole or not at all.

    J takes ``latest_net_G.pth`` and ``latest_net_D.pth`` in ``checkpoints/<name>/``, with ``--netG`` or ``--netD``,
    ``--norm`` and the like as the network is, and ``--no_dropout`` for a ResNet without dropout.

    Args:
        network: A generator or discriminator of ``networks``.
        path: Of the file; its folder is made.
        overwrite: Replace a file that is there.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is off.
        ValueError: J has no such network.
        OSError: There is no room for it, or it may not be written.
    """
    path = Path(path)
    state = junyanz_state(network)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another output, or say overwrite=true")
    write_checkpoint(OrderedDict((key, value.cpu().contiguous()) for key, value in state.items()), path)


def discriminator_beside(path: str | Path) -> Path | None:
    """The discriminator that J wrote together with a generator, ``latest_net_D.pth`` beside ``latest_net_G.pth``."""
    path = Path(path)
    beside = path.with_name(re.sub(r"net_G(?=\.\w+$)", "net_D", path.name))
    return beside if beside.name != path.name and beside.is_file() else None


def _tensors(data: Any) -> dict[str, Tensor]:
    """By their names, without those of wrappers."""
    if not isinstance(data, dict) or not data:
        raise UserError(f"it is {'an empty' if data == {} else 'a'} {type(data).__name__}, no dict of tensors")
    for key, value in data.items():
        if not isinstance(key, str) or not _is_whole_tensor(value):
            raise UserError(f"{key!r} is no tensor that the file holds")
    tensors = {key: value.detach() for key, value in data.items()}
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in tensors):
            tensors = {key.removeprefix(wrapper): value for key, value in tensors.items()}
    return tensors


def _is_whole_tensor(value: Any) -> bool:
    """Whether all elements are in the file: shapes alone can claim any number."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _renamed(theirs: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors under our names, each of the shape that ``network`` has for it."""
    import torch

    own = network.state_dict()
    names = {their_key: our_key for our_key, their_key in key_names(network).items()}
    statistics = _statistics_of_instance_norms(network)
    state = {}
    for key, value in theirs.items():
        if key in statistics:
            continue
        if key not in names:
            raise UserError(f"{key!r} has no place in its {type(network).__name__}")
        expected = own[names[key]]
        if value.shape != expected.shape:
            raise UserError(f"{key} is {tuple(value.shape)}, where {tuple(expected.shape)} is expected")
        if value.is_floating_point() != expected.is_floating_point():
            raise UserError(f"{key} is of {value.dtype}, where {expected.dtype} is expected")
        state[names[key]] = value
    for key, name in names.items():
        if key.endswith(".num_batches_tracked"):  # since torch 0.4.1
            state.setdefault(name, torch.tensor(0))
        elif name not in state:
            raise UserError(f"{key} is missing")
    return state


def _statistics_of_instance_norms(network: nn.Module) -> set[str]:
    """What files of torch before 0.4 have for norms that keep nothing."""
    from torch import nn

    norms = [
        theirs
        for ours, theirs in layer_names(network).items()
        if isinstance(network.get_submodule(ours), nn.InstanceNorm2d)
    ]
    return {f"{norm}.{leaf}" for norm in norms for leaf in ("running_mean", "running_var", "num_batches_tracked")}
