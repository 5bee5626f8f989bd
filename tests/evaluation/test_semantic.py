"""The semantic score, with a segmenter whose classes are the colours of what it reads."""

import numpy as np
import pytest
import torch
from torch import nn

from class_scores import score_classes
from pix2pix_lightning import PairSpec, Pix2PixModule, Translator
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.evaluation import Interval, Scores, SemanticJudge, TranslatedPair, take_semantic
from pix2pix_lightning.utils.errors import UserError
from small_networks import PALETTE

SIDE = 12
COLOURS = np.array(PALETTE, np.uint8)
NAMES = ["accuracy", "class_accuracy", "iou"]
RGB = build_side()


class NearestColour(nn.Module):
    """Finds the colour that is nearest to each pixel."""

    def forward(self, images):
        self.shape = images.shape
        colours = torch.tensor(PALETTE)[None, :, :, None, None] / 127.5 - 1
        return -(images[:, None] - colours).square().sum(2)


class NearestLevel(nn.Module):
    """Finds the third of the range that the first channel lies in."""

    def forward(self, images):
        return -(images[:, :1] - torch.tensor([-1.0, 0.0, 1.0])[None, :, None, None]).abs()


def open_segmenter(network=None, **target):
    target = target or {"palette": PALETTE}
    spec = PairSpec(target=build_side("label", **target), size=SIDE)
    return Translator(Pix2PixModule(network or NearestColour(), None, pair_spec=spec), resize="training")


def to_tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 1)


def draw_pairs():
    """Class numbers (3, H, W) of sources, outputs and targets: outputs are right half of the time, targets mostly."""
    rng = np.random.default_rng(0)
    source = rng.integers(0, 3, (3, SIDE, SIDE))
    other = rng.integers(0, 3, (2, 3, SIDE, SIDE))
    right = rng.random(other.shape) < np.array([0.4, 0.9])[:, None, None, None]
    return source, *np.where(right, source, other)


def judge_pairs(judge, sources, outputs, targets, masks=None):
    names = ["a", "b", "c"]
    for index, name in enumerate(names):
        images = [to_tensor(images[[index]]) for images in (sources, COLOURS[outputs], COLOURS[targets])]
        judge.add(TranslatedPair(name, *images, None if masks is None else torch.from_numpy(masks[[index]])[:, None]))
    return judge.add_scores(Scores(names, {}, {"l1": Interval(0, 0, 0)}))


def check_scores(scores, wanted, outputs, targets):
    for suffix, found in (("", outputs), ("_real", targets)):
        total = score_classes(found, wanted)
        each = [score_classes(f, w) for f, w in zip(found, wanted, strict=True)]
        for name in NAMES:
            key = f"semantic_{name}{suffix}"
            assert scores.figures[key].mean == pytest.approx(total[name], rel=1e-12)
            assert scores.figures[key].low < scores.figures[key].mean < scores.figures[key].high
            np.testing.assert_allclose(scores.values[key], [one[name] for one in each], rtol=1e-12)
            assert scores.info(key).direction == ("unknown" if suffix else "higher")


def test_classes_that_are_found_are_compared_with_those_that_a_picture_of_labels_shows():
    source, output, target = draw_pairs()
    noise = np.random.default_rng(1).integers(-15, 16, (*source.shape, 3))
    pictures = np.clip(COLOURS[source] + noise, 0, 255).astype(np.uint8)
    masks = np.random.default_rng(2).random(source.shape) < 0.8
    scores = judge_pairs(SemanticJudge(open_segmenter(), PairSpec(), "s"), pictures, output, target, masks)
    check_scores(scores, np.where(masks, source, -1), output, target)
    assert list(scores.figures)[:2] == ["l1", "semantic_accuracy"]
    assert scores.figures["semantic_iou"].mean < scores.figures["semantic_iou_real"].mean - 0.1


def test_classes_of_label_sides_are_matched_by_colour_or_by_number():
    source, output, target = draw_pairs()
    white = (255, 255, 255)
    side = build_side("label", palette=[PALETTE[2], white, PALETTE[0], PALETTE[1]], ignore_index=1)
    colours = np.array([PALETTE[0], PALETTE[1], PALETTE[2], white], np.uint8)
    source[0, :3] = 3  # no class
    wanted = np.where(source == 3, -1, source)
    judge = SemanticJudge(open_segmenter(), PairSpec(source=side), "s")
    check_scores(judge_pairs(judge, colours[source], output, target), wanted, output, target)
    judge = SemanticJudge(open_segmenter(palette=PALETTE, ignore_index=1), PairSpec(source=side), "s")
    found = [np.where(image == 1, 0, image) for image in (output, target)]  # it finds the next class
    scores = judge_pairs(judge, colours[source], output, target)
    for name, image in zip(("semantic_accuracy", "semantic_accuracy_real"), found, strict=True):
        counted = (wanted == 0) | (wanted == 2)
        assert scores.figures[name].mean == pytest.approx((image == wanted)[counted].mean(), rel=1e-12)

    judge = SemanticJudge(open_segmenter(), PairSpec(source=build_side("label", palette=PALETTE, ignore_index=1)), "s")
    scores = judge_pairs(judge, colours[np.where(source == 3, 1, source)], output, target)
    assert scores.figures["semantic_accuracy"].mean == pytest.approx((output == wanted)[counted].mean(), rel=1e-12)

    numbers = build_side("label", num_classes=3, ignore_index=255)
    judge = SemanticJudge(open_segmenter(NearestLevel(), num_classes=3), PairSpec(source=numbers), "s")
    levels = np.array([0, 128, 255], np.uint8)
    for index, name in enumerate("abc"):
        images = [to_tensor(np.repeat(levels[image[index], None], 3, -1)[None]) for image in (output, target)]
        labels = np.where(wanted[index] < 0, 255, wanted[index])[None, ..., None].astype(np.uint8)
        judge.add(TranslatedPair(name, to_tensor(labels), *images))
    check_scores(judge.add_scores(Scores(["a", "b", "c"], {}, {})), wanted, output, target)


def test_images_are_read_at_the_segmenters_size_and_compared_at_their_own():
    numbers = np.kron(np.array([[0, 1], [2, 0]]), np.ones((3 * SIDE, 2 * SIDE), int))  # edges stay where they are
    network = NearestColour()
    judge = SemanticJudge(open_segmenter(network), PairSpec(), "s")
    image = to_tensor(COLOURS[numbers][None])
    judge.add(TranslatedPair("a", image, image.flip(3), image))
    assert network.shape == (1, 3, SIDE, SIDE)
    figures = judge.add_scores(Scores(["a"], {}, {})).figures
    assert figures["semantic_iou_real"].mean == 1
    expected = score_classes(numbers[:, ::-1], numbers)["accuracy"]
    assert figures["semantic_accuracy"].mean == pytest.approx(expected, rel=1e-12)


NUMBERS = {"num_classes": 3}


@pytest.mark.parametrize(
    ("segmenter", "pair", "message"),
    [
        ({}, {"target": build_side("grayscale")}, "reads rgb images, and the model's outputs are grayscale"),
        ({}, {"target": build_side("label", palette=PALETTE)}, "outputs are label"),
        ({}, {"source": build_side("grayscale")}, "finds colours, and the model's sources are grayscale"),
        ({}, {"source": build_side("label", **NUMBERS)}, "finds colours, and the model's sources are class numbers"),
        ({}, {"source": build_side("label", palette=[[0, 0, 9], [200, 0, 0]])}, r"no class of the colour \[0, 0, 9\]"),
        (NUMBERS, {}, "finds class numbers, and the model's sources are rgb"),
        (NUMBERS, {"source": build_side("label", num_classes=4)}, "finds 3 classes, and the model's sources have 4"),
    ],
)
def test_a_segmenter_that_does_not_fit_is_refused(segmenter, pair, message):
    with pytest.raises(UserError, match=rf"^segmenter=s .*{message}.*: give .*$"):
        SemanticJudge(open_segmenter(**segmenter), PairSpec(**pair), "s")


def test_what_is_no_segmenter_and_what_shows_no_classes_is_refused():
    translator = Translator(Pix2PixModule(nn.Identity(), None), resize="training")
    with pytest.raises(UserError, match=r"^segmenter=s gives rgb images, no label maps: .*facades_segmenter$"):
        SemanticJudge(translator, PairSpec(), "s")
    judge = SemanticJudge(open_segmenter(), PairSpec(), "s")
    photo = to_tensor(np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8))
    with pytest.raises(
        UserError, match=r"^metrics=\[semantic\], but the source x is not drawn in the 3 colours of .*$"
    ):
        judge.add(TranslatedPair("x", photo, photo, photo))
    drawn = to_tensor(COLOURS[np.zeros((1, SIDE, SIDE), int)])
    judge.add(TranslatedPair("x", drawn, drawn, drawn))
    with pytest.raises(UserError, match="metrics: semantic_iou"):
        judge.add_scores(Scores(["x"], {}, {"semantic_iou": Interval(0, 0, 0)}))


@pytest.mark.parametrize(
    ("requested", "segmenter", "expected"),
    [
        (None, None, (None, False)),
        (None, "s", (None, True)),
        ("semantic", "s", ([], True)),
        (["l1", "semantic"], "s", (["l1"], True)),
        (["l1"], None, (["l1"], False)),
        ({"own": "l1"}, None, ({"own": "l1"}, False)),
        (["semantic"], None, "segmenter=<run folder>"),
        ("semantic", None, "segmenter=<run folder>"),
        (["l1"], "s", "segmenter=s is used by"),
        ({"own": "l1"}, "s", "segmenter=s is used by"),
        ({"own": "semantic"}, "s", r"metrics=\[semantic\]"),
    ],
)
def test_semantic_goes_with_a_segmenter(requested, segmenter, expected):
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            take_semantic(requested, segmenter)
    else:
        assert take_semantic(requested, segmenter) == expected
