"""How far tiles with less around them are from the whole image.

python examples/compare_tiles.py <run folder> <image>
"""

import argparse
from itertools import pairwise
from pathlib import Path

import torch

from pix2pix_lightning import Translator
from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.inference.tiles import plan_tiling
from pix2pix_lightning.networks import measure_receptive_field
from pix2pix_lightning.networks.padding import pad_to_multiple


def main() -> None:
    """Print for each option its difference from the untiled output."""
    parser = argparse.ArgumentParser(description="compare tiles with the untiled output")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlaps", type=int, nargs="*", default=[0, 256])
    arguments = parser.parse_args()
    networks = {norm: Translator(arguments.checkpoint, norm=norm).network for norm in ("image", "running")}
    spec, stride = networks["image"].pair_spec, networks["image"].side_multiple
    image = spec.source.prepare(read_image(arguments.image))

    def seen(picture):
        encoded = spec.encode(torch.from_numpy(picture.transpose(2, 0, 1)[None]), "source")
        return pad_to_multiple(encoded, stride)

    source = seen(image)
    whole = {norm: network(source) for norm, network in networks.items()}
    context = measure_receptive_field(networks["running"].generator, spec.source.channels)
    for overlap in arguments.overlaps:
        tiling = plan_tiling(
            *source.shape[2:], context=context.margin, stride=stride, tile=arguments.tile, overlap=overlap
        )
        translator = Translator(arguments.checkpoint, norm="running", tile=arguments.tile, overlap=overlap)
        tiled = translator(source)
        steps = [
            f"{compute_step(tiled, dim, spans):.2f} ({compute_step(whole['running'], dim, spans):.2f})"
            for dim, spans in ((2, tiling.rows), (3, tiling.columns))
        ]
        print_difference(
            f"overlap={overlap}", tiled - whole["running"], f"steps at seams {', '.join(steps)}, untiled in brackets"
        )
    print_difference("norm=running, compared with image", whole["running"] - whole["image"])


def compute_step(output: torch.Tensor, dim: int, spans) -> float:
    """Return the mean step across the edges of tiles along ``dim``, relative to the mean step of all pixels."""
    steps = output.diff(dim=dim).abs().mean([other for other in range(4) if other != dim])
    edges = sorted({edge - 1 for one, other in pairwise(spans) for edge in (one.last, other.first)})
    return float(steps[edges].mean() / steps.mean()) if edges else float("nan")


def print_difference(name: str, difference: torch.Tensor, more: str = "") -> None:
    """Print the mean of differences in [-1, 1] as a share of the range and in levels of 255."""
    share = difference.abs().mean() / 2
    print(f"{name:<28} differs by {share:.2%} of the range, {share * 255:.2f} levels; {more}".rstrip("; "))


if __name__ == "__main__":
    main()
