"""Load pretrained networks by name or by description, once for each device and type."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pix2pix_lightning.networks.features.efficientnet_lite import EfficientNetLite, find_weights
from pix2pix_lightning.networks.features.embedding_module import EmbeddingModule
from pix2pix_lightning.networks.features.feature_network import FeatureNetwork
from pix2pix_lightning.networks.features.inception import FidInception, is_inception
from pix2pix_lightning.networks.features.input_values import InputValues
from pix2pix_lightning.networks.features.lpips import TORCHVISION_NAMES, Lpips, find_linear_weights
from pix2pix_lightning.networks.features.onnx_features import OnnxFeatures
from pix2pix_lightning.networks.features.weight_file import read_weights
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build, is_description

__all__ = ["FEATURES", "Description", "check_features", "get_layer_channels", "load_features", "to_rgb"]

Description = str | Path | Mapping[str, Any]
"""What `features=` has in configurations.

A name of `FEATURES`; the path of an ONNX file, or of the weights of Inception; or a mapping: ``{onnx: <file>}``,
``{lpips: alex, backbone: <file>}``, or ``{module: {_target_: ...}}``.
"""
_VALUES = ("range", "mean", "std", "size")
_KINDS = {
    "onnx": ("embedding", *_VALUES),
    "lpips": ("backbone", "linear"),
    "module": _VALUES,
}
"""The key by which a mapping is known, and the other keys that it may have."""


def _load_efficientnet(version: str) -> FeatureNetwork:
    weights = torch.load(find_weights(version), weights_only=True, map_location="cpu")
    return EfficientNetLite(version, weights)


FEATURES: Mapping[str, Callable[[], FeatureNetwork]] = {
    version: partial(_load_efficientnet, version) for version in ("lite0", "lite1", "lite2")
}
"""Functions that load a pretrained network, by the name that `features=` has in configurations."""


def load_features(
    name: Description, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> FeatureNetwork:
    """Load a pretrained network; the same one is returned when it is asked for again.

    The network belongs to no module, so that no checkpoint holds its weights and no optimizer changes them.

    Args:
        name: A `Description`: a name of `FEATURES`, a path, or a mapping.
        device: Device of the weights.
        dtype: Type of the weights.

    Returns:
        The network in eval mode, whose weights take no gradient.

    Raises:
        UserError: The description is of no kind that is known, or the weights are missing or those of another network.
    """
    try:
        key = json.dumps(_to_plain(name))
    except TypeError as error:
        raise UserError(f"features={name} is no plain data ({error}): give a name, a path or a mapping") from None
    return _load(key, torch.device(device), dtype)


@lru_cache(maxsize=8)
def _load(description: str, device: torch.device, dtype: torch.dtype) -> FeatureNetwork:
    # The first batch of a validation may load it, whose tensors no loss could use else; the first weights of a network
    # draw random numbers.
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        network = _build(json.loads(description), device)
        return network.to(device, dtype).eval().requires_grad_(False)


def check_features(name: Description) -> None:
    """Check that a pretrained network can be loaded, before it is needed.

    Args:
        name: As for `load_features`.

    Raises:
        UserError: As for `load_features`.
    """
    load_features(name)


def _build(description: Any, device: torch.device) -> FeatureNetwork:
    if isinstance(description, dict):
        return _build_from_mapping(description, device)
    if not isinstance(description, str):
        raise UserError(f"features={description}: a name, a path or a mapping is expected")
    if description in FEATURES:
        return FEATURES[description]()
    path = Path(description)
    if not path.is_file():
        raise UserError(
            f"features={description}: choose {', '.join(FEATURES)}, or give an ONNX file or the Inception of FID; "
            "there is no such file"
        )
    if path.suffix.lower() == ".onnx":
        return OnnxFeatures(path, device=device)
    weights = read_weights(path)
    if not is_inception(weights):
        raise UserError(
            f"features={description} holds no weights of the Inception of FID; for LPIPS set "
            f"features={{lpips: alex, backbone: {description}}}"
        )
    return FidInception(weights)


def _build_from_mapping(description: dict[str, Any], device: torch.device) -> FeatureNetwork:
    if is_description(description):
        return EmbeddingModule(build(description))
    kinds = [kind for kind in _KINDS if kind in description]
    if len(kinds) != 1:
        raise UserError(
            f"features={description}: {{onnx: <file>}}, {{lpips: alex, backbone: <file>}} or "
            f"{{module: {{{TARGET}: ...}}}} is expected"
        )
    (kind,) = kinds
    for key in description.keys() - {kind}:
        check_choice(f"a key of features={{{kind}: ...}}", key, _KINDS[kind])
    given = {key: value for key, value in description.items() if key in _VALUES}
    if kind == "onnx":
        return OnnxFeatures(description["onnx"], InputValues(**given), description.get("embedding"), device)
    if kind == "lpips":
        return _load_lpips(**description)
    if not is_description(description["module"]):
        raise UserError(f"features={{module: {description['module']}}}: a description {{{TARGET}: ...}} is expected")
    return EmbeddingModule(build(description["module"]), InputValues(**{"range": "uint8", **given}))


def _load_lpips(lpips: str, backbone: str | None = None, linear: str | None = None) -> FeatureNetwork:
    check_choice("features.lpips", lpips, TORCHVISION_NAMES)
    if backbone is None:
        raise UserError(
            f"features={{lpips: {lpips}}} needs backbone=<file>, torchvision's weights of {TORCHVISION_NAMES[lpips]}"
        )
    path = linear or find_linear_weights(lpips)
    if path is None:
        raise UserError(f"features={{lpips: {lpips}}} needs linear=<file>, the weights that LPIPS 0.1 has learned")
    return Lpips(lpips, read_weights(backbone, "features.backbone"), read_weights(path, "features.linear"))


def _to_plain(value: Any) -> Any:
    """Return mappings as dicts, sequences as lists and paths as text, sorted, so that equal ones are the same text."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(value[key]) for key in sorted(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def get_layer_channels(name: str) -> list[int]:
    """Return the channels of each layer of a pretrained network, for which its weights need not be installed.

    Args:
        name: As for `load_features`.

    Raises:
        UserError: The name is unknown.
    """
    if name not in FEATURES:
        raise UserError(f"pretrained={name}: choose {', '.join(FEATURES)}")
    with torch.device("meta"):
        return list(EfficientNetLite(name).layer_channels)


def to_rgb(images: Tensor, what: str = "features") -> Tensor:
    """Return images as a pretrained network takes them: gray ones with three equal channels.

    Args:
        images: (B, 1, H, W) or (B, 3, H, W).
        what: What needs them, for the error.

    Returns:
        (B, 3, H, W).

    Raises:
        UserError: The images have another number of channels.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(f"{what}: a pretrained network takes images of 1 or 3 channels, these are {images.shape[1]}")
    return images.expand(-1, 3, -1, -1)
