"""Read and write ``latest_net_G.pth`` and ``latest_net_D.pth`` of junyanz/pytorch-CycleGAN-and-pix2pix."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pix2pix_lightning.checkpoints.files import read_data, write_checkpoint
from pix2pix_lightning.checkpoints.junyanz.keys import infer_network, map_keys, map_layers
from pix2pix_lightning.checkpoints.junyanz.options import ModelOptions, find_generator_name, find_options
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build

if TYPE_CHECKING:
    from torch import Tensor, nn

_HINT = "give a latest_net_G.pth or latest_net_D.pth that a pix2pix of pytorch-CycleGAN-and-pix2pix wrote"
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel, torch.compile


class JunyanzNetwork(NamedTuple):
    """A network that was read from a junyanz file.

    Attributes:
        role: ``"generator"`` or ``"discriminator"``.
        description: Class and arguments of the network here, for `utils.instantiate.build`.
        state: Its state dict under the names here, in the precision of the file.
        options: The options of its training, where they lie next to it.
    """

    role: str
    description: dict[str, Any]
    state: dict[str, Tensor]
    options: ModelOptions | None = None


def read_junyanz(path: str | Path) -> JunyanzNetwork:
    """Read a generator or a discriminator of junyanz. No code in the file is run.

    The network is inferred from names and shapes, and compared with the options next to the file, which tell in
    addition whether a U-Net has dropout. Files of all versions are read: those without
    ``num_batches_tracked``, which is then 0, and those with statistics of instance norms, which are dropped as
    junyanz drops them.

    Args:
        path: ``<epoch>_net_G.pth`` or ``<epoch>_net_D.pth``; the name does not matter.

    Returns:
        The network's role, description, weights and options.

    Raises:
        FileNotFoundError: The file does not exist.
        UserError: The file has another format, its network has no equivalent here, or the options next to it are those
            of another network.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {_HINT}")
    data = read_data(path, hint=_HINT)
    try:
        theirs = _unwrap_tensors(data)
        description = infer_network({key: tuple(value.shape) for key, value in theirs.items()})
        with torch.device("meta"):
            network = build(description)
        state = _rename_tensors(theirs, network)
    except ValueError as error:
        raise UserError(
            f"{path} holds no network of pytorch-CycleGAN-and-pix2pix that is known here ({error}): {_HINT}"
        ) from None
    role = "discriminator" if description[TARGET].endswith("Discriminator") else "generator"
    options = find_options(path)
    return JunyanzNetwork(role, options.complete(description, path) if options else description, state, options)


def to_junyanz_state(network: nn.Module) -> OrderedDict[str, Tensor]:
    """Return the state dict of a network under junyanz's names and in junyanz's order.

    Args:
        network: A generator or discriminator of `networks`.

    Raises:
        UserError: junyanz has no such network.
    """
    try:
        keys = map_keys(network)
    except ValueError as error:
        raise UserError(f"pytorch-CycleGAN-and-pix2pix could not read this network: {error}") from None
    own = network.state_dict()
    return OrderedDict((theirs, own[ours]) for ours, theirs in keys.items())


def format_flags(generator: nn.Module) -> str:
    """Return the flags with which junyanz's ``test.py`` and ``train.py`` build a generator that was written.

    Args:
        generator: A generator of `networks`.

    Returns:
        ``--netG``, ``--norm`` and the flags that differ from the defaults of ``--model pix2pix``; or that there are
        none for this network.

    Raises:
        UserError: junyanz has no such network.
    """
    from torch import nn

    described = infer_network({key: tuple(value.shape) for key, value in to_junyanz_state(generator).items()})
    name = find_generator_name(described)
    if name is None:
        depth = next(key for key in ("num_downs", "num_blocks") if key in described)
        return f"no --netG of theirs has {depth}={described[depth]}: change their define_G"
    norm = described["norm"].removesuffix("_no_bias")
    flags = [f"--netG {name} --norm {norm}"]
    for flag, key, default in (
        ("ngf", "base_channels", 64),
        ("input_nc", "in_channels", 3),
        ("output_nc", "out_channels", 3),
    ):
        flags += [f"--{flag} {described[key]}"] if described[key] != default else []
    has_dropout = any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in generator.modules())
    return " ".join(flags if has_dropout else [*flags, "--no_dropout"])


def write_junyanz(network: nn.Module, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a network as junyanz would, atomically.

    junyanz reads ``latest_net_G.pth`` and ``latest_net_D.pth`` from ``checkpoints/<name>/``. Its flags ``--netG``,
    ``--netD`` and ``--norm`` must fit the network, and a ResNet without dropout needs ``--no_dropout``.

    Args:
        network: A generator or discriminator of `networks`.
        path: The file; its folder is created.
        overwrite: Whether an existing file is replaced.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        UserError: junyanz has no such network.
        OSError: The disk is full, or the file cannot be written.
    """
    path = Path(path)
    state = to_junyanz_state(network)
    check_absent(path, overwrite=overwrite)
    write_checkpoint(OrderedDict((key, value.cpu().contiguous()) for key, value in state.items()), path)


def find_discriminator(path: str | Path) -> Path | None:
    """Find the discriminator that junyanz saved with a generator: ``latest_net_D.pth`` next to ``latest_net_G.pth``.

    Args:
        path: File of the generator.

    Returns:
        File of the discriminator, or None if there is none.
    """
    path = Path(path)
    found = path.with_name(re.sub(r"net_G(?=\.\w+$)", "net_D", path.name))
    return found if found.name != path.name and found.is_file() else None


def _unwrap_tensors(data: Any) -> dict[str, Tensor]:
    """Check that the data is a state dict, and remove the prefixes of wrappers from its keys."""
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
    """Return whether all elements are in the file. An expanded tensor claims any shape with one element."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _rename_tensors(theirs: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename junyanz's tensors to the keys of `network`, and check shapes and kinds."""
    import torch

    own = network.state_dict()
    names = {their_key: our_key for our_key, their_key in map_keys(network).items()}
    statistics = _list_instance_norm_statistics(network)
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
        if key.endswith(".num_batches_tracked"):  # unknown before torch 0.4.1
            state.setdefault(name, torch.tensor(0))
        elif name not in state:
            raise UserError(f"{key} is missing")
    return state


def _list_instance_norm_statistics(network: nn.Module) -> set[str]:
    """List the keys that files of torch before 0.4 have for instance norms, which hold no tensors here."""
    from torch import nn

    norms = [
        theirs
        for ours, theirs in map_layers(network).items()
        if isinstance(network.get_submodule(ours), nn.InstanceNorm2d)
    ]
    return {f"{norm}.{leaf}" for norm in norms for leaf in ("running_mean", "running_var", "num_batches_tracked")}
