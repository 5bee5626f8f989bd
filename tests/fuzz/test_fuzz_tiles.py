"""Parts of an image against the whole, for small networks, images and windows of any size."""

import math

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from refusals import read_or_refuse

from pix2pix_lightning import Translator
from pix2pix_lightning.inference import large_images
from pix2pix_lightning.inference.layerwise import budget
from pix2pix_lightning.inference.tiles import plan_tiling, run_in_tiles
from pix2pix_lightning.utils.errors import UserError
from small_networks import NETWORKS, trained

pytestmark = pytest.mark.fuzz

ENCODER_DECODERS = st.fixed_dictionaries(
    {
        "_target_": st.sampled_from([f"{NETWORKS}.UNetGenerator", f"{NETWORKS}.EncoderDecoderGenerator"]),
        "num_downs": st.integers(1, 4),
        "base_channels": st.integers(1, 4),
        "norm": st.sampled_from(["batch", "instance", "none"]),
        "upsample": st.sampled_from(["transposed", "resize"]),
        "dropout_at": st.sampled_from(["paper", "junyanz"]),
    }
)
RESNETS = st.fixed_dictionaries(
    {
        "_target_": st.just(f"{NETWORKS}.ResNetGenerator"),
        "num_blocks": st.integers(1, 2),
        "base_channels": st.integers(1, 3),
        "norm": st.sampled_from(["batch", "instance", "none"]),
        "dropout": st.sampled_from([0.0, 0.5]),
    }
)
OPTIONS = st.fixed_dictionaries(
    {"mode": st.sampled_from(["deterministic", "paper"]), "seed": st.integers(0, 9), "sample": st.integers(0, 9)},
    optional={"norm": st.sampled_from(["image", "running"])},
)
SIDE = st.integers(1, 140)


def test_parts_are_the_untiled_output(search, monkeypatch):
    """In windows of a drawn side, or layer by layer, in blocks of a few rows."""
    monkeypatch.setattr(large_images, "_LARGE", 0)
    monkeypatch.setattr(budget, "_BLOCK_BYTES", 50_000)

    def attempt(drawn):
        generator, options, (height, width), tile, seed = drawn
        try:
            module = trained(generator)
        except UserError:  # such as one level with dropout at places that it does not have
            return
        if tile == "auto" and height * width == 1:  # norms make rounding noise of a flat image, and then enlarge it
            return
        source = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        expected = Translator(module, tile=None, **options)(source)
        translator = Translator(module, tile=tile, **options)
        output = read_or_refuse(translator, source)
        if output is None:  # windows too small for what the network sees
            assert tile != "auto"
            assert tile < max(height, width)
            return
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-4 * scale)
        assert not translator.seams

    drawn = st.tuples(
        *(ENCODER_DECODERS | RESNETS, OPTIONS, st.tuples(SIDE, SIDE)),
        *(st.just("auto") | st.integers(8, 160), st.integers(0, 99)),
    )
    search(drawn, attempt, examples=25)


def blur(image, reach):
    """The mean over the square of this reach around each pixel, of which zeros lie beyond the border."""
    sums = np.pad(image, reach).cumsum(0).cumsum(1)
    sums = np.pad(sums, ((1, 0), (1, 0)))
    side = 2 * reach + 1
    return (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2


def test_plans(search):
    """With the whole context, windows give each pixel once, and what the whole image gives."""

    def attempt(drawn):
        height, width, stride, context, tile, overlap, seed = drawn
        height, width = height * stride, width * stride
        halo = math.ceil(context / stride) * stride
        try:
            tiling = plan_tiling(height, width, context=context, stride=stride, tile=tile, overlap=overlap)
        except UserError:
            shared = 2 * halo if overlap is None else min(math.ceil(overlap / stride) * stride, 2 * halo)
            assert tile // stride * stride < shared + stride
            return
        image = np.random.default_rng(seed).normal(size=(height, width))
        result, written = np.full((height, width), np.nan), np.zeros((height, width), int)

        def read(window):
            part = image[window.top : window.top + window.height, window.left : window.left + window.width]
            assert part.shape == (window.height, window.width)
            assert max(part.shape) <= max(tile, stride)
            return torch.from_numpy(part)[None, None]

        def write(top, left, output):
            place = slice(top, top + output.shape[2]), slice(left, left + output.shape[3])
            result[place] = output[0, 0].numpy()
            written[place] += 1

        seams = run_in_tiles(
            lambda part, _: torch.from_numpy(blur(part[0, 0].numpy(), context))[None, None], read, write, tiling
        )
        assert (written == 1).all()
        assert (seams is not None) == tiling.blended
        whole = blur(image, context)
        if tiling.overlap == 2 * halo:
            np.testing.assert_allclose(result, whole, rtol=0, atol=1e-9)
        else:
            assert np.isfinite(result).all()

    blocks, overlap = st.integers(1, 30), st.none() | st.integers(0, 60)
    search(
        st.tuples(
            blocks, blocks, st.integers(1, 8), st.integers(0, 12), st.integers(1, 90), overlap, st.integers(0, 99)
        ),
        attempt,
    )
