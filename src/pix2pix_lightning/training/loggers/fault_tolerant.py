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
    """Hands everything to another logger until that one fails; then one line says so, and training goes on without it.

    Args:
        logger: The other one.
        key: What the configuration calls it.
    """

    def __init__(self, logger: Logger, key: str) -> None:
        super().__init__()
        self._logger = logger
        self._key = key

    def attempt(self, call: Callable[[Any], object]) -> None:
        """Do something with the other logger, or with a dummy where it has failed."""
        try:
            call(self._logger)
        except Exception as error:
            say_left_out(self._key, error)
            failed, self._logger = self._logger, DummyLogger()
            with suppress(Exception):  # it may have something to close
                failed.finalize("failed")

    @property
    def name(self) -> str | None:
        """What Lightning asks of a logger."""
        return self._logger.name

    @property
    def version(self) -> int | str | None:
        """What Lightning asks of a logger."""
        return self._logger.version

    @property
    def save_dir(self) -> str | None:
        """What Lightning asks of a logger."""
        return self._logger.save_dir

    @property
    def experiment(self) -> Any:
        """The other logger's own object, for callbacks that know what it is."""
        self.attempt(lambda logger: getattr(logger, "experiment", None))
        return getattr(self._logger, "experiment", None)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Handed on."""
        self.attempt(lambda logger: logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Handed on."""
        self.attempt(lambda logger: logger.log_hyperparams(params, *args, **kwargs))

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Handed on."""
        self.attempt(lambda logger: logger.log_graph(model, input_array))

    def save(self) -> None:
        """Handed on."""
        self.attempt(lambda logger: logger.save())

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Handed on."""
        self.attempt(lambda logger: logger.after_save_checkpoint(checkpoint_callback))

    def finalize(self, status: str) -> None:
        """Handed on."""
        self.attempt(lambda logger: logger.finalize(status))


@rank_zero_only
def say_left_out(key: str, error: BaseException) -> None:
    """Say in one line which logger is left out, and why."""
    cause = " ".join(str(error).split()) or type(error).__name__
    _log.warning("logger %s is left out from here on, resume= takes it up again: %s", key, cause)
