"""Log to TensorBoard's event files in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf


class TensorBoard(TensorBoardLogger):
    """Log to TensorBoard. A resumed run takes back what was logged after its checkpoint, as in ``metrics.csv``.

    Args:
        folder: Folder of the event files.

    Raises:
        ModuleNotFoundError: The package tensorboard is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            super().__init__(folder, name="", version="", default_hp_metric=False)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'the package tensorboard is missing: pip install "pix2pix-lightning[tensorboard]"'
            ) from error
        self._has_started = False

    @rank_zero_only
    def start_at(self, step: int | None) -> None:
        """Mark the first step, before which nothing is logged: readers drop earlier events from this step on."""
        if self._has_started:
            return
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._has_started = True
        self.experiment.file_writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), step)
        if self.hparams:
            text = OmegaConf.to_yaml(OmegaConf.create(dict(self.hparams)))
            self.experiment.add_text("config", f"```yaml\n{text}```", step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars at ``step``, the number of the batch in the run."""
        self.start_at(step)
        super().log_metrics(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        """Flush the event files. Lightning's own method would write ``hparams.yaml`` as well."""
        self.experiment.flush()
