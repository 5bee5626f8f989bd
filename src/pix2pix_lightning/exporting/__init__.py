"""A trained generator as a file that works elsewhere."""

from pix2pix_lightning.exporting.formats import ENDINGS, FORMATS, Export, check_taken
from pix2pix_lightning.exporting.graph import Graph
from pix2pix_lightning.exporting.model_card import model_card
from pix2pix_lightning.exporting.onnx_file import write_onnx
from pix2pix_lightning.exporting.torch_program import write_program

__all__ = ["ENDINGS", "FORMATS", "Export", "Graph", "check_taken", "model_card", "write_onnx", "write_program"]
