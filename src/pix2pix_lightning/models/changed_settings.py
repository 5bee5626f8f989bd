"""Resume with changed optimizers and schedules: change the states of a checkpoint, which would win otherwise."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, get_argument

_log = logging.getLogger(__name__)
_OWN = "pix2pix_lightning."


def apply_changed_settings(checkpoint: dict[str, Any], own: Mapping[str, Any], live: Collection[str] = ()) -> None:
    """Put the present settings of optimizers and schedule into a checkpoint's states, in place. Each is logged.

    Objects and functions, which a checkpoint does not describe, are not compared.

    Args:
        checkpoint: What a trainer is about to load.
        own: Hyperparameters of the module that is resumed.
        live: Names of its parts that are objects or functions.

    Raises:
        UserError: A setting cannot be changed in a resumed training.
    """
    saved = checkpoint["hyper_parameters"]
    is_live = "schedule" in (*checkpoint[PROJECT_KEY]["live"], *live)
    keeps_schedule = is_live or saved.get("schedule") == own.get("schedule")
    for index, name in enumerate(("optimizer_g", "optimizer_d")[: len(checkpoint.get("optimizer_states", ()))]):
        if saved.get(name) and own.get(name):
            _change_optimizer(checkpoint, index, name, saved[name], own[name], keeps_schedule=keeps_schedule)
    if not keeps_schedule and "lr_schedulers" in checkpoint:
        _change_schedule(checkpoint, saved.get("schedule"), own)


def _change_optimizer(
    checkpoint: dict[str, Any],
    index: int,
    name: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    keeps_schedule: bool,
) -> None:
    for key in sorted({*before, *now}):
        old, new = (_get_value(name, part, key) for part in (before, now))
        if old == new:
            continue
        groups = checkpoint["optimizer_states"][index]["param_groups"]
        needs_other_state = key in (TARGET, "amsgrad", "centered") or (key == "momentum" and not old)
        if needs_other_state or any(key not in group for group in groups):
            raise UserError(
                f"module.{name}.{key}={new} does not go with the checkpoint's state, which was made with {old}: keep "
                "that, or start anew with init_from="
            )
        _log.info("module.%s.%s=%s from here on, it was %s", name, key, new, old)
        for number, group in enumerate(groups):
            if key == "lr":
                base = group.get("initial_lr", group["lr"])
                if keeps_schedule and checkpoint.get("lr_schedulers") and not math.isclose(base, old):
                    raise UserError(
                        f"module.{name}.lr={new} has no effect, since module.schedule sets rates of its own, from "
                        f"{base:.3g} on: leave it out, or set module.schedule=null too"
                    )
                _change_rate(checkpoint, index, number, float(new))
            else:
                group[key] = tuple(new) if isinstance(new, list) else new


def _get_value(name: str, part: Mapping[str, Any], key: str) -> Any:
    try:
        return get_argument(part, key)
    except UserError as error:
        raise UserError(f"module.{name}: {error}") from None


def _change_rate(checkpoint: dict[str, Any], index: int, number: int, rate: float) -> None:
    group = checkpoint["optimizer_states"][index]["param_groups"][number]
    schedules = checkpoint.get("lr_schedulers") or ()
    base = group.get("initial_lr", group["lr"])
    group["lr"] = rate * group["lr"] / base if schedules and base else rate
    if "initial_lr" in group:
        group["initial_lr"] = rate
    if index < len(schedules):
        for state in _walk_states(schedules[index]):
            for key in {"base_lrs", "_last_lr"} & state.keys():
                before = state[key][number]
                state[key][number] = rate * before / base if base else rate


def _walk_states(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield state
    for inner in state.get("_schedulers") or ():
        yield from _walk_states(inner)


def _change_schedule(checkpoint: dict[str, Any], before: Any, own: Mapping[str, Any]) -> None:
    now = own.get("schedule")
    if now is not None and not str(now.get(TARGET)).startswith(_OWN):
        raise UserError(
            f"module.schedule={now} does not go with the checkpoint, which was trained with {before}: keep that, "
            "choose LinearDecay or WarmupCosine of pix2pix_lightning.training.schedulers or null, which go on at any "
            "epoch, or start anew with init_from="
        )
    _log.info("module.schedule=%s from here on, it was %s", now, before)
    states = checkpoint["lr_schedulers"]
    num_epochs = states[0]["last_epoch"] if states else _count_finished_epochs(checkpoint)
    checkpoint["lr_schedulers"] = []
    for name, state in zip(("optimizer_g", "optimizer_d"), checkpoint["optimizer_states"], strict=False):
        rates = [_restore_settings(name, own.get(name), group) for group in state["param_groups"]]
        for group, rate in zip(state["param_groups"], rates, strict=True):
            group["lr"] = group["initial_lr"] = rate
            if now is None:
                del group["initial_lr"]
        if now is not None:
            checkpoint["lr_schedulers"].append({"base_lrs": rates, "last_epoch": num_epochs})


def _restore_settings(name: str, part: Mapping[str, Any] | None, group: dict[str, Any]) -> float:
    """Return the rate that an optimizer's description sets, and undo what a schedule has made of its momentum.

    Schedules such as OneCycleLR set rates and momentum of their own.
    """
    base: float = group.get("initial_lr", group["lr"])
    if not part:
        return base
    for key in {"betas", "momentum"} & group.keys():
        value = _get_value(name, part, key)
        group[key] = tuple(value) if isinstance(value, list) else value
    rate = _get_value(name, part, "lr")
    return base if rate is None else float(rate)


def _count_finished_epochs(checkpoint: dict[str, Any]) -> int:
    number: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return number
