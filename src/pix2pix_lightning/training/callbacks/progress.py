"""One line at the bottom of the terminal that shows how a training proceeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.text import Text
from torch import Tensor

from pix2pix_lightning.training.callbacks.pace import Pace, format_epoch
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.terminal import LiveLine, find_terminal

_LOSSES = ("loss_g", "loss_d")
_MIN_BAR, _MAX_BAR = 8, 40  # columns
_LEFT_OUT = ("count", "speed", "bar", "losses", "left")
"""Parts of the line that a narrow terminal leaves out, in this order; while validating the count is the last."""


class TrainingBar(ProgressBar):
    """Show epoch, batch, losses, speed and the time left, where standard error is a terminal.

    The line is removed when training ends. Losses are copied from the device while training continues, so that nothing
    waits for them.

    Args:
        refresh_seconds: Seconds between two updates of the line, at least 0.

    Raises:
        UserError: ``refresh_seconds`` is out of range.
    """

    def __init__(self, refresh_seconds: float = 0.5) -> None:
        super().__init__()
        if isinstance(refresh_seconds, bool) or not (isinstance(refresh_seconds, int | float) and refresh_seconds >= 0):
            raise UserError(f"refresh_seconds={refresh_seconds}: a number of at least 0 is expected")
        self._refresh_seconds = refresh_seconds
        self._is_enabled = True
        self._line: LiveLine | None = None
        self._drawn_at = 0.0
        self._pace = Pace()
        self._losses = LateScalars()
        self._validated = 0  # batches of the present validation

    def disable(self) -> None:
        """Show nothing."""
        self._is_enabled = False

    def enable(self) -> None:
        """Show the line from the next start of a training on."""
        self._is_enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the line, where there is a terminal."""
        self._pace.start_training(trainer)
        self._losses = LateScalars()
        console = find_terminal() if self._is_enabled else None
        self._line = None if console is None else LiveLine(console)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first batch."""
        self._pace.start_epoch(trainer)
        self._draw(trainer, 0, trainer.num_training_batches, is_due=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the batch, if the line is due."""
        self._pace.end_batch(trainer, batch, batch_idx)
        if self._line is not None and self._draw(trainer, batch_idx + 1, trainer.num_training_batches):
            self._losses.request(outputs)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the batches of a validation."""
        self._validated = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the batch of the validation, if the line is due."""
        self._validated += 1
        self._draw(trainer, self._validated, sum(trainer.num_val_batches), is_validating=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the line."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the line."""
        self._close()

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _draw(
        self, trainer: Trainer, done: int, total: float, *, is_validating: bool = False, is_due: bool = False
    ) -> bool:
        """Draw the line, unless it was drawn a moment ago, and return whether it was drawn."""
        now = time.monotonic()
        if self._line is None or not (is_due or now - self._drawn_at >= self._refresh_seconds):
            return False
        self._drawn_at = now
        is_known = 0 < total < float("inf")
        count = f"{done}/{total:.0f}" if is_known else str(done)
        losses = [] if is_validating else [f"{name} {value:.3g}" for name, value in self._losses.read().items()]
        speed = self._pace.images_per_second
        parts = {
            "epoch": format_epoch(trainer),
            "bar": _MIN_BAR * " " if is_known else "",
            "count": f"validating {count}" if is_validating else count,
            "losses": " ".join(losses),
            "speed": f"{speed:.1f} images/s" if speed else "",
            "left": self._pace.format_time_left(trainer),
        }
        left_out = sorted(_LEFT_OUT, key=lambda name: is_validating and name == "count")
        share = done / total if is_known else 0.0
        self._line.draw(format_line(parts, left_out, self._line.width, share, is_ascii=self._line.is_ascii))
        return True


class LateScalars:
    """Read numbers from a device without waiting for it: later, when they have arrived."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._names: list[str] = []
        self._copy: Tensor | None = None
        self._arrival: torch.Event | None = None

    def request(self, outputs: Any) -> None:
        """Start to copy the losses among what a training step returned, unless a copy is on its way."""
        if self._copy is not None or not isinstance(outputs, Mapping):
            return
        scalars = {name: outputs[name].detach() for name in _LOSSES if isinstance(outputs.get(name), Tensor)}
        if not scalars:
            return
        self._names = list(scalars)
        stacked = torch.stack([scalar.float() for scalar in scalars.values()])
        self._copy = stacked.to("cpu", non_blocking=True)
        if stacked.device.type != "cpu":
            self._arrival = torch.Event(stacked.device)
            self._arrival.record()

    def read(self) -> dict[str, float]:
        """Return the last losses by name that have arrived."""
        if self._copy is not None and (self._arrival is None or self._arrival.query()):
            self._values = dict(zip(self._names, self._copy.tolist(), strict=True))
            self._copy = self._arrival = None
        return self._values


def format_line(
    parts: Mapping[str, str], left_out: Sequence[str], width: int, share: float, *, is_ascii: bool = False
) -> Text:
    """Format the line: the parts that fit, and a bar in the columns that are left.

    Args:
        parts: Parts of the line by name, in their order. Where ``bar`` is not empty, the bar takes its place.
        left_out: Names of parts that may be left out, the least important first.
        width: Columns of the line.
        share: How much of the bar is filled, 0 to 1.
        is_ascii: Draw the bar in ASCII characters.

    Returns:
        The line.
    """
    kept = {name: part for name, part in parts.items() if part}
    for name in left_out:
        if len(" ".join(kept.values())) > width:
            kept.pop(name, None)
    free = width - len(" ".join(kept.values()))
    line = Text(no_wrap=True, overflow="crop")
    for name, part in kept.items():
        line.append(" " if line else "")
        if name == "bar":
            columns = min(_MAX_BAR, len(part) + max(0, free))
            filled = round(share * columns)
            line.append(("#" if is_ascii else "━") * filled, style="bar.complete")
            line.append(("-" if is_ascii else "─") * (columns - filled), style="bar.back")
        else:
            line.append(part)
    return line
