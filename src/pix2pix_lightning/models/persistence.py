"""Saving and loading of `Pix2PixModule`: checkpoints, folders of ``save_pretrained``, and the Hugging Face Hub."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from pix2pix_lightning.checkpoints import pretrained
from pix2pix_lightning.checkpoints.builtin import is_builtin
from pix2pix_lightning.checkpoints.files import PROJECT_KEY, TRAINING_STATE, open_checkpoint
from pix2pix_lightning.checkpoints.moments import has_narrowed_moments
from pix2pix_lightning.checkpoints.restore import check_resumable, detach_lr_tensors, load_ema_weights, restore_module
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.models.changed_settings import apply_changed_settings
from pix2pix_lightning.models.components import Parts, describe_parts
from pix2pix_lightning.utils.finite import NonFiniteError, check_finite, find_nonfinite
from pix2pix_lightning.utils.version import __version__

_log = logging.getLogger(__name__)


class PersistenceMixin(LightningModule):
    """Save a module as plain data and load it without running code from the file.

    Attributes:
        generator: Maps sources to outputs.
        parts: What the module is made of, objects or descriptions.
        pair_spec: What the images mean.
        batches_seen: Number of training batches so far.
        live_parts: Names of the parts that are objects. A file cannot hold them; loading asks for them.
    """

    generator: nn.Module
    parts: Parts
    pair_spec: PairSpec
    batches_seen: int
    live_parts: list[str]

    def save_description(self, **values: Any) -> None:
        """Keep the descriptions of the parts and further plain values as hyperparameters."""
        described, self.live_parts = describe_parts(self.parts)
        self.save_hyperparameters({**described, **values}, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what loading without arguments needs, as plain data.

        Raises:
            NonFiniteError: A weight is not finite. Nothing is saved, and a file that was there stays.
        """
        if (name := find_nonfinite(checkpoint.get("state_dict") or self.state_dict(), self)) is not None:
            raise NonFiniteError(
                f"{name} is not finite, so no checkpoint is saved: continue from an earlier one, at a lower rate"
            )
        cls = type(self)
        checkpoint[PROJECT_KEY] = {
            "version": __version__,
            "module": f"{cls.__module__}.{cls.__qualname__}",
            "live": list(self.live_parts),
            "batches_seen": self.batches_seen,
        }
        detach_lr_tensors(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting batches where the checkpoint stopped.

        Raises:
            UserError: A trainer resumes with other pairs or other networks than the checkpoint's, or with settings of
                an optimizer that do not go with its state; or the checkpoint's weights are not finite.
        """
        self.batches_seen = checkpoint[PROJECT_KEY]["batches_seen"]
        try:
            trainer = self.trainer
        except RuntimeError:  # no trainer: the module is loaded, not resumed
            return
        check_resumable(self.pair_spec, self.hparams, checkpoint["hyper_parameters"])
        check_finite(checkpoint["state_dict"], self, "the checkpoint")
        if trainer.state.fn == TrainerFn.FITTING:
            apply_changed_settings(checkpoint, self.hparams, self.live_parts)
            if trainer.is_global_zero and has_narrowed_moments(checkpoint):
                _log.info(
                    "the checkpoint has moments of the optimizers in bfloat16 (saving.moments): the run goes on close "
                    "to one that was not stopped, and not exactly as it"
                )
        if trainer.precision == "64-true":
            self.double()  # Lightning would load the weights into float32 and widen them afterwards

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        *,
        map_location: str | torch.device = "cpu",
        trust: Sequence[str] = (),
        strict: bool = True,
        use_ema: bool = False,
        **live: Any,
    ) -> Self:
        """Load the module of a checkpoint. Every name in the file is checked before anything is called.

        Args:
            checkpoint_path: A file that a training run wrote.
            map_location: Device of the module.
            trust: Packages, besides this one and torch's, whose networks and losses the file may name.
            strict: Whether all weights must fit.
            use_ema: Whether the generator gets its EMA weights, as of a training with ``callbacks=[default,ema]``.
            **live: Arguments of the constructor, in place of those in the file. What was an object in the saved module
                must be given again.

        Returns:
            The module in evaluation mode.

        Raises:
            UserError: The file is no such checkpoint, is damaged, names what is not trusted, an object is missing, or
                there are no EMA weights.
        """
        with open_checkpoint(checkpoint_path, skip=TRAINING_STATE) as saved:
            module = restore_module(cls, saved, origin=checkpoint_path, trust=trust, strict=strict, live=live)
        if use_ema:
            load_ema_weights(module.generator, Path(checkpoint_path), otherwise="use_ema=False")
        return module.to(map_location).eval()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        trust: Sequence[str] = (),
        **live: Any,
    ) -> Self:
        """Load the module of a folder or file of `save_pretrained`, of a repository on the Hub, or of the package.

        Args:
            model: A folder, a ``.safetensors`` file, ``user/name`` on the Hub, or ``builtin:facades``, which has a
                generator and no discriminator.
            revision: Branch, tag or commit on the Hub; default its main branch.
            token: Access token of the Hub; default that of the environment or of the login.
            cache_dir: Folder for downloads; default huggingface_hub's.
            local_files_only: Whether nothing may be downloaded.
            trust: Packages, besides this one and torch's, whose networks and losses the files may name.
            **live: Arguments of the constructor, as in `load_from_checkpoint`.

        Returns:
            The module in evaluation mode.

        Raises:
            UserError: It is no such model, names what is not trusted, or an object is missing.
            OSError: There is none, it may not be read, or the Hub cannot be reached.
        """
        path = pretrained.resolve_pretrained(
            model, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        if is_builtin(model):
            return cls.load_from_checkpoint(path, trust=trust, **live)
        return pretrained.load_pretrained(cls, path, trust=trust, **live)

    def save_pretrained(
        self, folder: str | Path, *, card: pretrained.Card | None = None, overwrite: bool = False
    ) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``README.md`` to a folder (`pretrained.save_pretrained`).

        Args:
            folder: The folder, which may exist if it is empty.
            card: Text and pictures of the ``README.md``; default what the module knows of itself.
            overwrite: Whether the files of a model in the folder are replaced.

        Raises:
            UserError: The module has a part that cannot be described as plain data.
            OSError: The folder is in use, or cannot be written.
        """
        pretrained.save_pretrained(self, folder, card=card, overwrite=overwrite)

    def push_to_hub(
        self,
        name: str,
        *,
        card: pretrained.Card | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Upload the files of `save_pretrained` to a repository on the Hub, which is created where it is missing.

        Args:
            name: ``user/name`` on the Hub.
            card: Text and pictures of the ``README.md``; default what the module knows of itself.
            private: Whether a new repository is private; default the account's setting.
            token: Access token of the Hub; default that of the environment or of the login.
            commit_message: Default huggingface_hub's.

        Returns:
            The address of the repository's page.

        Raises:
            UserError: The name is not possible, or the module cannot be described as plain data.
            OSError: The Hub cannot be reached or refuses the upload.
        """
        return pretrained.push_to_hub(
            self, name, card=card, private=private, token=token, commit_message=commit_message
        )
