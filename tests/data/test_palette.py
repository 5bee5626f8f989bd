"""Label files that are drawn in the palette's colours are accepted, others are refused."""

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data.procedural import PALETTE, ProceduralPairs
from pix2pix_lightning.data.sides import build_side

FACADES = [
    *([0, 0, 170], [0, 0, 255], [0, 85, 255], [0, 170, 255], [0, 255, 255], [85, 255, 170]),
    *([170, 255, 85], [255, 255, 0], [255, 170, 0], [255, 85, 0], [255, 0, 0], [170, 0, 0]),
]
SIDE = build_side(kind="label", palette=FACADES)


def draw_classes(seed, side=128):
    """Draw rectangles of classes; (H, W) class numbers."""
    rng = np.random.default_rng(seed)
    classes = np.full((side, side), 1)
    for _ in range(25):
        top, left, height, width = rng.integers(0, side - 8), rng.integers(0, side - 8), *rng.integers(6, 30, 2)
        classes[top : top + height, left : left + width] = rng.integers(0, 12)
    return classes


def compress(image, quality):
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def draw_photo(seed, side=64):
    """Draw colours that change gradually, most of them between those of the palette."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(40, 216, (9, 9, 3), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("quality", [None, 90, 20])
def test_label_maps_are_accepted_also_as_jpegs(quality):
    for seed in range(3):
        classes = draw_classes(seed)
        image = np.array(FACADES, np.uint8)[classes]
        snapped = SIDE.prepare(image if quality is None else compress(image, quality))
        assert (snapped[..., 0] == classes).mean() > (0.999 if quality is None else 0.8)


def test_photos_are_refused_with_the_share_of_other_colours_an_example_and_the_nearest():
    for seed in range(2):
        image = draw_photo(seed)
        with pytest.raises(ValueError, match=r"none of the palette's 12 colours") as caught:
            SIDE.prepare(image)
        line = str(caught.value)
        colour, nearest = ([int(v) for v in word.split("]")[0].split(", ")] for word in line.split("[")[1:3])
        distances = np.linalg.norm(np.array(FACADES, float) - colour, axis=1)
        assert (image == colour).all(-1).any()
        assert FACADES[int(distances.argmin())] == nearest
        far = np.linalg.norm(image[:, :, None].astype(float) - np.array(FACADES), axis=-1).min(-1) > 32
        assert float(line.split("%")[0]) == pytest.approx(100 * far.mean(), abs=5)
        assert "data.direction" in line
        assert "kind=rgb" in line


def test_a_file_is_refused_above_two_thirds_of_other_colours():
    image = np.array(FACADES, np.uint8)[draw_classes(0)]
    image[: int(128 * 0.6)] = 120
    assert SIDE.prepare(image).shape == (128, 128, 1)
    image[: int(128 * 0.72)] = 120
    image[:2] = (255, 255, 255)  # rarer, and further from the palette
    with pytest.raises(ValueError, match=r"7[0-4]% .* \[120, 120, 120\]"):
        SIDE.prepare(image)


def test_a_colour_may_lie_32_levels_from_the_palette():
    near, far = (np.full((8, 8, 3), (0, green, 170), np.uint8) for green in (28, 36))  # [0, 0, 170] is nearest
    assert not SIDE.prepare(near).any()
    with pytest.raises(ValueError, match=r"100% .* \[0, 36, 170\].* \[0, 0, 170\]"):
        SIDE.prepare(far)


def test_an_rgb_side_is_snapped_without_the_check():
    snapped = build_side(palette=FACADES, snap_palette=True).prepare(draw_photo(0))
    assert set(map(tuple, snapped.reshape(-1, 3).tolist())) <= set(map(tuple, FACADES))


def test_labels_of_drawn_pairs_are_accepted_and_their_photos_are_not():
    palette = np.array(list(PALETTE.values()))
    side = build_side(kind="label", palette=palette.tolist())
    for photo, labels, _ in ProceduralPairs(2, size=64):
        assert (palette[side.prepare(labels)[..., 0]] == labels).all()
        with pytest.raises(ValueError, match="none of the palette's"):
            side.prepare(photo)
