"""Pages of small modules."""

from pix2pix_lightning import PairSpec, SideSpec
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.web import write_web
from small_networks import PALETTE, UNET, trained

SPEC = PairSpec(size=64)
LABEL = SideSpec(kind="label", palette=PALETTE)
NUMBERS = SideSpec(kind="label", num_classes=3)
GRAYSCALE = SideSpec(kind="grayscale")


def build_graph(spec=SPEC, **options):
    return Graph(trained({**UNET, **options}, pair_spec=spec), "image", "uint8", "uint8")


def write_page(folder, graph=None, *, run=None, made_by=None, **options):
    return write_web(graph or build_graph(), folder, run=run, made_by=made_by or {}, **options)
