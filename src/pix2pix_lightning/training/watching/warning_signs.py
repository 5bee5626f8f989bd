"""Signs that a training goes wrong although its numbers are finite: rules of figures, each with what to try."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pix2pix_lightning.training.watching.networks import NETWORKS
from pix2pix_lightning.training.watching.validation_figures import ValidationFigures


class Sign(NamedTuple):
    """A sign: its kind, by which it is told once, and one line for the user."""

    kind: str
    message: str


@dataclass(frozen=True)
class Thresholds:
    """Where an ordinary training ends and a warning begins. See docs/reliability.md for runs on both sides.

    Attributes:
        after_steps: Steps of the generator before anything is judged that has to be learned first, and of a
            discriminator that wins: an epoch of facades. A U-Net needs about 100, one without skip connections more.
        after_epochs: Epochs before outputs are compared with the mean target and with the source. Sharp outputs may
            have a larger L1 than a blurred mean for long, so this is later.
        low_loss_d: Discriminator's loss as a share of its loss when undecided. At 0.02, cross entropy is 0.014: it is
            right with 98.6 % probability everywhere.
        vanishing: Root mean square of a network's gradients. Below 1e-9 Adam's epsilon of 1e-8 rules its steps.
        exploding: Norm of a network's gradients as a multiple of that of its weights. No sound run reaches 1000.
        no_effect: Share of a loss term in the generator's loss, weighted. Below 0.001 Adam moves by the others alone.
        collapse: Deviation between outputs as a share of that between targets.
        saturated: Share of output values at the ends of their range, where fewer than half of the targets' are.
        constant: Deviation of values as a fraction of their range: 0.005 is about a level of 255.
        unrelated: How much nearer an output is to its own target than to others, as a share, ...
        certainty: ... and in standard errors: below both, outputs have nothing to do with their targets.
    """

    after_steps: int = 400
    after_epochs: int = 10
    low_loss_d: float = 0.02
    vanishing: float = 1e-9
    exploding: float = 1e3
    no_effect: float = 1e-3
    collapse: float = 0.05
    saturated: float = 0.9
    constant: float = 0.005
    unrelated: float = 0.01
    certainty: float = 2.0


class NetworkFigures(NamedTuple):
    """Figures of a network over an epoch.

    Attributes:
        rate: Its learning rate.
        gradient_rms: Median root mean square of its gradients.
        gradient_ratio: Median norm of its gradients, as a multiple of that of its weights.
        has_moved: Whether its weights are others than at the epoch's start, or a schedule has ended with the rate 0.
    """

    rate: float
    gradient_rms: float
    gradient_ratio: float
    has_moved: bool


@dataclass(frozen=True)
class EpochFigures:
    """Figures of a training epoch.

    Attributes:
        losses: Mean losses of the epoch by name.
        terms: Weights of the generator's loss terms by name.
        undecided: Discriminator's loss for logits of 0; NaN where its form has no such value.
        batches_won: Batches since the discriminator's mean loss of an epoch has been low.
        networks: Figures by network, ``"g"`` and ``"d"``.
    """

    losses: Mapping[str, float] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    undecided: float = math.nan
    batches_won: int = 0
    networks: Mapping[str, NetworkFigures] = field(default_factory=dict)


def find_training_signs(figures: EpochFigures, limits: Thresholds) -> Iterator[Sign]:
    """Yield the signs that losses, gradients and weights of an epoch show.

    Args:
        figures: Figures of the epoch.
        limits: Where a warning begins.

    Yields:
        The signs.
    """
    for short, network in figures.networks.items():
        name, key = NETWORKS[short], f"module.optimizer_{short}.lr"
        if not network.has_moved:
            yield Sign(
                f"frozen_{short}",
                f"the {name}'s weights did not change in this epoch (learning rate {network.rate:.3g}): set {key}, or "
                "look at its schedule",
            )
        if network.gradient_rms < limits.vanishing:
            yield Sign(
                f"vanishing_{short}",
                f"the {name}'s gradients vanish (root mean square {network.gradient_rms:.1e}, below "
                f"{limits.vanishing:.0e}): it learns nothing; try other first weights (seed=), a norm layer, or "
                "another adversarial= loss",
            )
        elif network.gradient_ratio > limits.exploding:
            yield Sign(
                f"exploding_{short}",
                f"the {name}'s gradients are large (their norm is {network.gradient_ratio:.1e} times that of the "
                f"weights): try module.gradient_clip=1, lower module.weights, or a {key} below {network.rate:.3g}",
            )
    loss_d = figures.losses.get("loss_d", math.nan)
    if figures.batches_won >= limits.after_steps:
        yield Sign(
            "won_d",
            f"the discriminator's loss has been near 0 for {figures.batches_won} batches ({loss_d:.4f}, undecided is "
            f"{figures.undecided:.2f}): the generator learns little from it; try a lower module.optimizer_d.lr, a "
            "smaller discriminator= or adversarial=lsgan",
        )
    yield from _find_terms_without_effect(figures, limits)


def is_won(loss_d: float, undecided: float, limits: Thresholds) -> bool:
    """Return whether a discriminator's mean loss is near 0.

    Args:
        loss_d: The mean loss; NaN where it is not known.
        undecided: The loss for logits of 0; NaN where its form has no lowest value.
        limits: Where a warning begins.

    Returns:
        False as well where one of them is NaN.
    """
    return loss_d < limits.low_loss_d * undecided


def _find_terms_without_effect(figures: EpochFigures, limits: Thresholds) -> Iterator[Sign]:
    shares = {
        name: weight * abs(figures.losses.get(name, math.nan)) for name, weight in figures.terms.items() if weight
    }
    total = sum(shares.values())
    for name, share in shares.items():
        if share < limits.no_effect * total:
            yield Sign(
                f"no_effect_{name}",
                f"the term {name} is {share / total:.1e} of the generator's loss, so that it has no effect: set "
                f"module.weights.{name} (now {figures.terms[name]:g}) and the others' to comparable sizes",
            )


def find_validation_signs(
    figures: ValidationFigures,
    num_steps: int,
    epoch: int,
    limits: Thresholds,
    *,
    is_paired: bool = True,
    has_classes: bool = False,
) -> Iterator[Sign]:
    """Yield the signs that the outputs of a validation show.

    Args:
        figures: Figures of the validation.
        num_steps: Steps of the generator so far.
        epoch: Epochs so far, at least 1.
        limits: Where a warning begins.
        is_paired: Whether the losses see which target belongs to a source: ``loss=gan`` does not.
        has_classes: Whether a loss compares classes: outputs then need not have the values of their targets.

    Yields:
        The signs.
    """
    if not math.isfinite(figures.l1):
        yield Sign(
            "nonfinite",
            f"outputs or targets of the validation are not finite (L1 {figures.l1}), although the weights are: look at "
            "the validation's files, and at an overflow in trainer.precision",
        )
        return
    is_varied = True
    for side in ("source", "target"):
        spread, contrast = figures.spread[side], figures.contrast[side]
        if figures.num_images > 1 and spread < limits.constant:
            is_varied = False
            yield Sign(
                f"constant_{side}",
                f"the {side}s of the validation are nearly the same image (their deviation is {spread:.4f} of the "
                f"range, their contrast {contrast:.4f}): look at the files, and at kind, palette and value_range in "
                "data.a, data.b",
            )
    if num_steps < limits.after_steps or figures.num_images < 2:
        return
    is_saturated = figures.saturated["output"] > limits.saturated and figures.saturated["target"] < limits.saturated / 2
    if is_saturated:
        yield Sign(
            "saturated",
            f"{figures.saturated['output']:.0%} of the output's values are at the ends of their range, "
            f"{figures.saturated['target']:.0%} of the targets' are: try a lower module.optimizer_g.lr, and look at "
            "kind in data.a, data.b",
        )
    if not is_varied:
        return
    has_collapsed = figures.spread["output"] < limits.collapse * figures.spread["target"]
    if has_collapsed:
        yield Sign(
            "collapse",
            f"the outputs are nearly the same image for different sources (their deviation is "
            f"{figures.spread['output']:.4f}, that of the targets {figures.spread['target']:.4f}): try a lower "
            "module.optimizer_g.lr, another seed=, or a larger module.weights.l1",
        )
    closer = 1 - figures.own / figures.other if figures.other else 0.0
    is_named = is_saturated or has_collapsed  # which are causes
    if (
        figures.num_images >= 8
        and is_paired
        and not is_named
        and (closer < limits.unrelated or figures.certainty < limits.certainty)
    ):
        yield Sign(
            "unrelated",
            f"an output is no nearer to its own target than to those of other pairs ({figures.own:.4f} and "
            f"{figures.other:.4f}, {figures.certainty:.1f} standard errors): do sources and targets belong together, "
            "and is data.direction right?",
        )
    if is_paired and not has_classes and epoch >= limits.after_epochs:
        yield from _compare_with_baselines(figures, epoch)


def _compare_with_baselines(figures: ValidationFigures, epoch: int) -> Iterator[Sign]:
    baselines = {
        "mean": (figures.l1_mean, "the mean target of the training pairs"),
        "copy": (figures.l1_copy, "the unchanged source"),
    }
    for kind, (distance, name) in baselines.items():
        if figures.l1 >= distance and figures.l1:  # 0 is perfect, or no pixel of the targets has a class
            yield Sign(
                f"baseline_{kind}",
                f"after {epoch} epochs the outputs are no better than {name}: L1 {figures.l1:.4f}, and {distance:.4f} "
                "for that; do the pairs belong together, is data.direction right, and is the learning rate sane? "
                "(Sharp outputs of a task with many right answers can have such an L1: look at the gallery)",
            )
