"""Translator: a checkpoint as a function from images to images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.checkpoints.files import find_checkpoint, infer_checkpoint_kind
from pix2pix_lightning.data.image_files import read_image
from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.inference.exported import OnnxNetwork, ProgramNetwork, open_exported
from pix2pix_lightning.inference.generator import GeneratorNetwork
from pix2pix_lightning.inference.large import InTiles
from pix2pix_lightning.inference.opening import open_module
from pix2pix_lightning.inference.padding import pad_to_multiple
from pix2pix_lightning.inference.precision import PRECISIONS
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

MAX_PIXELS = 2**28
"""Of an image file, unless told otherwise: 16384 x 16384."""
_MODES = {"deterministic": ("image", "off"), "paper": ("image", "on")}
_NORMS, _DROPOUT, _WEIGHTS = ("image", "running"), ("on", "off"), ("trained", "ema")

AnyImage = TypeVar("AnyImage")


def _unseen(done: int, total: int) -> None:
    """Nobody looks."""


class Translator:
    """Translates images as the training's validation does.

    Every image is handled as if it were alone: what is beside it in a batch does not matter. Sides that the
    network cannot take are padded by reflection, and the output is cropped back.

    Args:
        model: A checkpoint, a run's folder (its ``best.ckpt``, else ``last.ckpt``); a folder or a ``.safetensors``
            file of ``save_pretrained``; a generator of pytorch-CycleGAN-and-pix2pix, ``latest_net_G.pth``, or the
            folder that it lies in; an exported ``.onnx`` or ``.pt2`` file; or a module, whose generator is used
            itself, not copied, and left as it lies; a file's is laid out for speed.
        mode: ``deterministic`` (``norm=image``, ``dropout=off``) or ``paper`` (``image``, ``on``: section 3.3).
        weights: ``trained``, or ``ema`` where training kept an average of a checkpoint's generator.
        norm: ``image`` (batch norm by each image's own statistics) or ``running``; by default the mode's, and of an
            exported file what it was exported with.
        dropout: ``on`` or ``off``; by default the mode's.
        seed: Of dropout's noise.
        sample: Number of the noise; with the seed it determines it.
        device: A torch device, to which the generator is moved; ``auto`` is where a module is, and for a file
            the GPU if there is one.
        precision: ``32`` (float32, or what a module's weights are), ``bf16`` (convolutions in bfloat16: of a U-Net's
            grey levels, trained on facades, one in ten is 1 off, and none more than 2), or ``auto``: bf16 where the
            device has instructions for it.
        trust: Packages whose classes a file may name, beside this one's and torch's; True lets a ``.pt2`` be read,
            which runs what its author put into it.
        pair: What the images mean, for a file that does not say it (``latest_net_G.pth``): ``PairSpec``, or some of
            its keys.
        resize: ``training`` resizes images, but not tensors of floats, to the square that training saw; a number to a
            square of that many pixels. The output has that size. By default images keep theirs.
        tile: Greatest side, in pixels, of the windows in which a larger image is translated; ``auto`` does so with
            images of more than 4096 x 4096 pixels; None never. Windows overlap by as much as the network sees, so
            that the result is that of the whole image.
        overlap: Fewer pixels that they share; there they are blended, and how much they differ is kept in ``seams``.
        statistics: Of norms that use the image's own, in tiles: ``exact``, which takes a pass over the image for each
            norm layer, or ``estimated`` on a reduced copy.
        max_pixels: A file that claims more is refused.
        progress: Is called with how many windows of an image are done, and of how many.

    Attributes:
        seams: For each image that was blended, how much neighbouring windows differed.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The file is none, or an argument is unknown.

    Example:
        >>> small = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 4}
        >>> translator = Translator(Pix2PixModule(small, None))
        >>> translator(np.zeros((20, 30, 3), np.uint8)).shape
        (20, 30, 3)
    """

    def __init__(
        self,
        model: str | Path | Pix2PixModule,
        *,
        mode: str = "deterministic",
        weights: str = "trained",
        norm: str | None = None,
        dropout: str | None = None,
        seed: int = 0,
        sample: int = 0,
        device: str = "auto",
        precision: str = "32",
        trust: Sequence[str] | bool = (),
        pair: PairSpec | Mapping[str, Any] | None = None,
        resize: str | int | None = None,
        tile: str | int | None = "auto",
        overlap: int | None = None,
        statistics: str = "exact",
        max_pixels: int = MAX_PIXELS,
        progress: Callable[[int, int], object] = _unseen,
    ) -> None:
        _check("mode", mode, tuple(_MODES))
        _check("weights", weights, _WEIGHTS)
        _check("precision", precision, PRECISIONS)
        if norm is not None:
            _check("norm", norm, _NORMS)
        dropout = _MODES[mode][1] if dropout is None else dropout
        _check("dropout", dropout, _DROPOUT)
        self.dropout = dropout
        self.seed = seed
        self.sample = sample
        self.max_pixels = max_pixels
        how = partial(GeneratorNetwork, norm=norm or _MODES[mode][0], dropout=dropout == "on", precision=precision)
        self.network: GeneratorNetwork | OnnxNetwork | ProgramNetwork
        if isinstance(model, Pix2PixModule):
            if weights == "ema":
                raise UserError("weights='ema' with a module: the EMA weights are in checkpoints, give one")
            if pair is not None:
                raise UserError("pair= of a module, which says itself what its images mean: leave pair out")
            self.network = how(model, device=model.device if device == "auto" else _device(device), laid_out=False)
        elif infer_checkpoint_kind(path := find_checkpoint(Path(model))) == "exported":
            _check_exported(path, dropout=dropout, weights=weights, precision=precision, pair=pair)
            self.network = open_exported(path, device if device == "auto" else _device(device), trust=trust is True)
            if norm not in (None, self.network.norm):
                raise UserError(f"norm={norm!r}, but {path} was exported with {self.network.norm!r}: leave norm out")
        else:
            module = open_module(path, weights=weights, trust=_packages(trust), pair=pair)
            self.network = how(module, device=_device(device), laid_out=True)
        self.norm = self.network.norm
        self.device = self.network.device
        self.precision = getattr(self.network, "precision", "32")
        self.pair_spec: PairSpec = self.network.pair_spec
        self.side = _side(resize, self.pair_spec)
        self.progress = progress
        self._in_tiles = InTiles(self.network, tile=tile, overlap=overlap, statistics=statistics)
        self.seams = self._in_tiles.seams

    def __call__(self, image: AnyImage) -> AnyImage:
        """Translate an image and give the same kind of thing back.

        Args:
            image: A path, or a list of paths (an array, or a list of arrays, comes back); an array (H, W, C) or
                (H, W) uint8; a PIL image; a tensor (C, H, W) or (B, C, H, W), uint8 as files hold it, or floats
                in [-1, 1] as the network sees it; or a list of these.

        Returns:
            The translation, of the input's height and width, in the target's own type; floats for floats.

        Raises:
            ValueError: It is no image, not of 8 bits, or has another number of channels than the source.
        """
        return cast(AnyImage, self._translate(image))

    @property
    def generator(self) -> torch.nn.Module:
        """The module's generator.

        Raises:
            ValueError: The model is an exported file, which holds a graph and no module.
        """
        if not isinstance(self.network, GeneratorNetwork):
            raise UserError("an exported file holds a graph, no generator: open the checkpoint that it was made from")
        return self.network.generator

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """Read a file as ``translate_arrays`` takes it, (H, W, 3) uint8, of at most ``max_pixels``.

        Raises:
            ValueError: It is no image, not of 8 bits, or too large.
            OSError: It cannot be read.
        """
        return read_image(path, max_pixels=self.max_pixels)

    def _translate(self, image: Any) -> Any:
        if isinstance(image, list):
            return [self._translate(item) for item in image]
        if isinstance(image, Tensor):
            if image.ndim not in (3, 4):
                raise UserError(f"a tensor of shape {tuple(image.shape)}: (C, H, W) or (B, C, H, W) is expected")
            batch = image if image.ndim == 4 else image[None]
            translated = self._translate_tensor(batch)
            return translated if image.ndim == 4 else translated[0]
        if isinstance(image, str | Path):
            return self.translate_arrays([self.read(Path(image))])[0]
        if isinstance(image, np.ndarray):
            array = self.translate_arrays([image])[0]
            return array[..., 0] if image.ndim == 2 and array.shape[2] == 1 else array
        if hasattr(image, "convert"):
            return self._translate_pil(image)
        raise UserError(f"{type(image).__name__} is no image: give a path, an array, a tensor or a PIL image")

    def translate_arrays(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
        """Translate arrays, those of equal size together.

        Args:
            images: (H, W, C) or (H, W) uint8, as files hold the source.

        Returns:
            (H, W, C') each, in the same order.
        """
        prepared = [self._prepared(image) for image in images]
        results: list[npt.NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(images)
        for index, image in enumerate(prepared):
            if self._in_tiles.takes(*image.shape[:2]):
                results[index] = self._in_tiles.translate(image, self.seed, self.sample, self.progress)
        untiled = [image.shape for image in prepared if not self._in_tiles.takes(*image.shape[:2])]
        for shape in dict.fromkeys(untiled):
            indices = [index for index, image in enumerate(prepared) if image.shape == shape]
            batch = torch.from_numpy(np.stack([prepared[index].transpose(2, 0, 1) for index in indices]))
            source = self.pair_spec.encode(batch.to(self.device), "source")
            decoded = self.pair_spec.decode(self._run(source), source).permute(0, 2, 3, 1).cpu().numpy()
            for index, result in zip(indices, decoded, strict=True):
                results[index] = np.ascontiguousarray(result)
        return results

    def _translate_pil(self, image: PILImage) -> PILImage:
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(image)  # as files are read
        if image.mode == "F" or image.mode.startswith("I"):  # conversion would cut off what is above 255
            raise UserError(f"a PIL image of mode {image.mode}: 8-bit images are expected, convert it first")
        array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        translated = self.translate_arrays([array])[0]
        return Image.fromarray(translated[..., 0] if translated.shape[2] == 1 else translated)

    def _translate_tensor(self, batch: Tensor) -> Tensor:
        if batch.is_floating_point():
            return self._run(batch.to(self.device)).to(batch).contiguous()
        arrays = [image.permute(1, 2, 0).cpu().numpy() for image in batch]
        translated = self.translate_arrays(arrays)
        return torch.from_numpy(np.stack(translated)).permute(0, 3, 1, 2).to(batch.device)

    def _prepared(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise UserError(
                f"an array of {image.dtype} and shape {image.shape}: (H, W, C) or (H, W) of uint8 is expected"
            )
        if image.ndim == 2:
            image = image[..., None]
        if image.shape[2] == 1:
            image = np.repeat(image, 3, 2)
        if image.shape[2] != 3:
            raise UserError(f"an image of {image.shape[2]} channels: 1 or 3 are expected")
        source = self.pair_spec.source
        return source.snap(image) if self.side is None else source.snap_resized(image, self.side, self.side)

    def _run(self, source: Tensor) -> Tensor:
        """The generator on (B, C, H, W) of any size."""
        expected = self.pair_spec.source.channels
        if source.shape[1] != expected:
            raise UserError(f"{source.shape[1]} channels, but the generator was trained on {expected}")
        height, width = source.shape[2:]
        if self._in_tiles.takes(height, width):
            how = self.seed, self.sample, self.progress
            return torch.cat([self._in_tiles.translate_floats(image, *how) for image in torch.split(source, 1)])
        padded = pad_to_multiple(source, self.network.side_multiple, self.network.least_side)
        if isinstance(self.network, GeneratorNetwork):
            output = self.network(padded, seed=self.seed, sample=self.sample)
        else:
            output = self.network(padded)
        return output[..., :height, :width]


def _check_exported(path: Path, *, dropout: str, weights: str, precision: str, pair: object) -> None:
    """Refuse what an exported graph cannot do."""
    for name, value, able in (
        ("dropout", dropout, ("off",)),
        ("weights", weights, ("trained",)),
        ("precision", precision, ("32", "auto")),
        ("pair", pair, (None,)),
    ):
        if value not in able:
            raise UserError(
                f"{name}={value} of {path}: what was exported is fixed, say it of the checkpoint that it was made from"
            )


def _packages(trust: Sequence[str] | bool) -> Sequence[str]:
    if trust is True:
        raise UserError("trust=True is for .pt2 files: name the packages whose classes the file may name, trust=[...]")
    return (trust,) if isinstance(trust, str) else trust or ()


def _side(resize: str | int | None, spec: PairSpec) -> int | None:
    if resize == "training":
        return spec.size
    if resize is None or (type(resize) is int and resize > 0):
        return resize
    raise UserError(f"resize={resize!r} is unknown: training, or a side in pixels is expected")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError):  # torch built without CUDA asserts
        here = f"auto, cpu or cuda is expected, and torch {torch.__version__} finds {torch.cuda.device_count()} GPUs"
        raise UserError(f"device={name} cannot be used here: {here}") from None
    return device


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name}={value!r} is unknown: one of {', '.join(choices)} is expected")
