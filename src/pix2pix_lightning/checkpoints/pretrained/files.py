"""Save a module as ``config.json`` and ``model.safetensors``, in a folder or both in one file, and load it.

Files may come from strangers. They are read into the same form as a checkpoint, and checked in the same way.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from pix2pix_lightning.checkpoints.checksums import CHECKSUM_KEY, NO_CHECKSUM, embed_checksum, verify_embedded
from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.checkpoints.pretrained.card import Card, build_card
from pix2pix_lightning.checkpoints.pretrained.hub import CONFIG, WEIGHTS, require_extra, upload_folder
from pix2pix_lightning.checkpoints.restore import Module, restore_module
from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import check_size
from pix2pix_lightning.utils.memory import is_out_of_memory
from pix2pix_lightning.utils.version import __version__

_FORMAT = 1
_KINDS = {"format": int, "module": str, "live": list, "batches_seen": int, "hyper_parameters": dict}
_OTHER_PRECISIONS = {torch.float64, torch.bfloat16, torch.float16}  # modules are built in float32
_MAX_CONFIG_BYTES = 2**20  # a configuration has about 2,000
_HINT = "give what save_pretrained or export format=safetensors wrote"


def is_pretrained(path: Path) -> bool:
    """Return whether a path is a ``.safetensors`` file, or a folder that has one or both of a model's files."""
    if path.is_dir():
        return (path / CONFIG).is_file() or (path / WEIGHTS).is_file()
    return path.suffix == ".safetensors"


def load_pretrained(cls: type[Module], path: str | Path, *, trust: Sequence[str] = (), **live: Any) -> Module:
    """Load the module of a folder or a file.

    Args:
        cls: `Pix2PixModule`, or the subclass that was saved.
        path: A folder of `save_pretrained`, or a ``.safetensors`` file.
        trust: Packages, besides this one and torch's, whose networks and losses the file may name.
        **live: Arguments of the constructor, in place of the saved ones. Live objects must be given again.

    Returns:
        The module, in evaluation mode and in the precision in which it was saved.

    Raises:
        UserError: The file is no model, names a class that is not trusted, or a live object is missing.
        OSError: The file does not exist or cannot be read.
    """
    with verify_embedded(_find_weights(Path(path))):  # while the networks are built, which takes longer
        saved = read_pretrained(path, verify=False)
        module = restore_module(cls, saved, origin=path, trust=trust, live=live)
    precisions = {value.dtype for value in saved["state_dict"].values() if value.is_floating_point()}
    if len(precisions) == 1 and precisions <= _OTHER_PRECISIONS:
        module.to(precisions.pop()).load_state_dict(saved["state_dict"])
    return module.eval()


def read_pretrained(path: str | Path, *, verify: bool = True) -> dict[str, Any]:
    """Read a saved module as plain data. Nothing in it is called.

    Args:
        path: A folder, or a file with the configuration in its header. A ``config.json`` next to
            ``model.safetensors`` takes precedence over the header, as users edit it.
        verify: Whether the weights are compared with the checksum in their file, if it has one.

    Returns:
        ``hyper_parameters``, ``state_dict`` and ``PROJECT_KEY``, as `read_checkpoint` returns them.

    Raises:
        FileNotFoundError: `path` does not exist, or the folder lacks one of its two files.
        UserError: The file has another format, is damaged, or was written by a later version.
        OSError: The file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: {_HINT}")
    weights = _find_weights(path)
    config = weights.with_name(CONFIG)
    for file in (weights, config) if path.is_dir() else ():
        if not file.is_file():
            raise FileNotFoundError(f"{path} has no {file.name}: {_HINT}")
    with verify_embedded(weights) if verify else nullcontext():
        header, state = _read_safetensors(weights)
    if weights.name == WEIGHTS and config.is_file():
        with config.open("rb") as opened:
            own = _parse_config(opened.read(_MAX_CONFIG_BYTES + 1), config)
    else:
        own = _parse_config(header.get(PROJECT_KEY, ""), weights)
    hyper_parameters = own.pop("hyper_parameters")
    check_size(hyper_parameters, origin=str(path))
    return {PROJECT_KEY: own, "hyper_parameters": hyper_parameters, "state_dict": state}


def write_safetensors(module: LightningModule, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a module to one file, the configuration in its header.

    Args:
        module: A `Pix2PixModule`. Its weights are written in their present precision.
        path: The file; its folder is created.
        overwrite: Whether an existing file is replaced.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        UserError: A hyperparameter is no plain data, or safetensors is not installed.
        OSError: The disk is full, or the file cannot be written.
    """
    path = Path(path)
    check_absent(path, overwrite=overwrite)
    content = _to_safetensors(module, _to_config(module))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch, scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def save_pretrained(
    module: LightningModule, folder: str | Path, *, card: Card | None = None, overwrite: bool = False
) -> None:
    """Write a module to a folder: configuration, weights, ``README.md`` and the pictures of the card.

    All files are complete before the first is moved to its place. Other files in the folder stay.

    Args:
        module: A `Pix2PixModule`.
        folder: The folder; it is created, or exists and is empty.
        card: Text and pictures of ``README.md``; default what the module knows of itself.
        overwrite: Whether the files of a model in the folder are replaced.

    Raises:
        FileExistsError: The folder is not empty and `overwrite` is false.
        UserError: The folder holds something else than a model, a hyperparameter is no plain data, or safetensors
            is not installed.
        OSError: The disk is full, or the folder cannot be written.
    """
    folder = Path(folder)
    _check_target(folder, overwrite)
    config = _to_config(module)
    content = _to_safetensors(module, config)
    card = card or build_card(module)
    with _stage_files(folder) as scratch:
        (scratch / CONFIG).write_text(config + "\n", encoding="utf-8")
        (scratch / WEIGHTS).write_bytes(content)
        (scratch / "README.md").write_text(card.text, encoding="utf-8", errors="replace")
        for name, picture in card.pictures.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(scratch / name, picture)


def push_to_hub(
    module: LightningModule,
    name: str,
    *,
    card: Card | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
) -> str:
    """Upload the files of `save_pretrained` to the Hub in one commit.

    Args:
        module: A `Pix2PixModule`.
        name: ``user/name`` on the Hub, or on the server of ``HF_ENDPOINT``. The repository is created if it is missing.
        card: Text and pictures of ``README.md``; default what the module knows of itself.
        private: Whether a new repository is private; default the setting of the user or the organisation.
        token: Access token; default ``HF_TOKEN``, or that of the login.
        commit_message: Default huggingface_hub's.

    Returns:
        The address of the repository's page.

    Raises:
        UserError: The name is malformed, the repository is public although `private` is true, or the Hub refuses the
            card.
        OSError: The Hub cannot be reached, or does not allow the upload.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        save_pretrained(module, folder, card=card or build_card(module, name))
        return upload_folder(folder, name, private=private, token=token, commit_message=commit_message)


def _check_target(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    check_absent(folder, overwrite=overwrite)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds other things than a model, it has no {WEIGHTS}: choose another folder")


@contextmanager
def _stage_files(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder next to the final one, and move its files there if the block succeeds."""
    folder = folder.resolve()
    scratch = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if not folder.exists():
            scratch.rename(folder)
            return
        for file in sorted(path for path in scratch.rglob("*") if path.is_file()):
            target = folder / file.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _to_config(module: LightningModule) -> str:
    own: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(own)
    try:
        return json.dumps(
            {"format": _FORMAT, **own[PROJECT_KEY], "hyper_parameters": dict(module.hparams)},
            indent=2,
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            f"a hyperparameter is no plain data ({error}): numbers, strings, lists and dicts alone can be saved"
        ) from None


def _to_safetensors(module: LightningModule, config: str) -> bytearray:
    """Return the bytes of a file, with its checksum.

    safetensors' `save_file` hides the errors of the disk and ignores the user's umask.
    """
    with require_extra():
        from safetensors.torch import save

    metadata = {"format": "pt", PROJECT_KEY: config, CHECKSUM_KEY: NO_CHECKSUM}
    content = bytearray(save(dict(_separate(module.state_dict())), metadata))
    embed_checksum(content)
    return content


def _find_weights(path: Path) -> Path:
    return path / WEIGHTS if path.is_dir() else path


def _separate(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors that safetensors accepts: contiguous, on the CPU, and none sharing memory with another."""
    seen = set()
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        yield name, value.clone() if memory in seen else value
        seen.add(memory)


def _read_safetensors(path: Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    with require_extra():
        from safetensors import SafetensorError, safe_open

    path.open("rb").close()  # raises the system's reason, which safetensors hides
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError, TypeError, LookupError) as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()).partition(" at path ")[0]
        raise UserError(f"{path} cannot be read as safetensors ({reason}): copy or download it again") from None


def _parse_config(text: str | bytes, origin: Path) -> dict[str, Any]:
    """Parse a configuration and check what `read_pretrained` and `restore_module` rely on."""
    if not text:
        raise UserError(f"{origin} holds no configuration of pix2pix_lightning: {_HINT}")
    if len(text) > _MAX_CONFIG_BYTES:
        raise UserError(f"{origin}: a configuration of more than {_MAX_CONFIG_BYTES} bytes is not read: {_HINT}")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{origin}: its configuration is no JSON ({error}): {_HINT}") from None
    for key, kind in _KINDS.items():
        if not isinstance(config, dict) or not isinstance(config.get(key), kind):
            raise UserError(f"{origin} is no configuration of pix2pix_lightning ({key} is missing or wrong): {_HINT}")
    if config["format"] != _FORMAT:
        raise UserError(
            f"{origin} has format {config['format']}, and pix2pix_lightning {__version__} reads "
            f"{_FORMAT}: install another version"
        )
    return dict(config)
