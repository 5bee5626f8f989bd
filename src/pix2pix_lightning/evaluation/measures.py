"""What is measured: for each image its statistics, and a figure of their means over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.evaluation.bootstrap import mean
from pix2pix_lightning.metrics import (
    ImageL1,
    ImageL2,
    ImageMSSSIM,
    ImageSSIM,
    gradient_magnitude,
    lab_histograms,
    pixel_accuracy,
)
from pix2pix_lightning.utils.errors import UserError

Array = npt.NDArray[np.float64]


class Measure(NamedTuple):
    """A metric of outputs against targets.

    Attributes:
        label: For people.
        meaning: In one sentence.
        best: The value of an output that equals its target.
        statistics: Takes outputs and targets, (B, C, H, W) as fractions of the target's range, and gives (B, k).
        figure: Takes means of the statistics over images, (S, k), and gives (S,); of one image's statistics it is
            that image's own value.
        least_side: Of the images, in pixels.
    """

    label: str
    meaning: str
    best: float
    statistics: Callable[[Tensor, Tensor], Tensor]
    figure: Callable[[Array], Array] = mean
    least_side: int = 1


def psnr(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each image's peak signal-to-noise ratio, (B,).

    An infinite one would make every mean infinite: equal images count as though a single value were one level off,
    the least by which 8-bit images can differ.
    """
    least = 1 / (255**2 * outputs[0].numel())
    return -10 * ImageL2().scores(outputs, targets).clamp_min(least).log10()


def gradients(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each image's mean gradient magnitude and its target's, (B, 2)."""
    return torch.stack([gradient_magnitude(outputs), gradient_magnitude(targets)], 1)


def ratio(statistics: Array) -> Array:
    """The first of two means as a share of the second; NaN where that is zero."""
    parts, wholes = statistics[..., 0], statistics[..., 1]
    return np.divide(parts, wholes, out=np.full_like(parts, np.nan), where=wholes > 0)


def histograms(channel: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Each image's histogram of L, a or b, and behind it its target's."""

    def of_both(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.cat([lab_histograms(images)[channel] for images in (outputs, targets)], 1)

    return of_both


def intersection(statistics: Array) -> Array:
    """What two histograms, normalised, have in common (paper, Figure 7): 1 where they are equal."""
    first, second = (counts / counts.sum(-1, keepdims=True) for counts in np.split(statistics, 2, axis=-1))
    common: Array = np.minimum(first, second).sum(-1)
    return common


def _column(scores: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: scores(outputs, targets)[:, None]


def _histogram_measure(name: str, channel: int) -> Measure:
    meaning = (
        f"What the histograms of outputs and of targets have in common, {name} of Lab in bins of one unit, over the "
        "pixels of all images. Images drawn twice make a rougher histogram, so with few images the interval lies low."
    )
    return Measure(f"Histogram {name}", meaning, 1.0, histograms(channel), intersection)


MEASURES = {
    "accuracy": Measure("Accuracy", "Share of pixels that have the target's class.", 1.0, _column(pixel_accuracy)),
    "l1": Measure("L1", "Mean absolute difference, as a fraction of the range.", 0.0, _column(ImageL1().scores)),
    "l2": Measure("L2", "Mean squared difference, the range being 1.", 0.0, _column(ImageL2().scores)),
    "psnr": Measure(
        "PSNR (dB)",
        "Peak signal-to-noise ratio of each image; of equal images that of one value one level off.",
        np.inf,
        _column(psnr),
    ),
    "ssim": Measure(
        "SSIM",
        "Structural similarity, Gaussian window of 11 pixels, sigma 1.5.",
        1.0,
        _column(ImageSSIM().scores),
        least_side=ImageSSIM.least_side,
    ),
    "ms_ssim": Measure(
        "MS-SSIM",
        "Structural similarity over five scales.",
        1.0,
        _column(ImageMSSSIM().scores),
        least_side=ImageMSSSIM.least_side,
    ),
    "gradient": Measure(
        "Gradient",
        "Sharpness: the mean gradient magnitude of outputs as a share of the targets'.",
        1.0,
        gradients,
        ratio,
        least_side=2,
    ),
    "histogram_l": _histogram_measure("L", 0),
    "histogram_a": _histogram_measure("a", 1),
    "histogram_b": _histogram_measure("b", 2),
}


def chosen(asked: str | Sequence[str] | None, target: SideSpec, size: int) -> tuple[list[str], dict[str, str]]:
    """The names of the metrics to be computed.

    Args:
        asked: Names; None asks for all that apply.
        target: What a target's pixels mean.
        size: Side of the images in pixels.

    Returns:
        The names, and what was left out with the reason; that is nothing where names were given.

    Raises:
        ValueError: A name is unknown, or does not apply.
    """
    if asked is None:
        reasons = {name: _obstacle(name, target, size) for name in MEASURES}
        left_out = {name: reason for name, reason in reasons.items() if reason and name != "accuracy"}
        return [name for name, reason in reasons.items() if not reason], left_out
    words = asked if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
    names = list(dict.fromkeys(str(word) for word in words))
    if not names:
        raise UserError(f"metrics=[] asks for nothing: name some of {', '.join(MEASURES)}")
    for name in names:
        if name not in MEASURES:
            raise UserError(f"metrics: {name!r} is unknown, there are {', '.join(MEASURES)}")
        if reason := _obstacle(name, target, size):
            raise UserError(f"metrics: {name} {reason}; leave it out")
    return names, {}


def _obstacle(name: str, target: SideSpec, size: int) -> str | None:
    is_label = target.kind == "label"
    if name == "accuracy":
        return None if is_label else f"is of classes, and these targets are {target.kind}"
    if is_label and not target.palette:
        return "compares colours, and these targets are class numbers without a palette"
    if name.startswith("histogram") and target.kind != "rgb":
        return f"is of photos' colours, and these targets are {target.kind}"
    least = MEASURES[name].least_side
    return f"needs sides of {least} pixels at least, and these are {size}" if size < least else None
