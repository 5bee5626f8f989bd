"""TensorBoard's event files in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf


class TensorBoard(TensorBoardLogger):
    """Lightning's; a resumed run takes back what was written after its checkpoint, as it does in ``metrics.csv``.

    Args:
        folder: Of the event files.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            super().__init__(folder, name="", version="", default_hp_metric=False)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'the package tensorboard is missing: pip install "pix2pix-lightning[tensorboard]"'
            ) from error
        self._goes_on = False

    @rank_zero_only
    def go_on_at(self, step: int | None) -> None:
        """Before the first event: readers forget what a run that was stopped wrote from this step on."""
        if self._goes_on:
            return
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._goes_on = True
        self.experiment._get_file_writer().add_event(Event(session_log=SessionLog(status=SessionLog.START)), step)
        if self.hparams:
            text = OmegaConf.to_yaml(OmegaConf.create(dict(self.hparams)))
            self.experiment.add_text("config", f"```yaml\n{text}```", step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars, each at ``step``."""
        self.go_on_at(step)
        super().log_metrics(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        """Bring to disk; Lightning's would write the configuration once more, beside ``config.yaml``."""
        self.experiment.flush()
