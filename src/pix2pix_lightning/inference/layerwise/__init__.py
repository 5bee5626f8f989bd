"""Run a network on a large image layer by layer, in blocks of rows."""

from pix2pix_lightning.inference.layerwise.budget import RunPlan
from pix2pix_lightning.inference.layerwise.maps import find_folder
from pix2pix_lightning.inference.layerwise.network import LayerwiseNetwork
from pix2pix_lightning.inference.layerwise.tracing import Mode, NotTraceableError

__all__ = ["LayerwiseNetwork", "Mode", "NotTraceableError", "RunPlan", "find_folder"]
