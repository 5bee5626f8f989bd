"""Folders from the Hugging Face Hub and to it; what goes wrong there, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pix2pix_lightning.checkpoints.files import PRETRAINED
from pix2pix_lightning.utils.errors import UserError

CONFIG, WEIGHTS = "config.json", PRETRAINED
"""The files of a model, which alone are downloaded."""
_LOG_IN = "log in by hf auth login, or give token= or HF_TOKEN"
_OF_TRANSFER = ("hf_xet", "httpx", "httpx2", "huggingface_hub", "requests", "urllib3")
"""Packages whose errors are of the way there and back."""


@contextmanager
def needs_extra() -> Iterator[None]:
    """Around an import of what the extra ``hub`` brings.

    Raises:
        ValueError: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f'the package {error.name or "huggingface_hub"} is missing: pip install "pix2pix-lightning[hub]"'
        ) from None


def folder_of(
    model: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Where a model lies on this machine, downloaded if need be.

    Args:
        model: A folder or a file; what is neither and looks like ``user/name`` is of the Hub.
        revision: Branch, tag or commit, on the Hub.
        token: As huggingface_hub takes it; by default ``HF_TOKEN``, or of whom is logged in.
        cache_dir: By default huggingface_hub's.
        local_files_only: Take what was downloaded before.

    Raises:
        ValueError: The name can be none, there is no such revision, or it is another model.
        OSError: There is no such model, it may not be read, or the Hub cannot be reached.
    """
    path = Path(model)
    if path.exists():
        if revision is not None:
            raise UserError(f"revision={revision} of {path}, which lies here: leave it out")
        return path
    name = str(model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or path.suffix == ".safetensors":
        raise FileNotFoundError(f"{name} does not exist: give a folder, a .safetensors file, or user/name of the Hub")
    with needs_extra():
        from huggingface_hub import constants, snapshot_download

    with _in_one_line(name, revision=revision, is_local=local_files_only):
        folder = snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=[CONFIG, WEIGHTS],
        )
    if not Path(folder, WEIGHTS).is_file():
        raise UserError(f"{name} at {constants.ENDPOINT} is no model of pix2pix_lightning: it has no {WEIGHTS}")
    return Path(folder)


def upload(
    folder: Path,
    name: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
) -> str:
    """Make a repository of that name, where there is none, and add the files of a folder in one commit.

    Args:
        folder: All of it.
        name: ``user/name``.
        private: Of a new repository; by default what the user's or the organisation's setting is.
        token: As huggingface_hub takes it; by default ``HF_TOKEN``, or of whom is logged in.
        commit_message: By default huggingface_hub's.

    Returns:
        The address of its page.

    Raises:
        ValueError: The name can be none, is of a public repository although ``private`` is on, or the card is refused.
        OSError: It may not be written, or the Hub cannot be reached.
    """
    if name.count("/") != 1:
        raise UserError(f"{name!r} is no name on the Hub: user/name is expected")
    with needs_extra():
        from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _in_one_line(name, writes=True):
        address = str(api.create_repo(name, private=private, exist_ok=True))
        is_public = bool(private) and not api.model_info(name).private
    if is_public:
        raise UserError(f"{name} is there already, and public: choose another name, or leave private out")
    with _in_one_line(name, writes=True):
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=commit_message)
    return address


@contextmanager
def _in_one_line(
    name: str, *, revision: str | None = None, is_local: bool = False, writes: bool = False
) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = _said(error, name, revision=revision, is_local=is_local, writes=writes)
        if said is None:
            raise
        raise said from None


def _said(
    error: BaseException, name: str, *, revision: str | None, is_local: bool, writes: bool
) -> ValueError | OSError | None:
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # an upload in a thread
        error = error.__cause__
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    match error:
        case errors.HFValidationError():
            return UserError(f"{name!r} is no name on the Hub: user/name is expected")
        case errors.LocalTokenNotFoundError():
            return PermissionError(f"nobody is logged in: {_LOG_IN}")
        case errors.GatedRepoError():
            return PermissionError(f"{name} is gated: ask for access at {hub}/{name}, and {_LOG_IN}")
        case errors.RevisionNotFoundError():
            return UserError(f"{name} has no revision={revision}: give a branch, tag or commit of it")
        case errors.LocalEntryNotFoundError() if is_local:
            return FileNotFoundError(f"{name} was not downloaded before: leave local_files_only out")
        case errors.HfHubHTTPError():
            status = error.response.status_code
            if status in (401, 404) and not writes:  # which of both it is, the Hub does not tell a stranger
                return FileNotFoundError(f"{name} is not at {hub}, or it is private: check the name, or {_LOG_IN}")
            if status in (401, 403, 404):
                right = "write" if writes else "read"
                return PermissionError(f"{hub} does not let you {right} {name} ({status}): {_LOG_IN} that may")
            message = " ".join((error.server_message or "try again later").split())
            return ConnectionError(f"{hub} answers {status} for {name}: {message}")
        case ValueError():  # of the card's front matter, say
            return UserError(f"{hub} refuses {name}: {' '.join(str(error).split())}")
    package = type(error).__module__.partition(".")[0]
    if package in _OF_TRANSFER or isinstance(error, RuntimeError | ConnectionError | TimeoutError):  # hf_xet's too
        way = "brought to" if writes else "had from"
        return ConnectionError(f"{name} cannot be {way} {hub} ({reason}): check the network and HF_ENDPOINT")
    return None
