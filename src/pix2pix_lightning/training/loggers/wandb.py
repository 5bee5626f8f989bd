"""A run at wandb.ai, or in a folder until it is sent there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

_log = logging.getLogger(__name__)


class Wandb(WandbLogger):
    """Lightning's, with the wandb run's id in the run's folder, so that a resumed run goes on in the same wandb run.

    Args:
        folder: Of the run; wandb's files lie in ``wandb`` below it.
        project: Where the run is listed.
        entity: The user or team; by default who is logged in.
        group: What it is listed with.
        name: What it is listed as; by default ``<group>/<name of folder>``.
        tags: Words to find it by.
        notes: A text beside it.
        offline: Whether to leave sending to ``wandb sync``.
        settings: Further ones of ``wandb.Settings``.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        project: str = "pix2pix_lightning",
        entity: str | None = None,
        group: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        offline: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            name=name or "/".join(part for part in (group, Path(folder).resolve().name) if part),
            save_dir=folder,
            project=project,
            entity=entity,
            group=group,
            tags=list(tags),
            notes=notes,
            mode="offline" if offline else None,  # Lightning's own way would hold for all runs of the process
            settings=dict(settings or {}),
        )
        self._files = Path(folder) / "wandb"

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, begun on first use.

        Raises:
            ConnectionError: Nobody is logged in, or the server cannot be reached.
        """
        if self._experiment is None:
            import wandb

            wandb.setup(settings=wandb.Settings(silent=True))  # which also keeps it from asking for a key
            kept = self._files / "run_id.txt"
            self._id = self._wandb_init["id"] = kept.read_text().strip() if kept.is_file() else uuid4().hex[:12]
            try:
                # never the one of another run of this process, which Lightning would take
                self._experiment = run = wandb.init(**self._wandb_init, reinit="create_new")
            except wandb.Error as error:
                raise ConnectionError(
                    f"{str(error).rstrip('.')}; logger.wandb.offline=true keeps the run in its folder, without login "
                    "and network"
                ) from error
            kept.write_text(f"{self._id}\n")
            run.define_metric("trainer/global_step")
            run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            _log.info("wandb: %s", run.url or f"kept in the run's folder; to send it: wandb sync {self._files}")
        return self._experiment

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is left, and end the wandb run: another run of this process has its own."""
        if self._experiment is None:
            return
        super().finalize(status)
        run, self._experiment = self._experiment, None
        try:
            run.finish(exit_code=int(status != "success"))
        except ConnectionError:
            import wandb

            with suppress(ConnectionError):  # wandb's process is gone; another run is to start a new one
                wandb.teardown()
            raise
