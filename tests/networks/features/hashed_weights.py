"""Weights that are a function of their number, so that another program can be given the same ones."""

import math
from contextlib import contextmanager

import torch


def hash_uniform(shape, seed):
    """Float64 values in [0, 1), the same on every machine."""
    values = torch.arange(math.prod(shape), dtype=torch.int64) + seed * 7919
    for factor, shift in ((2654435761, 15), (2246822519, 13), (3266489917, 16)):
        values = (values * factor) & 0xFFFFFFFF
        values = values ^ (values >> shift)
    return (values.double() / 2**32).reshape(shape)


def hash_state(shapes):
    """A state dict: weights of the size of their fan-in, batch norms and biases that are not trivial."""
    state = {}
    for seed, (name, shape) in enumerate(sorted(shapes.items())):
        values = hash_uniform(shape, seed)
        if len(shape) > 1:
            state[name] = (values - 0.5) * math.sqrt(24 / math.prod(shape[1:]))
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = values * 0.5 + 0.75
        else:
            state[name] = (values - 0.5) * 0.2
    return state


def hash_images(count, height, width, seed):
    """Images (B, 3, H, W) in [-1, 1] of whole levels."""
    return (hash_uniform((count, 3, height, width), seed) * 256).floor() / 127.5 - 1


@contextmanager
def use_float64():
    """Build networks in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
