"""The registered metrics: one row for each, with all that is known about it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from torchmetrics import Metric, MetricCollection

from pix2pix_lightning.metrics.checkerboard import CheckerboardRatio
from pix2pix_lightning.metrics.colour import HistogramA, HistogramB, HistogramL
from pix2pix_lightning.metrics.distribution import DistributionMetric, is_distribution_metric
from pix2pix_lightning.metrics.embeddings import LEAST_IMAGES
from pix2pix_lightning.metrics.feature_extractor import LEAST_SIDE
from pix2pix_lightning.metrics.fid import FID
from pix2pix_lightning.metrics.image import EightBitPSNR, ImageL1, ImageL2, ImageMSSSIM, ImagePSNR, ImageSSIM
from pix2pix_lightning.metrics.kid import KID
from pix2pix_lightning.metrics.labels import ClassAccuracy, MeanIoU, PixelAccuracy
from pix2pix_lightning.metrics.perceptual import ImagePerceptual
from pix2pix_lightning.metrics.sharpness import GradientRatio
from pix2pix_lightning.utils.errors import UserError

__all__ = ["METRICS", "Direction", "MetricInfo", "derive_name", "describe_metrics", "metric_info"]

Direction = Literal["higher", "lower", "target", "unknown"]
_WRITTEN: Mapping[str, Any] = {  # attributes for readers of results, and their types
    "label": str,
    "unit": str,
    "direction": str,
    "best": float | int | None,
    "decimals": int,
    "kind": str,
}


@dataclass(frozen=True)
class MetricInfo:
    """What is known about a metric.

    Attributes:
        name: Name in configurations, files and logs.
        label: Name for people.
        direction: Which value is better: a "higher" one, a "lower" one, the one nearer to `best` ("target"), or
            "unknown".
        unit: Unit of the value; empty where it has none.
        best: Value of an output that equals its target; None where it is unknown or infinite.
        decimals: Digits after the point on pages.
        description: One sentence for people; empty where there is none.
        kind: "pairs" for a metric with a value for each image, "distribution" for one value over all images (FID).
        targets: What it can be computed of: "any" images, "images" (no class numbers without a palette), "photos"
            (RGB only), "pictures" (images of 1 or 3 channels), "classes" (label maps only).
        least_side: Least side of the images in pixels.
        least_images: Least number of images.
        uses_features: Whether it looks at images through a pretrained network.
        by_default: Whether an evaluation without a list of metrics has it, where it applies.
        builder: Class of a registered metric; it takes no argument, or ``features`` where it uses them.
        eight_bit_builder: Class for images that are rounded to 8 bits, where that is another one.
    """

    name: str
    label: str
    direction: Direction
    unit: str = ""
    best: float | None = None
    decimals: int = 4
    description: str = ""
    kind: Literal["pairs", "distribution"] = "pairs"
    targets: Literal["any", "images", "photos", "pictures", "classes"] = "any"
    least_side: int = 1
    least_images: int = 1
    uses_features: bool = False
    by_default: bool = True
    builder: type[Metric] | None = None
    eight_bit_builder: type[Metric] | None = None

    @property
    def title(self) -> str:
        """The label, with the unit where that is a symbol such as dB."""
        return f"{self.label} ({self.unit})" if self.unit and " " not in self.unit else self.label

    def compute_badness(self, value: float) -> float:
        """Return a number that is lower for a better value; NaN for NaN and where the direction is unknown."""
        if self.direction == "target":
            return abs(value - cast(float, self.best))
        return {"lower": value, "higher": -value, "unknown": math.nan}[self.direction]

    def find_best(self, values: Iterable[float]) -> float | None:
        """Return the best of the finite values; None where there is none or the direction is unknown."""
        finite = [value for value in values if math.isfinite(value)]
        return min(finite, key=self.compute_badness) if finite and self.direction != "unknown" else None

    def rename(self, name: str) -> MetricInfo:
        """Return the row under a name of the user's own, which becomes the label too."""
        return self if name == self.name else replace(self, name=name, label=name)

    def to_dict(self) -> dict[str, Any]:
        """Return what a reader of results needs, as plain data."""
        return {key: getattr(self, key) for key in _WRITTEN}

    @classmethod
    def from_dict(cls, name: str, values: Mapping[str, Any]) -> MetricInfo:
        """Build a row from what `to_dict` returned; keys that are missing have their defaults.

        Args:
            name: Name of the metric.
            values: Plain data. A "target" direction without a number as `best` counts as "unknown", and so does a
                direction of another name.

        Returns:
            The row.

        Raises:
            UserError: `values` is no mapping, or a value in it has another type.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"{name} is {values!r}, not keys and values")
        known = {key: values[key] for key in _WRITTEN if key in values}
        wrong = [key for key, value in known.items() if not isinstance(value, _WRITTEN[key])]
        if wrong:
            raise UserError(f"{wrong[0]} of {name} is {known[wrong[0]]!r}")
        info = cls(**{"name": name, "label": name, "direction": "unknown", **known})
        is_usable = info.direction in get_args(Direction) and not (info.direction == "target" and info.best is None)
        return info if is_usable else replace(info, direction="unknown")


def _describe_histogram(channel: str) -> str:
    return (
        f"Intersection of the histograms of outputs and of targets: {channel} of Lab in bins of one unit, over the "
        "pixels of all images. Images that are drawn twice make a rougher histogram, so with few images the interval "
        "lies low."
    )


_ROWS = (
    MetricInfo(
        "accuracy",
        "Accuracy",
        "higher",
        best=1.0,
        description="Share of pixels that have the target's class, of those that have one.",
        targets="classes",
        builder=PixelAccuracy,
    ),
    MetricInfo(
        "class_accuracy",
        "Class accuracy",
        "higher",
        best=1.0,
        description="Share of each class's pixels that have it, over all images: the mean over the classes that are in "
        "the targets.",
        targets="classes",
        builder=ClassAccuracy,
    ),
    MetricInfo(
        "mean_iou",
        "Mean IoU",
        "higher",
        best=1.0,
        description="Intersection over union of each class's pixels, over all images: the mean over the classes that "
        "are in the targets.",
        targets="classes",
        builder=MeanIoU,
    ),
    MetricInfo(
        "l1",
        "L1",
        "lower",
        unit="fraction of the range",
        best=0.0,
        description="Mean absolute difference, as a fraction of the range.",
        targets="images",
        builder=ImageL1,
    ),
    MetricInfo(
        "l2",
        "L2",
        "lower",
        best=0.0,
        description="Mean squared difference, the range being 1.",
        targets="images",
        builder=ImageL2,
    ),
    MetricInfo(
        "psnr",
        "PSNR",
        "higher",
        unit="dB",
        decimals=2,
        description="Peak signal-to-noise ratio of each image; equal images count as if one value were one level off.",
        targets="images",
        builder=ImagePSNR,
        eight_bit_builder=EightBitPSNR,
    ),
    MetricInfo(
        "ssim",
        "SSIM",
        "higher",
        best=1.0,
        description="Structural similarity, Gaussian window of 11 pixels, sigma 1.5.",
        targets="images",
        least_side=ImageSSIM.least_side,
        builder=ImageSSIM,
    ),
    MetricInfo(
        "ms_ssim",
        "MS-SSIM",
        "higher",
        best=1.0,
        description="Structural similarity over five scales.",
        targets="images",
        least_side=ImageMSSSIM.least_side,
        builder=ImageMSSSIM,
    ),
    MetricInfo(
        "gradient",
        "Gradient",
        "target",
        unit="share of the targets'",
        best=1.0,
        description="Sharpness: the mean gradient magnitude of outputs as a share of the targets'.",
        targets="images",
        least_side=GradientRatio.least_side,
        builder=GradientRatio,
    ),
    *(
        MetricInfo(
            f"histogram_{channel.lower()}",
            f"Histogram {channel}",
            "higher",
            best=1.0,
            description=_describe_histogram(channel),
            targets="photos",
            builder=builder,
        )
        for channel, builder in {"L": HistogramL, "a": HistogramA, "b": HistogramB}.items()
    ),
    MetricInfo(
        "checkerboard",
        "Checkerboard",
        "target",
        unit="share of the targets'",
        best=1.0,
        description="Energy of grids of 2 pixels, where targets are smooth, as a share of the targets': more than 1 is "
        "a grid that upsampling left, much less is blur.",
        targets="images",
        least_side=CheckerboardRatio.least_side,
        builder=CheckerboardRatio,
    ),
    MetricInfo(
        "perceptual",
        "Perceptual distance",
        "lower",
        best=0.0,
        description="Squared distance of features of a pretrained network, which have length 1 at each position, as a "
        "mean over positions and layers: 2 is unrelated.",
        targets="pictures",
        least_side=LEAST_SIDE,
        uses_features=True,
        builder=ImagePerceptual,
    ),
    MetricInfo(
        "kid",
        "KID",
        "lower",
        decimals=5,
        description="Kernel distance of the outputs' embeddings by a pretrained network from the targets', unbiased: "
        "about 0, or a little below, for sets of the same kind. It is often given times 1,000 or 100.",
        kind="distribution",
        targets="pictures",
        least_side=LEAST_SIDE,
        least_images=LEAST_IMAGES,
        uses_features=True,
        builder=KID,
    ),
    MetricInfo(
        "fid",
        "FID",
        "lower",
        best=0.0,
        decimals=2,
        description="Frechet distance of the outputs' embeddings by a pretrained network from the targets'. Below "
        "2,000 images it is too high, and can be compared with that of as many images alone.",
        kind="distribution",
        targets="pictures",
        least_side=LEAST_SIDE,
        least_images=LEAST_IMAGES,
        uses_features=True,
        by_default=False,
        builder=FID,
    ),
)

METRICS: Mapping[str, MetricInfo] = {row.name: row for row in _ROWS}
"""The registered metrics by name, in the order in which an evaluation reports them."""


def metric_info(metric: str | Metric) -> MetricInfo:
    """Return the row of a metric; for one that is not registered, what can be derived from it.

    Args:
        metric: A name, or a metric. The direction of an unregistered metric is that of its `higher_is_better`, its
            label is its class's name, its name that in snake case. Of an unregistered name nothing is known.
    """
    if isinstance(metric, str):
        return METRICS.get(metric) or MetricInfo(metric, metric, "unknown")
    registered = [row for row in _ROWS if type(metric) in (row.builder, row.eight_bit_builder)]
    if registered:
        return registered[0]
    inner = metric.metric if isinstance(metric, DistributionMetric) else metric
    label = type(inner).__name__
    directions: dict[Any, Direction] = {True: "higher", False: "lower"}
    return MetricInfo(
        _to_snake_case(label),
        label,
        directions.get(inner.higher_is_better, "unknown"),
        kind="distribution" if is_distribution_metric(inner) else "pairs",
    )


def describe_metrics(collection: MetricCollection) -> dict[str, dict[str, Any]]:
    """Describe the metrics of a collection as plain data, for a file of results.

    Args:
        collection: Metrics, as `build_metrics` builds them.

    Returns:
        For each name, with the collection's prefix, its label, unit, direction, best value, decimals and kind.
    """
    names = collection.keys(keep_base=True)
    logged = collection.keys(keep_base=False)
    metrics = collection.values()
    return {
        str(key): metric_info(metric).rename(str(name)).to_dict()
        for key, name, metric in zip(logged, names, metrics, strict=True)
    }


def derive_name(description: Mapping[str, Any]) -> str:
    """Return the name of a described metric, that of its class in snake case, without building it."""
    return _to_snake_case(str(description["_target_"]).rpartition(".")[2])


def _to_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
