"""Colours with names."""

import numpy as np
import pytest
from drawn_models import PALETTE
from omegaconf import OmegaConf

from pix2pix_lightning.cli.compose import compose
from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.demo.brushes import KNOWN, brushes_of, known_colours, known_of_run


def test_an_rgb_source_has_a_pen_an_eraser_and_any_colour():
    brushes = brushes_of(SideSpec())
    assert brushes.colours == {"pen": (0, 0, 0), "eraser": (255, 255, 255)}
    assert (brushes.free, brushes.paints) == (True, False)
    assert not brushes_of(SideSpec(kind="grayscale")).free


@pytest.mark.parametrize("side", [{"kind": "label"}, {"snap_palette": True}])
@pytest.mark.parametrize("noise", [0, 7])
def test_a_palette_of_the_facades_has_their_names_in_its_own_order_and_colours(side, noise):
    names = list(PALETTE)[::-1]
    palette = tuple(tuple(min(255, v + noise) for v in PALETTE[name]) for name in names)  # as read off JPEGs
    assert list(brushes_of(SideSpec(palette=palette, **side)).colours.items()) == list(zip(names, palette, strict=True))


def test_our_own_facades_have_theirs():
    from pix2pix_lightning.data.procedural import PALETTE as OURS

    assert brushes_of(SideSpec(kind="label", palette=tuple(OURS.values()))).colours == OURS


def test_other_palettes_have_numbers_unless_named():
    side = SideSpec(kind="label", palette=((128, 64, 128), (0, 60, 100)))
    assert list(brushes_of(side).colours) == ["class 0", "class 1"]
    known = known_colours(OmegaConf.create({"car": [0, 60, 100], "road": [128, 64, 128]}))
    assert brushes_of(side, known).colours == {"road": (128, 64, 128), "car": (0, 60, 100)}


def test_class_numbers_are_drawn_in_colours_of_their_own():
    side = SideSpec(kind="label", num_classes=21)
    brushes = brushes_of(side)
    assert len(set(brushes.colours.values())) == 21
    numbers = np.random.default_rng(0).integers(0, 21, (8, 9, 1), np.uint8)
    shown = brushes.shown(numbers, side)
    for number, colour in enumerate(brushes.colours.values()):
        assert ((shown == colour).all(-1) == (numbers[..., 0] == number)).all()
    assert (brushes.drawn(shown, side) == numbers).all()


def test_an_upload_of_other_colours_is_refused():
    side = SideSpec(kind="label", palette=tuple(PALETTE.values()))
    with pytest.raises(ValueError, match="none of the palette's 12 colours"):
        brushes_of(side).shown(np.full((8, 8, 3), 120, np.uint8), side)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("cats", "brushes=cats is unknown: facades, procedural"),
        ({"road": [1, 2]}, r"palette colour \[1, 2\]: three whole numbers"),
        ({"road": [1, 2, 3], "car": [1, 2, 3]}, "stands for two classes"),
    ],
)
def test_what_cannot_be_brushes(said, line):
    with pytest.raises(ValueError, match=line):
        known_colours(said if isinstance(said, str) else OmegaConf.create(said))
    assert known_colours(None) is None


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["experiment=facades"], "facades"),
        (["experiment=quickstart"], "procedural"),
        (["experiment=facades", "data.direction=a_to_b"], None),
        (["experiment=edges2shoes"], None),
    ],
)
def test_a_run_says_by_its_configuration_what_is_drawn(words, name, tmp_path):
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    assert known_of_run(checkpoint) is None
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(compose("train", words)))
    assert known_of_run(checkpoint) == KNOWN.get(name)
