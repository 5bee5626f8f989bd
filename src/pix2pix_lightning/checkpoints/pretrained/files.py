"""A module as ``config.json`` and ``model.safetensors``, in a folder or with both in one file.

What is read is data of a stranger: it has the form that a checkpoint has, and is checked as one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.checkpoints.pretrained.card import Card, own_card
from pix2pix_lightning.checkpoints.pretrained.hub import CONFIG, WEIGHTS, needs_extra, upload
from pix2pix_lightning.checkpoints.restore import Module, module_of
from pix2pix_lightning.data.image_files import write_image
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.version import __version__

_FORMAT = 1
_KINDS = {"format": int, "module": str, "live": list, "batches_seen": int, "hyper_parameters": dict}
_OTHER_PRECISIONS = {torch.float64, torch.bfloat16, torch.float16}  # than that in which a module is made
_MOST = 2**20  # bytes of a configuration, which has some 2,000
_GIVE = "give what save_pretrained or export format=safetensors wrote"


def is_pretrained(path: Path) -> bool:
    """Whether ``read`` is to read it: a ``.safetensors`` file, or a folder with one or both of a model's files."""
    if path.is_dir():
        return (path / CONFIG).is_file() or (path / WEIGHTS).is_file()
    return path.suffix == ".safetensors"


def module_from(cls: type[Module], path: str | Path, *, trust: Sequence[str] = (), **live: Any) -> Module:
    """The module of a folder or a file, in eval mode and in the precision in which it was saved.

    Args:
        cls: ``Pix2PixModule``, or the class of one's own that was saved.
        path: As ``read`` takes it.
        trust: Packages, beside this one and torch's, whose networks and losses it may name.
        **live: Arguments of the constructor, in place of the saved ones; live objects have to be given again.

    Raises:
        ValueError: It is no model, names what is not trusted, or a live object is missing.
        OSError: There is none, or it may not be read.
    """
    saved = read(path)
    module = module_of(cls, saved, whence=path, trust=trust, live=live)
    precisions = {value.dtype for value in saved["state_dict"].values() if value.is_floating_point()}
    if len(precisions) == 1 and precisions <= _OTHER_PRECISIONS:
        module.to(precisions.pop()).load_state_dict(saved["state_dict"])
    return module.eval()


def read(path: str | Path) -> dict[str, Any]:
    """What was saved, in the form in which ``read_checkpoint`` gives it; nothing in it is called.

    Args:
        path: A folder, or a file, which has the configuration in its header; of a folder's ``model.safetensors`` too
            it is the ``config.json`` beside it that counts.

    Raises:
        ValueError: It is something else, is cut short, or is of a later version.
        OSError: There is none, or it may not be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: {_GIVE}")
    weights = path / WEIGHTS if path.is_dir() else path
    config = weights.with_name(CONFIG)
    for file in (weights, config) if path.is_dir() else ():
        if not file.is_file():
            raise FileNotFoundError(f"{path} has no {file.name}: {_GIVE}")
    header, state = _read_safetensors(weights)
    if weights.name == WEIGHTS and config.is_file():
        with config.open("rb") as opened:
            facts = _facts(opened.read(_MOST + 1), config)
    else:
        facts = _facts(header.get(PROJECT_KEY, ""), weights)
    hyper_parameters = facts.pop("hyper_parameters")
    return {PROJECT_KEY: facts, "hyper_parameters": hyper_parameters, "state_dict": state}


def write_safetensors(module: LightningModule, path: str | Path, *, overwrite: bool = False) -> None:
    """Write one file that holds the module, weights and configuration.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is off.
        ValueError: A hyperparameter is no plain data, or safetensors is not installed.
        OSError: There is no room for it, or it may not be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name, or say overwrite=true")
    content = _safetensors(module, _configuration(module))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch, scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def save_pretrained(
    module: LightningModule, folder: str | Path, *, card: Card | None = None, overwrite: bool = False
) -> None:
    """Write a folder that holds the module: configuration, weights, ``README.md`` and the card's pictures.

    All files are written before the first takes its place. What else lies in the folder stays.

    Args:
        module: As it is now.
        folder: It may be there and empty.
        card: What ``README.md`` says; by default what the module knows of itself.
        overwrite: Write over the files of a model that lies there.

    Raises:
        FileExistsError: There is something in the folder, and ``overwrite`` is off.
        ValueError: What is in the folder is no model, a hyperparameter is no plain data, or safetensors is missing.
        OSError: There is no room for it, or it may not be written.
    """
    folder = Path(folder)
    _check_free(folder, overwrite)
    configuration = _configuration(module)
    content = _safetensors(module, configuration)
    card = card or own_card(module)
    with _beside(folder) as scratch:
        (scratch / CONFIG).write_text(configuration + "\n", encoding="utf-8")
        (scratch / WEIGHTS).write_bytes(content)
        (scratch / "README.md").write_text(card.text, encoding="utf-8", errors="replace")
        for name, picture in card.pictures.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(scratch / name, picture)


def push(
    module: LightningModule,
    name: str,
    *,
    card: Card | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
) -> str:
    """Upload what `save_pretrained` writes, in one commit, to a repository that is made if need be.

    Args:
        module: As it is now.
        name: ``user/name`` on the Hub, or where ``HF_ENDPOINT`` says.
        card: What ``README.md`` says; by default what the module knows of itself.
        private: Of a new repository; by default what the user's or the organisation's setting is.
        token: By default ``HF_TOKEN``, or of whom is logged in.
        commit_message: By default huggingface_hub's.

    Returns:
        The address of its page.

    Raises:
        ValueError: The name can be none, is of a public repository although ``private`` is on, or the card is refused.
        OSError: It may not be written, or the Hub cannot be reached.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        save_pretrained(module, folder, card=card or own_card(module, name))
        return upload(folder, name, private=private, token=token, commit_message=commit_message)


def _check_free(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists: choose another folder, or say overwrite=true")
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds other things than a model, it has no {WEIGHTS}: choose another folder")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder beside the final one, whose files go there when all is well."""
    folder = folder.resolve()
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if not folder.exists():
            scratch.rename(folder)
            return
        for file in sorted(path for path in scratch.rglob("*") if path.is_file()):
            place = folder / file.relative_to(scratch)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _configuration(module: LightningModule) -> str:
    own: dict[str, Any] = {}
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


def _safetensors(module: LightningModule, configuration: str) -> bytes:
    """The bytes of a file, in place of safetensors' own writing, which hides what the disk says and who may read it."""
    with needs_extra():
        from safetensors.torch import save

    return save(dict(_apart(module.state_dict())), {"format": "pt", PROJECT_KEY: configuration})


def _apart(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Tensors as safetensors takes them: contiguous, on the CPU, and none in the memory of another."""
    seen = set()
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        yield name, value.clone() if memory in seen else value
        seen.add(memory)


def _read_safetensors(path: Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    with needs_extra():
        from safetensors import SafetensorError, safe_open

    path.open("rb").close()  # says what is wrong in the system's words
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split()).partition(" at path ")[0]
        raise UserError(f"{path} cannot be read as safetensors ({reason}): copy or download it again") from None


def _facts(text: str | bytes, whence: Path) -> dict[str, Any]:
    """A configuration, with all that ``read`` and ``module_of`` rely upon."""
    if not text:
        raise UserError(f"{whence} holds no configuration of pix2pix_lightning: {_GIVE}")
    if len(text) > _MOST:
        raise UserError(f"{whence}: a configuration of more than {_MOST} bytes, which none of ours has: {_GIVE}")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{whence}: its configuration is no JSON ({error}): {_GIVE}") from None
    for key, kind in _KINDS.items():
        if not isinstance(facts, dict) or not isinstance(facts.get(key), kind):
            raise UserError(f"{whence} is no configuration of pix2pix_lightning ({key} is missing or wrong): {_GIVE}")
    if facts["format"] != _FORMAT:
        raise UserError(
            f"{whence} has format {facts['format']}, and pix2pix_lightning {__version__} reads "
            f"{_FORMAT}: install another version"
        )
    return dict(facts)
