"""Each file of a pair is converted by the description of its own side, in both directions."""

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data import PairAugmentation, PairDataset
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.prepared import PreparedPairs
from pix2pix_lightning.data.sides import build_side

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
CLASSES = np.random.default_rng(1).integers(0, 3, (6, 6, 1), dtype=np.uint8)


class One:
    """A is a photo, B holds class numbers."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return PHOTO, CLASSES.repeat(3, 2), "x"


def build_spec(direction, num_classes=3):
    a, b = build_side(kind="grayscale"), build_side(kind="label", num_classes=num_classes)
    source, target = (a, b) if direction == "a_to_b" else (b, a)
    return PairSpec(source=source, target=target, size=6, load_size=6, direction=direction)


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_a_and_b_keep_their_descriptions_in_both_directions(direction):
    luminance = PHOTO @ np.array([0.299, 0.587, 0.114])
    a, b, name = PreparedPairs(One(), build_spec(direction))[0]
    assert np.abs(a[..., 0] - luminance).max() <= 0.51
    np.testing.assert_array_equal(b, CLASSES)
    assert name == "x"
    sample = PairDataset(One(), build_spec(direction), augmentation=None, seed=0)[0]
    photo, labels = ("source", "target") if direction == "a_to_b" else ("target", "source")
    np.testing.assert_array_equal(sample[photo][0].numpy(), cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY))
    np.testing.assert_array_equal(sample[labels][0].numpy(), CLASSES[..., 0])


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_an_error_names_the_side_of_the_file(direction):
    with pytest.raises(ValueError, match=r"pair x, data\.b: "):
        PreparedPairs(One(), build_spec(direction, num_classes=2))[0]


def test_prepared_pairs_are_not_prepared_again():
    class Ready:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return PHOTO[..., :1], CLASSES, "ready"

    augmentation = PairAugmentation(6, mirror=False)
    sample = PairDataset(One(), build_spec("b_to_a"), augmentation=augmentation, seed=0, prepared=Ready())[0]
    assert sample["name"] == "ready"
    np.testing.assert_array_equal(sample["target"][0].numpy(), PHOTO[..., 0])
    np.testing.assert_array_equal(sample["source"][0].numpy(), CLASSES[..., 0])
