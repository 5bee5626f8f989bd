"""What a training that produced NaN or infinity is told: where it began, the likely cause, and how to go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer

from pix2pix_lightning.checkpoints.files import LAST
from pix2pix_lightning.training.watching.networks import NETWORKS
from pix2pix_lightning.training.watching.step_history import SUMS, StepFigures

_OF_DISCRIMINATOR = ("loss_d", "d_real", "d_fake", "gradient_penalty", "label_mix", "r1")
_HIGH_RATE = 1e-2
"""Adam moves each weight by about its rate in a step. First weights are drawn with a deviation of 0.02: a step of half
of it replaces what was learned."""
_GROWTH = 100.0
"""A loss that has grown this much within the steps looked at was diverging before it was not finite."""
_USUAL_RATE = 2e-4


def find_first_step(steps: Sequence[StepFigures]) -> StepFigures | None:
    """Return the first step with a loss or an image that is not finite."""
    return next((step for step in steps if not all(map(math.isfinite, step.values.values()))), None)


def find_broken_images(step: StepFigures) -> str | None:
    """Return ``source`` or ``target`` where a step's images are not finite."""
    return next((side for side in SUMS if not math.isfinite(step.values.get(side, 0.0))), None)


def find_network(step: StepFigures) -> str:
    """Return the network in which values that are not finite appeared first, ``"g"`` or ``"d"``.

    The generator runs first. A NaN in its output reaches ``d_fake`` and not ``d_real``, which is NaN only where the
    discriminator itself is broken.
    """
    broken = [name for name, value in step.values.items() if name not in SUMS and not math.isfinite(value)]
    if "d_fake" in broken and "d_real" not in broken:
        return "g"
    if broken and broken[0] in _OF_DISCRIMINATOR:
        return "d"
    sound_reconstruction = any(
        name not in (*broken, *SUMS, *_OF_DISCRIMINATOR, "adversarial", "feature_matching", "loss_g")
        for name in step.values
    )
    return "d" if "adversarial" in broken and sound_reconstruction else "g"


def format_broken_step(step: StepFigures, steps: Sequence[StepFigures], trainer: Trainer, run_dir: Path | None) -> str:
    """Format a step with values that are not finite as one line for the user.

    Args:
        step: The first such step.
        steps: It and those before it, as far as they are known.
        trainer: The trainer.
        run_dir: Folder of the run, where there is one.

    Returns:
        Epoch, batch, network, the likely cause, and how to go on.
    """
    where = f"epoch {trainer.current_epoch + 1}, batch {step.batch + 1}"
    if (side := find_broken_images(step)) is not None:
        pairs = ", ".join(map(str, step.pairs)) or "the batch"
        return (
            f"{where}: the {side} of {pairs} holds values that are not finite: correct these files or leave them out, "
            f"or set callbacks.watch.on_nan=skip_batch; {format_continuation(trainer, run_dir)}"
        )
    network = find_network(step)
    broken = {name: value for name, value in step.values.items() if not math.isfinite(value)}
    losses = ", ".join(f"{name}={value}" for name, value in broken.items())
    cause, too_fast = _find_cause(network, steps, trainer)
    # what spread to both networks in batches whose losses are not known began in either
    is_known = network == "g" or all(earlier.values.keys() - set(SUMS) for earlier in steps)
    name = NETWORKS[network] if is_known else " or the ".join(NETWORKS.values())
    return (
        f"{where}: the {name}'s losses are not finite ({losses}): {cause}; "
        f"{format_continuation(trainer, run_dir, too_fast)}"
    )


def format_broken_weights(what: str, network: str, batch_idx: int, trainer: Trainer, run_dir: Path | None) -> str:
    """Format weights or gradients that are not finite as one line for the user.

    Args:
        what: What is broken, such as ``weights (model.0.weight)``.
        network: ``"g"`` or ``"d"``.
        batch_idx: Number of the last batch in its epoch, from 0.
        trainer: The trainer.
        run_dir: Folder of the run, where there is one.

    Returns:
        Epoch, batch, network, the likely cause, and how to go on.
    """
    where = f"epoch {trainer.current_epoch + 1}, batch {batch_idx + 1}"
    cause, too_fast = _find_cause(network, (), trainer)
    return (
        f"{where}: the {NETWORKS[network]}'s {what} are not finite: {cause}; "
        f"{format_continuation(trainer, run_dir, too_fast)}"
    )


def format_continuation(trainer: Trainer, run_dir: Path | None, network: str | None = None) -> str:
    """Format how to go on from the last checkpoint, or how to start anew where there is none.

    Args:
        trainer: The trainer.
        run_dir: Folder of the run, where there is one.
        network: ``"g"`` or ``"d"``, whose learning rate is to be lower; None where the rate is not the cause.

    Returns:
        A clause, with the keys to set.
    """
    rate = _get_rate(trainer, network) if network else None
    lower = None if rate is None else min(rate / 10, _USUAL_RATE)
    if run_dir is not None and (run_dir / LAST).is_file():
        with_rate = "" if lower is None else f" module.optimizer_{network}.lr={lower:.3g}"
        return f"{LAST} is of an earlier batch and finite: go on with resume={run_dir}{with_rate}"
    if lower is None:
        return "there is no checkpoint to go on from yet: start anew"
    return f"there is no checkpoint to go on from yet: start anew, with module.optimizer_{network}.lr={lower:.3g}"


def _find_cause(network: str, steps: Sequence[StepFigures], trainer: Trainer) -> tuple[str, str | None]:
    """Return the likely cause, and the network whose learning rate is to be lower, if one is."""
    rates = {name: rate for name in (network, *NETWORKS) if (rate := _get_rate(trainer, name)) is not None}
    fastest = max(rates, key=lambda name: rates[name], default=None)
    if fastest is not None and rates[fastest] >= _HIGH_RATE:
        other = "" if fastest == network else " of the other network"
        return f"the learning rate {rates[fastest]:.3g}{other} is likely too high (usual is {_USUAL_RATE})", fastest
    if _is_16_bit(trainer):
        return (
            f"trainer.precision={trainer.precision} likely overflows, above 65504: set speed.precision=bf16-mixed or "
            "32-true"
        ), None
    rate = rates.get(network)
    shown = "unknown" if rate is None else f"{rate:.3g}"
    if (growth := _compute_growth(steps)) > _GROWTH:
        return (
            f"a loss grew {growth:.0f} times in the batches before, so the learning rate {shown} is likely too high"
        ), network
    return (
        "the losses before were ordinary, so a weight, a loss or a layer likely overflows or divides by 0, or an image "
        f"is far out of range (the learning rate is {shown})"
    ), network


def _is_16_bit(trainer: Trainer) -> bool:
    return trainer.precision in ("16-mixed", "16-true")


def _compute_growth(steps: Sequence[StepFigures]) -> float:
    growths = [0.0]
    for name in {name for step in steps for name in step.values} - set(SUMS):
        finite = [abs(step.values[name]) for step in steps if math.isfinite(step.values.get(name, math.nan))]
        if len(finite) > 1:
            growths.append(finite[-1] / max(min(finite), 1e-3))
    return max(growths)


def _get_rate(trainer: Trainer, network: str | None) -> float | None:
    index = list(NETWORKS).index(network or "g")
    if index >= len(trainer.optimizers):
        return None
    return float(trainer.optimizers[index].param_groups[0]["lr"])
