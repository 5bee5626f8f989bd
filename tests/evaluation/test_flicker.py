"""The flicker of clips whose flicker is known."""

import math

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.evaluation import Interval, Scores, TranslatedPair, add_flicker, check_clip, check_frame
from pix2pix_lightning.evaluation.flicker import Motion, compute_warping_error, estimate_motion, find_steps
from pix2pix_lightning.utils.errors import UserError

SIDE = build_side("rgb")


def draw_texture(seed=0, side=112):
    """A smooth texture, floats of levels."""
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    return 128 + 30 * texture / texture.std()


def to_levels(image):
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def cut(texture, right=0, down=0):
    """The frame in which what the texture shows has moved to the right and down."""
    return to_levels(texture[12 - down : 92 - down, 12 - right : 92 - right])


def test_a_moved_frame_is_that_of_scipy():
    rng = np.random.default_rng(0)
    frame, following = rng.integers(0, 256, (2, 9, 14, 3), np.uint8)
    flow = np.broadcast_to(np.float32([2.25, -1.5]), (9, 14, 2))  # parts that OpenCV does not round
    is_seen = np.zeros((9, 14), bool)
    is_seen[2:, :11] = True
    rows, columns = np.mgrid[:9, :14]
    moved = [map_coordinates(following[..., c].astype(float), [rows - 1.5, columns + 2.25], order=1) for c in range(3)]
    expected = np.square(np.dstack(moved) - frame)[is_seen].mean()
    assert compute_warping_error(frame, following, Motion(flow.copy(), is_seen)) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(compute_warping_error(frame, following, Motion(flow.copy(), is_seen & False)))


def test_what_moves_is_followed_and_what_stays_behind_flickers():
    texture = draw_texture()
    frame, following = cut(texture), cut(texture, right=5, down=2)
    motion = estimate_motion(frame, following)
    assert np.abs(np.median(motion.flow, (0, 1)) - [5, 2]).max() < 0.05
    assert motion.is_seen.mean() > 0.85
    assert not motion.is_seen[:, -4:].any()  # 5 pixels leave the frame
    assert compute_warping_error(255 - frame, 255 - following, motion) < 0.5
    brighter = following + np.uint8(6)
    assert compute_warping_error(frame, brighter, motion) == pytest.approx(36, abs=1)
    still = cut(draw_texture(1))
    expected = np.square(cut(draw_texture(1))[2:, 5:].astype(float) - still[:-2, :-5])[motion.is_seen[:-2, :-5]].mean()
    assert compute_warping_error(still, still, motion) == pytest.approx(expected, rel=0.05)


def test_what_is_covered_does_not_count():
    ground, patch = to_levels(draw_texture(2)), to_levels(draw_texture(3))[:40, :40]
    frames = [ground.copy(), ground.copy()]
    for frame, left in zip(frames, (20, 28), strict=True):
        frame[30:70, left : left + 40] = patch
    motion = estimate_motion(*frames)
    assert motion.is_seen[32:68, 62:66].mean() < 0.2  # ground that the patch covers
    whole = compute_warping_error(*frames, Motion(motion.flow, np.ones_like(motion.is_seen)))
    assert compute_warping_error(*frames, motion) < whole / 6


def write_clip(folder, outputs, targets):
    folders = [folder / str(place) for place in range(len(outputs))]
    for path, *images in zip(folders, outputs, targets, strict=True):
        path.mkdir()
        for name, image in zip(("output", "target"), images, strict=True):
            write_image(path / f"{name}.png", image)
    return folders


def test_noise_over_a_still_scene_is_twice_its_variance(tmp_path):
    rng = np.random.default_rng(0)
    scene, sigma = draw_texture(), 5
    outputs = [to_levels(scene + rng.normal(0, sigma, scene.shape)) for _ in range(4)]
    names = ["clip/10", "clip/9", "clip/8", "other/1"]  # in the order of names, not of numbers
    folders = write_clip(tmp_path, outputs, [to_levels(scene)] * 4)
    scores = add_flicker(Scores(names, {}, {}), folders, SIDE)
    expected = (2 * sigma**2 + 2 / 12) / 255**2  # and that of rounding
    assert scores.figures["flicker"].mean == pytest.approx(expected, rel=0.03)
    assert scores.figures["flicker"].low < scores.figures["flicker"].mean < scores.figures["flicker"].high
    assert scores.figures["flicker_targets"] == Interval(0, 0, 0)
    assert np.isnan(scores.values["flicker"]).tolist() == [False, False, True, True]
    halved = add_flicker(Scores(names, {}, {}), folders, build_side("rgb", value_range=[0, 51]))
    assert halved.figures["flicker"].mean == pytest.approx(25 * scores.figures["flicker"].mean)
    with pytest.raises(UserError, match="metrics: flicker"):
        add_flicker(scores, folders, SIDE)


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["a_1_x", "a_02_x", "a_3_y", "b_2_x"], [(0, 1)]),
        (["a/1", "b/2", "c", "a/3"], []),
        (["9", "10", "8", "12"], [(2, 0), (0, 1)]),
    ],
)
def test_frames_follow_each_other_by_their_last_number(names, steps):
    assert find_steps(names) == steps


def test_what_is_no_clip_of_pictures_is_refused(tmp_path):
    for side in ("raw", "label"):
        with pytest.raises(UserError, match=f"targets are {side}"):
            check_clip(build_side(side, **({"num_classes": 3} if side == "label" else {})), 64, None)
    with pytest.raises(UserError, match="12 pixels"):
        check_clip(SIDE, 8, None)
    with pytest.raises(UserError, match="clip/001 and clip/002"):
        check_clip(SIDE, 64, ["a", "b"])
    images = np.zeros((4, 16, 16, 3), np.uint8)
    folders = write_clip(tmp_path, images, [*images[:3], images[3, :12]])
    with pytest.raises(UserError, match="a/3 and a/4 differ in size"):
        add_flicker(Scores(["a/1", "a/2", "a/3", "a/4"], {}, {}), folders, SIDE)
    mask = np.ones((1, 1, 4, 4), bool)
    check_frame(TranslatedPair("a/1", *[None] * 3, mask))
    mask[..., 0] = False
    with pytest.raises(UserError, match="a/1"):
        check_frame(TranslatedPair("a/1", *[None] * 3, mask))
