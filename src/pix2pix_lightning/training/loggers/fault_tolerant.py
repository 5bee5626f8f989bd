"""A logger whose failure does not end the training."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_only

_log = logging.getLogger(__name__)


class FaultTolerantLogger(Logger):
    """Pass every call on to another logger until that one fails. One warning is logged, and training continues.

    Args:
        logger: The other logger.
        key: Its name in the configuration.
    """

    def __init__(self, logger: Logger, key: str) -> None:
        super().__init__()
        self._logger = logger
        self._key = key

    def attempt(self, call: Callable[[Any], object]) -> None:
        """Call a function with the other logger, or with a dummy logger after a failure."""
        try:
            call(self._logger)
        except Exception as error:
            warn_left_out(self._key, error)
            failed, self._logger = self._logger, DummyLogger()
            with suppress(Exception):  # give it the chance to close files
                failed.finalize("failed")

    @property
    def name(self) -> str | None:
        """Name of the other logger."""
        return self._logger.name

    @property
    def version(self) -> int | str | None:
        """Version of the other logger."""
        return self._logger.version

    @property
    def save_dir(self) -> str | None:
        """Folder of the other logger."""
        return self._logger.save_dir

    @property
    def experiment(self) -> Any:
        """The other logger's ``experiment``, for callbacks that know its type."""
        self.attempt(lambda logger: getattr(logger, "experiment", None))
        return getattr(self._logger, "experiment", None)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log metrics."""
        self.attempt(lambda logger: logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log the configuration."""
        self.attempt(lambda logger: logger.log_hyperparams(params, *args, **kwargs))

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Log the graph of a model."""
        self.attempt(lambda logger: logger.log_graph(model, input_array))

    def save(self) -> None:
        """Write what is buffered."""
        self.attempt(lambda logger: logger.save())

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Tell the other logger that a checkpoint was written."""
        self.attempt(lambda logger: logger.after_save_checkpoint(checkpoint_callback))

    def finalize(self, status: str) -> None:
        """End the other logger."""
        self.attempt(lambda logger: logger.finalize(status))


@rank_zero_only
def warn_left_out(key: str, error: BaseException) -> None:
    """Warn in one line that a logger is left out from now on, and why."""
    cause = " ".join(str(error).split()) or type(error).__name__
    _log.warning("logger %s is left out from here on, resume= takes it up again: %s", key, cause)
