"""Label files that are drawn in the palette's colours pass, others are refused."""

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data.procedural import ProceduralPairs
from pix2pix_lightning.data.sides import SideSpec

FACADES = [
    *([0, 0, 170], [0, 0, 255], [0, 85, 255], [0, 170, 255], [0, 255, 255], [85, 255, 170]),
    *([170, 255, 85], [255, 255, 0], [255, 170, 0], [255, 85, 0], [255, 0, 0], [170, 0, 0]),
]
SIDE = SideSpec(kind="label", palette=FACADES)


def drawn(seed, side=128):
    """Rectangles of classes, as facades are drawn; (H, W) class numbers."""
    rng = np.random.default_rng(seed)
    classes = np.full((side, side), 1)
    for _ in range(25):
        top, left, height, width = rng.integers(0, side - 8), rng.integers(0, side - 8), *rng.integers(6, 30, 2)
        classes[top : top + height, left : left + width] = rng.integers(0, 12)
    return classes


def as_jpeg(image, quality):
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def photo(seed, side=128):
    """Colours that change softly: what makes a photo is that most are mixed."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(40, 216, (9, 9, 3), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("quality", [None, 90, 50, 20])
def test_label_maps_pass_also_as_jpegs(quality):
    for seed in range(5):
        classes = drawn(seed)
        image = np.array(FACADES, np.uint8)[classes]
        snapped = SIDE.snap(image if quality is None else as_jpeg(image, quality))
        assert (snapped[..., 0] == classes).mean() > (0.999 if quality is None else 0.8)


def test_photos_are_refused_with_their_share_a_colour_and_the_nearest():
    for seed in range(5):
        image = photo(seed)
        with pytest.raises(ValueError, match=r"none of the palette's 12 colours") as caught:
            SIDE.snap(image)
        line = str(caught.value)
        colour, nearest = ([int(v) for v in word.split("]")[0].split(", ")] for word in line.split("[")[1:3])
        distances = np.linalg.norm(np.array(FACADES, float) - colour, axis=1)
        assert (image == colour).all(-1).any()
        assert FACADES[int(distances.argmin())] == nearest
        far = np.linalg.norm(image[:, :, None].astype(float) - np.array(FACADES), axis=-1).min(-1) > 32
        assert float(line.split("%")[0]) == pytest.approx(100 * far.mean(), abs=5)
        assert all(mend in line for mend in ("the palette that the file is drawn in", "data.direction", "kind=rgb"))


def test_the_share_decides():
    """Below two thirds of other colours a file passes, above it does not."""
    image = np.array(FACADES, np.uint8)[drawn(0)]
    image[: int(128 * 0.6)] = 120
    assert SIDE.snap(image).shape == (128, 128, 1)
    image[: int(128 * 0.72)] = 120
    with pytest.raises(ValueError, match=r"7[0-4]% of the pixels .* \[120, 120, 120\] for one"):
        SIDE.snap(image)


@pytest.mark.parametrize(("off", "passes"), [(28, True), (36, False)])
def test_how_far_is_far(off, passes):
    image = np.full((64, 64, 3), (0, off, 170), np.uint8)  # between [0, 0, 170] and [0, 85, 255]
    if passes:
        assert not SIDE.snap(image).any()
    else:
        with pytest.raises(ValueError, match=r"100% of the pixels .* \[0, 36, 170\] for one, to which \[0, 0, 170\]"):
            SIDE.snap(image)


def test_an_rgb_side_snaps_whatever_it_is_given():
    snapped = SideSpec(palette=FACADES, snap_palette=True).snap(photo(0))
    assert set(map(tuple, snapped.reshape(-1, 3).tolist())) <= set(map(tuple, FACADES))


def test_our_own_drawn_labels_pass_and_the_photos_of_them_do_not():
    pairs = ProceduralPairs(5, size=64, seed=0, split="train")
    palette = np.unique(np.concatenate([pairs[i][1].reshape(-1, 3) for i in range(5)]), axis=0)
    side = SideSpec(kind="label", palette=palette.tolist())
    for index in range(5):
        picture, labels, _ = pairs[index]
        assert (palette[side.snap(labels)[..., 0]] == labels).all()
        with pytest.raises(ValueError, match="none of the palette's"):
            side.snap(picture)
