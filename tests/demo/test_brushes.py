"""Brushes: colours with names, from palettes, class numbers and configurations."""

import numpy as np
import pytest
from omegaconf import OmegaConf
from tiny_models import PALETTE

from pix2pix_lightning.cli.compose import compose
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.demo.brushes import KNOWN, build_brushes, find_run_colours, parse_colours


def test_rgb_source_has_pen_eraser_and_free_colours():
    brushes = build_brushes(build_side())
    assert brushes.colours == {"pen": (0, 0, 0), "eraser": (255, 255, 255)}
    assert (brushes.free, brushes.paints) == (True, False)
    assert not build_brushes(build_side(kind="grayscale")).free


@pytest.mark.parametrize(("side", "noise"), [({"kind": "label"}, 7), ({"snap_palette": True}, 0)])
def test_facades_palette_gets_names_in_its_own_order_and_colours(side, noise):
    names = list(PALETTE)[::-1]
    palette = tuple(tuple(min(255, v + noise) for v in PALETTE[name]) for name in names)  # as read from JPEG files
    assert list(build_brushes(build_side(palette=palette, **side)).colours.items()) == list(
        zip(names, palette, strict=True)
    )


def test_procedural_palette_gets_its_names():
    from pix2pix_lightning.data.procedural import PALETTE as OURS

    assert build_brushes(build_side(kind="label", palette=tuple(OURS.values()))).colours == OURS


def test_unknown_palette_gets_numbers_or_configured_names():
    side = build_side(kind="label", palette=((128, 64, 128), (0, 60, 100)))
    assert list(build_brushes(side).colours) == ["class 0", "class 1"]
    known = parse_colours(OmegaConf.create({"car": [0, 60, 100], "road": [128, 64, 128]}))
    assert build_brushes(side, known).colours == {"road": (128, 64, 128), "car": (0, 60, 100)}


def test_class_numbers_have_unique_colours_and_round_trip():
    side = build_side(kind="label", num_classes=21)
    brushes = build_brushes(side)
    assert len(set(brushes.colours.values())) == 21
    numbers = np.random.default_rng(0).integers(0, 21, (8, 9, 1), np.uint8)
    drawing = brushes.to_drawing(numbers, side)
    for number, colour in enumerate(brushes.colours.values()):
        assert ((drawing == colour).all(-1) == (numbers[..., 0] == number)).all()
    assert (brushes.to_file(drawing, side) == numbers).all()


def test_drawing_of_other_colours_is_refused():
    side = build_side(kind="label", palette=tuple(PALETTE.values()))
    with pytest.raises(ValueError, match="none of the palette's 12 colours"):
        build_brushes(side).to_drawing(np.full((8, 8, 3), 120, np.uint8), side)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("cats", "brushes=cats is unknown: facades, procedural"),
        ({"road": [1, 2]}, r"palette colour \[1, 2\]: three whole numbers"),
        ({"road": [1, 2, 3], "car": [1, 2, 3]}, "stands for two classes"),
    ],
)
def test_bad_brushes_are_refused(setting, line):
    with pytest.raises(ValueError, match=line):
        parse_colours(setting if isinstance(setting, str) else OmegaConf.create(setting))
    assert parse_colours(None) is None


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["experiment=facades"], "facades"),
        (["experiment=quickstart"], "procedural"),
        (["experiment=facades", "data.direction=a_to_b"], None),
        (["experiment=edges2shoes"], None),
    ],
)
def test_colours_are_found_from_the_configuration_of_the_run(words, name, tmp_path):
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    assert find_run_colours(checkpoint) is None
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(compose("train", words)))
    assert find_run_colours(checkpoint) == KNOWN.get(name)
