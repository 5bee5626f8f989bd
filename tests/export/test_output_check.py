"""The comparison of an exported graph with its module."""

import pytest
import torch
from torch import nn

from pix2pix_lightning import PairSpec, Pix2PixModule
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.output_check import check_outputs, choose_sizes
from small_networks import PALETTE, UNET, trained

SIZES = [(8, 8), (16, 8)]


@pytest.mark.parametrize("values_in", ["float", "uint8"])
@pytest.mark.parametrize(
    ("target", "values_out"),
    [
        (build_side(), "float"),
        (build_side(), "uint8"),
        (build_side(kind="label", palette=PALETTE), "uint8"),
        (build_side(kind="label", num_classes=3), "uint8"),
        (build_side(kind="label", num_classes=3, ignore_index=1), "uint8"),
    ],
    ids=["float", "rgb", "palette", "classes", "ignored class"],
)
def test_other_weights_are_found(target, values_out, values_in):
    graph = Graph(trained(UNET, pair_spec=PairSpec(target=target)), "image", values_in, values_out)
    shapes = []

    def run(source, scale=1.0):
        shapes.append(tuple(source.shape))
        first = next(graph.generator.parameters())
        with torch.no_grad():
            before = first.clone()
            first.mul_(scale)
            with graph.use_eval_module() as module:
                output = module(source)
            first.copy_(before)
        return output

    assert check_outputs(graph, run, SIZES) < 1e-5
    assert shapes == [(3, 3, 8, 8), (1, 3, 16, 8)]
    with pytest.raises(ValueError, match=r"e-0\d|e\+00"):
        check_outputs(graph, lambda source: run(source, 1.2), SIZES)


def test_nan_is_an_error():
    graph = Graph(trained(UNET))
    with pytest.raises(ValueError, match="nan"):
        check_outputs(graph, lambda source: torch.full_like(source, torch.nan), SIZES)


def test_half_a_level_is_rounding():
    class Gray(nn.Module):
        def forward(self, x):
            return x * 0 + 1 / 127.5 * (100.4 - 127.5)

    graph = Graph(Pix2PixModule(Gray(), None), values_out="uint8")
    assert check_outputs(graph, lambda source: torch.full(source.shape, 100, dtype=torch.uint8), SIZES) == 0
    with pytest.raises(ValueError, match="differs"):
        check_outputs(graph, lambda source: torch.full(source.shape, 101, dtype=torch.uint8), SIZES)


def test_two_classes_that_are_equally_likely_are_rounding_whatever_the_channel_of_no_class_is():
    class Undecided(nn.Module):
        def forward(self, x):
            return x * 0 + torch.tensor([0.5, 0.9, 0.5 + 1e-6])[:, None, None]

    spec = PairSpec(target=build_side(kind="label", num_classes=3, ignore_index=1))
    graph = Graph(Pix2PixModule(Undecided(), None, pair_spec=spec), values_out="uint8")
    for number in (0, 2):
        assert check_outputs(graph, lambda source, n=number: torch.full_like(source[:, :1], n).byte(), SIZES) == 0


def test_sizes():
    graph = Graph(trained(UNET))
    assert choose_sizes(graph, 8) == [(256, 256), (512, 512), (512, 256)]
    assert choose_sizes(graph, 1024) == [(1024, 1024), (2048, 2048), (2048, 1024)]


@pytest.mark.parametrize(("name", "value"), [("norm", "batch"), ("values_in", "int8"), ("values_out", "float16")])
def test_unknown_values(name, value):
    with pytest.raises(ValueError, match=f"{name}='{value}'"):
        Graph(trained(UNET), **{name: value})
