"""Any module that maps images to vectors, such as the feature extractors of torchmetrics, as a pretrained network."""

from __future__ import annotations

from torch import Tensor, nn

from pix2pix_lightning.networks.features.feature_network import FeatureNetwork, Features
from pix2pix_lightning.networks.features.input_values import InputValues
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

__all__ = ["EmbeddingModule"]


class EmbeddingModule(FeatureNetwork):
    """A module from images to (B, D), which has an embedding and no layers.

    Args:
        module: The module.
        values: What it takes. By default whole levels from 0 to 255, as torchmetrics gives them to its extractors.

    Raises:
        UserError: It is no module.
    """

    layer_channels = ()

    def __init__(self, module: nn.Module, values: InputValues | None = None) -> None:
        if not isinstance(module, nn.Module):
            raise UserError(f"features: a torch.nn.Module is expected, {type(module).__name__} is none")
        super().__init__()
        self._module = module
        self._values = values or InputValues(range="uint8")
        self.is_differentiable = self._values.range != "uint8"

    def compute_layers(self, images: Tensor) -> list[Tensor]:
        """Return an empty list, since the module has no layers.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            No layers.
        """
        return []

    def forward(self, images: Tensor) -> Features:
        """Return the embedding of images (B, 3, H, W) in [-1, 1]; there are no layers.

        Raises:
            UserError: The module refuses the images, or returns something else than a vector for each.
        """  # noqa: DOC501  an error of memory goes on
        values = self._values.convert(images)
        name = type(self._module).__name__
        try:
            vectors = self._module(values)
        except (RuntimeError, ValueError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"features: {name} refuses images of {values.dtype} ({' '.join(str(error).split())[:120]}): set "
                "features={module: {_target_: ...}, range: [0, 1]} to what it takes, uint8 or two numbers"
            ) from None
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != len(images):
            found = list(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise UserError(f"features: {name} returns {found}: one vector for each image, (B, D), is expected")
        return Features([], vectors.to(images.dtype))
