"""Convert the learning rate schedules of junyanz/pytorch-CycleGAN-and-pix2pix, whose versions differ by an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pix2pix_lightning.checkpoints.junyanz.options import OLD_NAMES
from pix2pix_lightning.prepare.junyanz_options import Options, is_on, parse_float, parse_int
from pix2pix_lightning.utils.errors import UserError

_SCHEDULERS = "torch.optim.lr_scheduler."
_PLATEAU_EPOCHS, _PLATEAU_FACTOR, _PLATEAU_EPS = 6, 0.2, 1e-8  # their patience of 5, and torch's least change


class Period(NamedTuple):
    """How the versions of some years lower the rate.

    Attributes:
        versions: The years.
        hold_shift: Epochs with the full rate beyond ``n_epochs``, with ``lr_policy=linear``.
        decay_shift: Epochs with a falling rate beyond ``n_epochs_decay``.
        steps_ahead: Epochs by which ``step``, ``cosine`` and ``plateau`` are ahead of torch's schedules.
    """

    versions: str
    hold_shift: int
    decay_shift: int
    steps_ahead: int


PERIODS = {
    "2017": Period("April to October 2017", 1, -1, 0),
    "2018": Period("October 2017 to October 2018", -1, 0, 0),
    "2019": Period("October 2018 to July 2020", 0, 0, 0),
    "2020": Period("July 2020 to summer 2025", -1, 0, 1),
    "2025": Period("since summer 2025", 0, 0, 0),
}
"""Periods by the year in which they begin or in which most of them lies."""


class Schedule(NamedTuple):
    """A learning rate schedule of ``train``.

    Attributes:
        choice: Choice of the group ``schedule``.
        keys: Values by key.
        rate: Learning rate of the first epoch, before ``schedule`` changes it.
        epochs: Epochs of the training.
        notes: One line for each difference from junyanz's training.
    """

    choice: str
    keys: dict[str, Any]
    rate: float
    epochs: int
    notes: list[str]


def infer_period(table: Mapping[str, str]) -> str:
    """Infer from the flags in an options file when its version was current.

    Args:
        table: Values by the flags' names in the file.

    Returns:
        A key of ``PERIODS``.
    """
    if "n_epochs" in table or not table.keys() & OLD_NAMES.keys():
        return "2020" if "gpu_ids" in table else "2025"
    if "lr_policy" not in table:
        return "2017"
    return "2019" if table.keys() & {"load_iter", "save_by_iter"} else "2018"


def describe_doubts(table: Mapping[str, str], name: str) -> list[str]:
    """Describe versions that wrote the same flags as those of the inferred period, and lowered the rate otherwise.

    Args:
        table: Values by the flags' names in the file.
        name: Name of the file.

    Returns:
        A line for each.
    """
    if infer_period(table) == "2020" and not table.keys() & {"use_wandb", "project"} and _is_linear(table):
        return ["learning rate: versions from December 2019 to July 2020 wrote the same flags and were an epoch behind"]
    if infer_period(table) == "2019" and name == "opt.txt" and "preprocess" in table:
        return [
            "learning rate: versions from 10 January to 26 March 2019 never lowered it; schedule=constant is as they"
        ]
    return []


def convert_schedule(options: Options, period: str) -> Schedule:
    """Convert ``lr_policy`` and the flags that belong to it.

    Args:
        options: What ``read_options`` returns.
        period: A key of ``PERIODS``.

    Returns:
        The schedule that gives each epoch the rate that it had.

    Raises:
        UserError: No epoch is left, or a value is no number.
    """
    hold, decay, rate = parse_int(options, "n_epochs"), parse_int(options, "n_epochs_decay"), parse_float(options, "lr")
    notes, epochs = [], hold + decay
    if is_on(options, "continue_train"):
        notes.append(
            "continue_train: this is the whole training from its first epoch; a run of this package resumes with "
            "resume=<run folder>"
        )
    else:
        skipped = parse_int(options, "epoch_count") - 1
        hold, epochs = hold - skipped, epochs - skipped
    if epochs < 1:
        raise UserError(f"epoch_count={options['epoch_count']} leaves no epoch of {options['n_epochs']} + {decay}")
    if options["lr_policy"] == "linear":
        return _convert_linear(hold, decay, rate, epochs, PERIODS[period], notes)
    keys, policy_notes = _convert_steps(options, rate, epochs, PERIODS[period])
    return Schedule("constant", keys, rate, epochs, notes + policy_notes)


def _is_linear(table: Mapping[str, str]) -> bool:
    return table.get("lr_policy", "linear") in ("linear", "lambda")


def _convert_linear(hold: int, decay: int, rate: float, epochs: int, period: Period, notes: list[str]) -> Schedule:
    hold, decay = hold + period.hold_shift, max(0, decay + period.decay_shift)
    if period.hold_shift > 0:
        hold = max(1, hold)  # the rate was full in the first epoch of a process
    learning = min(epochs, hold + decay)
    if learning < epochs:
        notes.append(
            f"learning rate: the versions of {period.versions} train their last epoch, {epochs}, with a rate of 0, in "
            "which nothing is learnt; it is left out"
        )
    if learning < 1:
        raise UserError("n_epochs and n_epochs_decay leave no epoch with a learning rate above 0: give another file")
    if hold < 0:  # it started in the middle of the decay
        rate *= (hold + decay + 1) / (decay + 1)
        hold, decay = 0, hold + decay
    if not decay or learning <= hold:
        return Schedule("constant", {}, rate, learning, notes)
    keys = {"module.schedule.hold_epochs": hold, "module.schedule.decay_epochs": decay}
    return Schedule("linear_decay", keys, rate, learning, notes)


def _convert_steps(options: Options, rate: float, epochs: int, period: Period) -> tuple[dict[str, Any], list[str]]:
    """Convert a policy that multiplies the rate at some epochs, or lowers it along a cosine."""
    policy, ahead, every = options["lr_policy"], period.steps_ahead, parse_int(options, "lr_decay_iters")
    if policy == "step" and not ahead:
        return {"module.schedule": {"_target_": f"{_SCHEDULERS}StepLR", "step_size": every, "gamma": 0.1}}, []
    if policy == "step":
        milestones = list(range(max(every, 1) - ahead, epochs, max(every, 1)))
        return _build_milestones(milestones, 0.1), []
    if policy == "plateau":
        first = _PLATEAU_EPOCHS + 1 - ahead
        lowest = rate
        milestones = []
        for epoch in range(first, epochs, _PLATEAU_EPOCHS):
            if lowest * (1 - _PLATEAU_FACTOR) <= _PLATEAU_EPS:
                break
            lowest *= _PLATEAU_FACTOR
            milestones.append(epoch)
        note = (
            "lr_policy=plateau: junyanz compares a number that is always 0, so that its rate falls to a fifth every "
            "six epochs, whatever the losses do, and so does the rate of this command"
        )
        return _build_milestones(milestones, _PLATEAU_FACTOR), [note]
    if policy == "cosine":
        parts = {"_target_": f"{_SCHEDULERS}CosineAnnealingLR", "T_max": parse_int(options, "n_epochs"), "eta_min": 0.0}
        notes = [f"lr_policy=cosine: the versions of {period.versions} are an epoch ahead of this"] if ahead else []
        return {"module.schedule": parts}, notes
    return {}, [f"lr_policy={policy}: not available, the learning rate is constant here; schedule= has others"]


def _build_milestones(milestones: list[int], gamma: float) -> dict[str, Any]:
    if not milestones:
        return {}
    return {"module.schedule": {"_target_": f"{_SCHEDULERS}MultiStepLR", "milestones": milestones, "gamma": gamma}}
