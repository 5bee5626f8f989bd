"""The presets of conf/augmentation on sides of any type and channel count."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import PairSpec, compose
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.data import PairTransform
from pix2pix_lightning.data.augmentation import build_augmentation
from pix2pix_lightning.data.sides import build_side

SIZE = 32
FILES = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in find_conf_dir().glob("augmentation/*")}
LISTS = {name: values["augmentation"] for name, values in FILES.items() if (values or {}).get("augmentation")}


def build_raw(dtype):
    return build_side("raw", dtype=dtype, value_range=None if dtype.endswith("int16") else [-50, 50])


def build_spec(source=None, target=None):
    return PairSpec(source=source or build_side(), target=target or build_side(), size=SIZE)


def apply(entries, source, target, spec=None, seed=0):
    augmentation = build_augmentation(entries, spec or build_spec(), mirror=False)
    return augmentation(source, target, np.random.SeedSequence(seed))


def draw(channels, dtype="uint8", seed=0):
    """Smooth bands, so that interpolation makes values that were not there."""
    values = np.random.default_rng(seed).random((SIZE, SIZE, channels)).cumsum(0).cumsum(1)
    high = {"uint8": 255, "uint16": 4095, "int16": 3000, "float16": 5, "float32": 40}[dtype]
    return (values / values.max() * high - (high / 2 if dtype[0] in "if" else 0)).astype(dtype)


def test_there_are_the_presets_of_the_documentation():
    assert set(FILES) == {"paper", "strong", "microscopy", "remote_sensing", "none"}
    assert set(LISTS) == {"strong", "microscopy", "remote_sensing"}


@pytest.mark.parametrize("name", LISTS)
def test_colours_of_the_target_stay_and_classes_are_not_mixed(name):
    flat = np.full((SIZE, SIZE, 3), 100, np.uint8)
    classes = np.kron(np.array([[0, 40], [90, 250]], np.uint8), np.ones((16, 16), np.uint8))[..., None]
    labels = build_spec(target=build_side("label", num_classes=256))
    levels = set()
    for seed in range(12):
        source, target = apply(LISTS[name], flat, flat, seed=seed)
        np.testing.assert_array_equal(target, flat)
        assert (source == source[0, 0]).all()
        levels |= set(source[0, 0])
        assert set(np.unique(apply(LISTS[name], flat, classes, labels, seed)[1])) <= {0, 40, 90, 250}
    assert (len(levels) > 1) == any(entry.get("sides") == "source" for entry in LISTS[name])


@pytest.mark.parametrize("name", LISTS)
def test_any_channels_of_8_bits_get_the_same_geometry_on_both_sides(name):
    geometry = [entry for entry in LISTS[name] if "sides" not in entry]
    for channels in (1, 2, 5):
        image, changed = draw(channels), 0
        for seed in range(6):
            source, target = apply(geometry, image, np.concatenate([image, image], 2), seed=seed)
            # OpenCV rounds differently for other numbers of channels
            np.testing.assert_allclose(np.concatenate([source, source], 2).astype(int), target, atol=1)
            changed += (source != image).any()
            source, target = apply(LISTS[name], image, image[..., :1], seed=seed)
            assert (source.shape, target.shape) == (image.shape, (SIZE, SIZE, 1))
        assert changed > 2


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float16", "float32"])
def test_other_types_keep_their_type_and_range_or_are_refused_in_a_line(dtype):
    image = draw(5, dtype)
    sides = build_raw(dtype), build_raw(dtype)
    source, target = apply(LISTS["remote_sensing"], image, image, build_spec(*sides), seed=3)
    assert source.dtype == image.dtype
    np.testing.assert_array_equal(source, target)
    assert image.min() <= source.min() < source.max() <= image.max()
    for name in ("strong", "microscopy"):
        with pytest.raises(ValueError, match=rf"RandomBrightnessContrast.*{dtype} in the source"):
            apply(LISTS[name], image, image, build_spec(*sides))
        eight = draw(3)  # of the source alone: the target may be of any type
        assert apply(LISTS[name], eight, image, build_spec(None, sides[1]))[1].dtype == image.dtype


def test_colours_of_a_palette_are_not_mixed():
    spec = build_spec(target=build_side(palette=[[0, 0, 0]], snap_palette=True))
    image = np.where(draw(3) > 100, 255, 0).astype(np.uint8)
    entry = {"_target_": "albumentations.Affine", "rotate": [20, 20], "p": 1}
    source, target = PairTransform(entry, spec)(image, image, np.random.SeedSequence(0))
    assert set(np.unique(target)) == {0, 255}
    assert len(np.unique(source)) > 2


@pytest.mark.parametrize(
    ("words", "jitter", "mirror", "augmentation"),
    [
        (["experiment=facades"], True, True, None),
        (["experiment=edges2shoes"], False, False, None),  # the paper's
        (["experiment=edges2shoes", "augmentation=strong"], True, True, LISTS["strong"]),
        (["experiment=facades", "augmentation=none"], False, False, None),
        (["augmentation=microscopy", "data.jitter=false"], False, False, LISTS["microscopy"]),
        (["augmentation=strong", "data.augmentation=[{_target_: a.B}]"], True, True, [{"_target_": "a.B"}]),
        (["data.augmentation=[{_target_: a.B}]"], True, True, [{"_target_": "a.B"}]),
        (["debug=overfit", "augmentation=strong"], False, False, None),
    ],
)
def test_a_preset_sets_three_keys_which_the_command_line_may_set_too(words, jitter, mirror, augmentation):
    data = compose("train", words).data
    assert (data.jitter, data.mirror) == (jitter, mirror)
    assert data.augmentation == augmentation
