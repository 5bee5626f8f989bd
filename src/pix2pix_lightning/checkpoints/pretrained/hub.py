"""Download folders from the Hugging Face Hub and upload them; its errors become one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pix2pix_lightning.checkpoints.builtin import find_builtin, is_builtin
from pix2pix_lightning.checkpoints.files import PRETRAINED
from pix2pix_lightning.utils.errors import UserError

CONFIG, WEIGHTS = "config.json", PRETRAINED
"""Names of the files of a model. Others are not downloaded."""
_LOG_IN = "log in with hf auth login, or give token= or HF_TOKEN"
_TRANSFER_PACKAGES = ("hf_xet", "httpx", "httpx2", "huggingface_hub", "requests", "urllib3")
"""Packages whose errors mean that a transfer failed."""


@contextmanager
def require_extra() -> Iterator[None]:
    """Wrap an import of a package of the extra ``hub``.

    Raises:
        UserError: The package is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f'the package {error.name or "huggingface_hub"} is missing: pip install "pix2pix-lightning[hub]"'
        ) from None


def resolve_pretrained(
    model: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the path of a model on this machine, after a download if it is on the Hub.

    Args:
        model: A folder, a file, or a model of the package. If neither exists, ``user/name`` on the Hub.
        revision: Branch, tag or commit on the Hub; default its main branch.
        token: Access token; default ``HF_TOKEN``, or that of the login. False sends none.
        cache_dir: Folder for downloads; default huggingface_hub's.
        local_files_only: Whether nothing may be downloaded.

    Returns:
        The folder or file.

    Raises:
        UserError: The name is malformed, the revision does not exist, or the repository holds another model.
        FileNotFoundError: `model` is a path that does not exist.
        OSError: The model is not on the Hub or cannot be read, or the Hub cannot be reached.
    """
    path = find_builtin(model) if is_builtin(model) else Path(model)
    if path.exists():
        if revision is not None:
            raise UserError(f"revision={revision} of {model}, which is on this machine: leave revision out")
        return path
    name = str(model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or path.suffix == ".safetensors":
        raise FileNotFoundError(f"{name} does not exist: give a folder, a .safetensors file, or user/name of the Hub")
    with require_extra():
        from huggingface_hub import constants, snapshot_download

    with _convert_errors(name, revision=revision, is_local=local_files_only):
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


def upload_folder(
    folder: Path,
    name: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
) -> str:
    """Upload a folder to a repository in one commit.

    Args:
        folder: The folder; all its files are uploaded.
        name: ``user/name`` on the Hub. The repository is created if it is missing.
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
    if name.count("/") != 1:
        raise UserError(f"{name!r} is no name on the Hub: user/name is expected")
    with require_extra():
        from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _convert_errors(name, writes=True):
        address = str(api.create_repo(name, private=private, exist_ok=True))
        is_public = bool(private) and not api.model_info(name).private
    if is_public:
        raise UserError(f"{name} exists already and is public: choose another name, or leave private out")
    with _convert_errors(name, writes=True):
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=commit_message)
    return address


@contextmanager
def _convert_errors(
    name: str, *, revision: str | None = None, is_local: bool = False, writes: bool = False
) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        converted = _convert(error, name, revision=revision, is_local=is_local, writes=writes)
        if converted is None:
            raise
        raise converted from None


def _convert(
    error: BaseException, name: str, *, revision: str | None, is_local: bool, writes: bool
) -> ValueError | OSError | None:
    """Return the error as one line, or None if it is not one of the Hub or the network."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # raised in a thread that uploads
        error = error.__cause__
    cause = (isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__) or error
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
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
            return FileNotFoundError(f"{name} was not downloaded before: set local_files_only=false")
        case errors.LocalEntryNotFoundError():
            pass  # nothing was answered
        case errors.HfHubHTTPError():
            status = error.response.status_code
            if status in (401, 404) and not writes:  # the Hub does not tell strangers which of both it is
                return FileNotFoundError(f"{name} is not at {hub}, or it is private: check the name, or {_LOG_IN}")
            if status in (401, 403, 404):
                right = "write" if writes else "read"
                return PermissionError(f"{hub} does not let you {right} {name} ({status}): {_LOG_IN} that may")
            message = " ".join((error.server_message or "try again later").split())
            return ConnectionError(f"{hub} answers {status} for {name}: {message}")
        case ValueError():  # such as an error in the front matter of the card
            return UserError(f"{hub} refuses {name}: {' '.join(str(error).split())}")
    package = type(error).__module__.partition(".")[0]
    if package in _TRANSFER_PACKAGES or isinstance(
        error, RuntimeError | ConnectionError | TimeoutError
    ):  # RuntimeError: hf_xet
        action = "uploaded to" if writes else "downloaded from"
        return ConnectionError(f"{name} cannot be {action} {hub} ({reason}): check the network and HF_ENDPOINT")
    return None
