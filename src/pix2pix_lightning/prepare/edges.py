"""Detect the edges of photos, for pairs of edges and photo: ``prepare task=edges``."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.data.edge_network import EdgeNetwork
from pix2pix_lightning.data.edges import METHODS, build_edge_detector
from pix2pix_lightning.prepare.photos import pair_photos
from pix2pix_lightning.prepare.pictures import Image
from pix2pix_lightning.utils.checks import check_choice

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class DrawEdges:
    """Draw the edges of a photo with a detector of ``build_edge_detector``."""

    detect: Callable[[Image], Image]

    def __call__(self, photo: Image, name: str) -> Image:
        """Return the edges (H, W, 1) of a photo (H, W, 3); its name makes no difference."""
        return self.detect(photo)


def edges(cfg: DictConfig) -> None:
    """Make pairs of edges and photo.

    Args:
        cfg: ``input`` is the folder of the photos, ``method`` the detector.

    Raises:
        UserError: There is no such folder, a value is wrong, or nothing could be written.
        FileExistsError: The output exists.
    """
    from omegaconf import OmegaConf

    check_choice("method", cfg.method, METHODS)
    parameters: dict[str, Any] = {str(key): value for key, value in _to_plain(OmegaConf.to_container(cfg[cfg.method]))}
    further: dict[str, Any] = {}
    if cfg.method == "onnx":
        parameters["model"] = cfg.edges_model
    detect = build_edge_detector(cfg.method, **parameters)
    if isinstance(detect, EdgeNetwork):
        detect.open()
        further["edges_model_crc"] = zlib.crc32(Path(str(cfg.edges_model)).read_bytes())
    pair_photos(cfg, DrawEdges(detect), further)


def _to_plain(node: Any) -> list[tuple[Any, Any]]:
    return [(key, tuple(value) if isinstance(value, list) else value) for key, value in node.items()]
