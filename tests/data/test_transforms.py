"""Crop and mirror against a pipeline of albumentations with the same generators."""

import random

import albumentations as A
import numpy as np
import pytest

from pix2pix_lightning.data import PairAugmentation


@pytest.mark.parametrize(("size", "load_size", "mirror"), [(8, 13, True), (8, 13, False), (9, 9, True)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_seed_gives_what_albumentations_pipeline_gives(size, load_size, mirror, channels):
    steps = [A.RandomCrop(size, size), A.HorizontalFlip(p=0.5)][: 1 + mirror]
    pipeline = A.Compose(steps, additional_targets={"target": "image"})
    ours = PairAugmentation(size, mirror=mirror)
    source, target = np.random.default_rng(0).integers(0, 256, (2, load_size, load_size, channels), np.uint8)
    before = source.copy()
    source.flags.writeable = target.flags.writeable = False  # as a memory map is
    for number in range(30):
        words = np.random.SeedSequence(number).generate_state(2)
        pipeline.set_random_state(np.random.default_rng(words[0]), random.Random(int(words[1])))
        expected = pipeline(image=source, target=target)
        given = ours(source, target, np.random.SeedSequence(number))
        np.testing.assert_array_equal(given[0], expected["image"])
        np.testing.assert_array_equal(given[1], expected["target"])
    np.testing.assert_array_equal(source, before)
