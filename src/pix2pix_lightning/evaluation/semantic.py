"""The semantic score: how well a segmenter finds the classes of the source in the output (the paper's FCN score).

Section 4.1 of arXiv 1611.07004: if an output is realistic, a network that was trained on photos classifies it as it
classifies the photo. The segmenter here is any checkpoint whose target is a label map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import LabelSide, Side
from pix2pix_lightning.data.sides.palette import find_nearest_colours, is_drawn_in
from pix2pix_lightning.evaluation.measures import Merge, StatisticsMeasurement
from pix2pix_lightning.evaluation.scores import Scores, TranslatedPair
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.metrics import ClassAccuracy, MeanIoU, MetricInfo, OverallAccuracy
from pix2pix_lightning.utils.errors import UserError

NAME = "semantic"
_PHOTOS = ("rgb", "lab")  # whose files hold RGB
_PICTURES = (*_PHOTOS, "grayscale")
_METRICS = {
    "semantic_accuracy": ("Semantic accuracy", "Share of all pixels", OverallAccuracy),
    "semantic_class_accuracy": ("Semantic class accuracy", "Share of each class's pixels", ClassAccuracy),
    "semantic_iou": ("Semantic IoU", "Mean intersection over union of the classes", MeanIoU),
}
_READ = {
    "": "that a segmenter finds in outputs, compared with the label maps that they were made of. To be compared with "
    "that of the targets.",
    "_real": "that the segmenter finds in the targets: what a perfect output reaches.",
}
_INFOS = [
    MetricInfo(
        f"{name}{suffix}",
        label + (" of the targets" if suffix else ""),
        "unknown" if suffix else "higher",
        description=f"{what} {read}",
    )
    for suffix, read in _READ.items()
    for name, (label, what, _) in _METRICS.items()
]


def take_semantic(requested: Any, segmenter: str | None) -> tuple[Any, bool]:
    """Take ``semantic`` out of the metrics that are requested.

    Args:
        requested: As for ``choose_metrics``.
        segmenter: The checkpoint of the segmenter, or None.

    Returns:
        The other metrics, and whether the semantic score is to be measured: where it is named, or where all metrics
        that apply are requested (None) and there is a segmenter.

    Raises:
        UserError: It is named without a segmenter, there is a segmenter that has no use, or it has another name.
    """
    if requested is None:
        return None, segmenter is not None
    if isinstance(requested, Mapping) and NAME in requested.values():
        raise UserError(f"metrics: {NAME} is several values, which have names: give a list, metrics=[{NAME}]")
    given = [requested] if isinstance(requested, str) or not isinstance(requested, Iterable) else requested
    is_named = not isinstance(requested, Mapping) and NAME in given
    if is_named and segmenter is None:
        raise UserError(
            f"metrics={NAME} needs a network that finds classes in targets: set segmenter=<run folder>, of a training "
            "with loss=cross_entropy such as experiment=facades_segmenter"
        )
    if segmenter is not None and not is_named:
        raise UserError(f"segmenter={segmenter} is used by metrics=[{NAME}] alone: add it, or leave segmenter out")
    return ([metric for metric in given if metric != NAME] if is_named else requested), is_named


class SemanticJudge:
    """Let a segmenter read outputs and targets, and compare what it finds with the label maps of the sources.

    Both are read as files hold them, at the segmenter's own size; its label maps are compared at the size of the
    images. Pixels that do not count, and those of the class that the segmenter's target ignores, are left out.

    Args:
        segmenter: Translates targets of the model into label maps; made with ``resize="training"``.
        spec: What the pixels of the model's pairs mean.
        name: What the segmenter is called in messages.

    Attributes:
        infos: What is known about what it measures.

    Raises:
        UserError: It is no segmenter, it reads other images than the model's outputs, or the model's sources show no
            classes of it.
    """

    infos = _INFOS

    def __init__(self, segmenter: Translator, spec: PairSpec, name: str) -> None:
        found = segmenter.pair_spec
        if not isinstance(found.target, LabelSide):
            raise UserError(
                f"segmenter={name} gives {found.target.kind} images, no label maps: give a run that was trained with "
                "a target of kind label, such as experiment=facades_segmenter"
            )
        if not _reads(found.source, spec.target):
            raise UserError(
                f"segmenter={name} reads {found.source.kind} images, and the model's outputs are {spec.target.kind}: "
                "give a segmenter of such outputs (its source is the model's target)"
            )
        if reason := _find_obstacle(found.target, spec.source):
            raise UserError(f"segmenter={name} {reason}: give a segmenter of the classes that the sources show")
        self._segmenter, self._name = segmenter, name
        self._classes, self._source = found.target, spec.source
        self._measurements = {
            f"{metric}{suffix}": StatisticsMeasurement(row[2]()) for suffix in _READ for metric, row in _METRICS.items()
        }

    def add(self, pair: TranslatedPair) -> None:
        """Measure a pair.

        Args:
            pair: The pair as files hold it.

        Raises:
            UserError: The source is not drawn in the colours of the segmenter's classes.
        """
        wanted = self._read_source(pair)
        if pair.mask is not None:
            wanted = wanted.masked_fill(~pair.mask, -1)
        for suffix, image in (("", pair.output), ("_real", pair.target)):
            found = self._segment(image)
            for metric in _METRICS:
                self._measurements[f"{metric}{suffix}"].add(found, wanted)

    def merge(self, merge: Merge) -> None:
        """Take the statistics of the pairs of all processes, as `Measurement.merge` does."""
        for measurement in self._measurements.values():
            measurement.merge(merge)

    def add_scores(self, scores: Scores) -> Scores:
        """Return the scores with those of the pairs that were added.

        Args:
            scores: Scores of the same pairs.

        Raises:
            UserError: A metric has one of the names.
        """
        results: Any = {name: measurement.compute() for name, measurement in self._measurements.items()}
        return scores.extend(results, _INFOS)

    def _segment(self, image: Tensor) -> Tensor:
        """Return the class numbers (1, 1, H, W) that the segmenter finds in an image of files, (1, C, H, W)."""
        label_map = self._segmenter.translate_arrays([image[0].permute(1, 2, 0).cpu().numpy()])[0]
        return self._classes.number_classes(torch.from_numpy(label_map).permute(2, 0, 1)[None]).long()

    def _read_source(self, pair: TranslatedPair) -> Tensor:
        """Return the class numbers (1, 1, H, W) that a source shows; -1 where it shows none."""
        if isinstance(self._source, LabelSide):
            numbers = self._source.number_classes(pair.source).long()
            wanted = torch.tensor(_map_classes(self._source, self._classes))[numbers]
        else:
            wanted = self._match_colours(pair)
        ignored = self._classes.ignore_index
        return wanted if ignored is None else wanted.masked_fill(wanted == ignored, -1)

    def _match_colours(self, pair: TranslatedPair) -> Tensor:
        image: npt.NDArray[np.uint8] = np.ascontiguousarray(pair.source[0].permute(1, 2, 0).numpy())
        palette = self._classes.palette or ()
        nearest = find_nearest_colours(image, palette)
        if not is_drawn_in(image, nearest, palette):
            raise UserError(
                f"metrics=[{NAME}], but the source {pair.name} is not drawn in the {len(palette)} colours of "
                f"segmenter={self._name}, as a photo is not: give a segmenter of the classes that the sources show, or "
                f"leave {NAME} out"
            )
        return torch.from_numpy(nearest.astype(np.int64))[None, None]


def _reads(source: Side, output: Side) -> bool:
    """Return whether a segmenter with this source reads outputs of this kind."""
    is_photo = source.kind in _PHOTOS and output.kind in _PHOTOS
    return is_photo or (source.kind == output.kind and source.kind in _PICTURES)


def _find_obstacle(classes: LabelSide, source: Side) -> str | None:
    """Return why sources do not show a segmenter's classes, in words that follow its name, or None."""
    if not isinstance(source, LabelSide):
        if classes.palette and source.kind == "rgb":
            return None  # each source is looked at
        return f"finds {'colours' if classes.palette else 'class numbers'}, and the model's sources are {source.kind}"
    if bool(classes.palette) != bool(source.palette):
        kinds = ["colours" if side.palette else "class numbers" for side in (classes, source)]
        return f"finds {kinds[0]}, and the model's sources are {kinds[1]}"
    if classes.palette and (missing := _find_missing(source, classes)):
        return f"has no class of the colour {list(missing[0])}, which the model's sources have"
    if not classes.palette and classes.channels != source.channels:
        return f"finds {classes.channels} classes, and the model's sources have {source.channels}"
    return None


def _find_missing(source: LabelSide, classes: LabelSide) -> list[tuple[int, int, int]]:
    """Return the colours of a source's classes that are no colours of a segmenter."""
    known = {tuple(colour) for colour in classes.palette or ()}
    return [
        colour
        for number, colour in enumerate(source.palette or ())
        if tuple(colour) not in known and number != source.ignore_index
    ]


def _map_classes(source: LabelSide, classes: LabelSide) -> list[int]:
    """Return the segmenter's class number for each number of a source; -1 for those that stand for no class."""
    if classes.palette:
        own = {tuple(colour): number for number, colour in enumerate(classes.palette)}
        table = [own.get(tuple(colour), -1) for colour in source.palette or ()]
    else:
        table = [number if number < classes.channels else -1 for number in range(256)]
    if source.ignore_index is not None:
        table[source.ignore_index] = -1
    return table
