"""Log to wandb.ai, or to a folder that can be sent there later."""

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

from pix2pix_lightning.utils.atomic import atomic_write

_log = logging.getLogger(__name__)


class Wandb(WandbLogger):
    """Log to wandb. The wandb run's id is stored in the run's folder, so that a resumed run continues the wandb run.

    Args:
        folder: Folder of the run; wandb's files are in its subfolder ``wandb``.
        project: wandb project.
        entity: User or team. Default: the user who is logged in.
        group: Group in the project.
        name: Name of the wandb run. Default: ``<group>/<name of folder>``.
        tags: Tags.
        notes: Text that is shown with the wandb run.
        offline: Whether to only write files, which ``wandb sync`` sends later.
        settings: Arguments of ``wandb.Settings``.
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
        self._files = Path(folder) / "wandb"
        self._id_file = self._files / "run_id.txt"
        name = name or "/".join(part for part in (group, Path(folder).resolve().name) if part)
        run_id = self._id_file.read_text().strip() if self._id_file.is_file() else uuid4().hex[:12]
        options: dict[str, Any] = {"entity": entity, "group": group, "tags": list(tags), "notes": notes}
        # Lightning's own argument would set an environment variable, for all runs of the process
        options |= {"mode": "offline" if offline else None, "settings": dict(settings or {})}
        super().__init__(name=name, save_dir=folder, id=run_id, project=project, **options)
        self._arguments = {"name": name, "dir": str(folder), "id": run_id, "project": project, **options}
        self._run: Any = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, which is started on first use.

        Raises:
            ConnectionError: Nobody is logged in, or the server cannot be reached.
        """
        if self._run is None:
            import wandb

            wandb.setup(settings=wandb.Settings(silent=True))  # it would ask for a key otherwise
            try:
                # a run of its own: Lightning would use the one of another training in this process
                self._run = run = wandb.init(**self._arguments, resume="allow", reinit="create_new")
            except wandb.Error as error:
                raise ConnectionError(
                    f"{str(error).rstrip('.')}; logger.wandb.offline=true keeps the run in its folder, without login "
                    "and network"
                ) from error
            with atomic_write(self._id_file) as scratch:
                scratch.write_text(f"{self._arguments['id']}\n")
            run.define_metric("trainer/global_step")
            run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            _log.info("wandb: %s", run.url or f"kept in the run's folder; to send it: wandb sync {self._files}")
        return self._run

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is left and end the wandb run.

        Args:
            status: ``"success"``, or another word after a failure.

        Raises:
            ConnectionError: wandb's process is gone.
        """
        if self._run is None:
            return
        run, self._run = self._run, None
        try:
            run.finish(exit_code=int(status != "success"))
        except ConnectionError:
            import wandb

            with suppress(ConnectionError):  # so that another run of this process starts a new one
                wandb.teardown()
            raise
