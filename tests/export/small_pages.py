"""Pages of small modules."""

from pix2pix_lightning import PairSpec
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.web import write_web
from small_networks import PALETTE, UNET, trained

SPEC = PairSpec(size=64)
LABEL = build_side(kind="label", palette=PALETTE)
NUMBERS = build_side(kind="label", num_classes=3)
GRAYSCALE = build_side(kind="grayscale")


def build_graph(spec=SPEC, **options):
    return Graph(trained({**UNET, **options}, pair_spec=spec), "image", "uint8", "uint8")


def write_page(folder, graph=None, *, run=None, made_by=None, **options):
    return write_web(graph or build_graph(), folder, run=run, made_by=made_by or {}, **options)
