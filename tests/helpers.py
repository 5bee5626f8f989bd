"""Tiny pairs and the overrides of a tiny training."""

import cv2
import numpy as np

TINY = [
    "data=folder",
    "data.size=32",
    "data.num_workers=0",
    "data.batch_size=2",
    "generator=unet_128",
    "module.generator.num_downs=5",
    "module.generator.base_channels=4",
    "module.generator.dropout_at=paper",
    "discriminator=patch_16",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "callbacks.progress=null",
]


def draw_values(dtype, *shape):
    """Values over the whole range of a type of integers, or of a normal distribution."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def write_strips(root, draw_strip, *, train=1, val=3):
    """Strips that a function of a generator and of the strip's number in its split draws, in BGR."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        folder = root / split
        folder.mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(folder / f"{split}_{number}.png"), draw_strip(rng, number))
    return root


def make_strips(root, *, train=6, val=3, side=40):
    """Strips whose B is a simple function of A, so that there is something to learn."""

    def draw_strip(rng, number):
        a = cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
        return np.concatenate([a, 255 - a], 1)

    return write_strips(root, draw_strip, train=train, val=val)
