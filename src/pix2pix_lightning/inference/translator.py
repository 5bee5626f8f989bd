"""Translate images with a checkpoint: Translator, a function from images to images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.checkpoints.choice import WEIGHTS, resolve_weights
from pix2pix_lightning.checkpoints.files import find_checkpoint, infer_checkpoint_kind
from pix2pix_lightning.data.files.file_image import from_pil
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.resize import resize as resize_image
from pix2pix_lightning.data.sizes import Size, get_sides
from pix2pix_lightning.inference.exported import OnnxNetwork, ProgramNetwork, open_exported
from pix2pix_lightning.inference.generator import GeneratorNetwork
from pix2pix_lightning.inference.large_images import LargeImages
from pix2pix_lightning.inference.loading import ignore_line, open_module
from pix2pix_lightning.inference.options import (
    check_exported_options,
    check_packages,
    check_pil_target,
    check_rounding,
    check_tensor_floats,
    find_device,
    parse_array,
    parse_resize,
)
from pix2pix_lightning.inference.precision import PRECISIONS
from pix2pix_lightning.inference.source_files import Source, SourceReader
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.networks.padding import pad_to_multiple
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

MAX_PIXELS = 2**28
"""Default limit of an image file, 16384 x 16384 pixels."""
_MODES = {"deterministic": ("image", "off"), "paper": ("image", "on")}
_NORMS, _DROPOUT = ("image", "running"), ("on", "off")

AnyImage = TypeVar("AnyImage", Tensor, "PILImage")
Array = npt.NDArray[Any]


def _ignore_progress(done: int, total: int) -> None:
    """Ignore the progress: the default of ``progress``."""


class Translator:
    """A model as a function from images to images, which translates as the validation during training does.

    Every image is translated independently of the others in its batch. Sides that the network cannot take are padded
    by reflection, and the output is cropped back.

    Args:
        model: A checkpoint; a run's folder (its ``last.ckpt`` if it was trained with a discriminator, else its
            ``best.ckpt``); a folder or a ``.safetensors`` file of ``save_pretrained``; a generator of
            pytorch-CycleGAN-and-pix2pix, ``latest_net_G.pth``, or its folder; an exported ``.onnx`` or ``.pt2`` file;
            ``builtin:facades``, which comes with the package; or a module. A module's generator is used itself, without
            a copy or a change of its weights; a file's weights are converted for speed.
        mode: ``deterministic`` (``norm=image``, ``dropout=off``) or ``paper`` (``image``, ``on``: section 3.3).
        weights: ``trained``; ``ema``, the moving average of the generator; or ``auto``: ``ema`` where there is one.
        norm: ``image`` (batch norm uses the statistics of each image) or ``running`` (running statistics); by default
            that of the mode, and for an exported file the one of the export.
        dropout: ``on`` or ``off``, of all noise; by default that of the mode.
        seed: Seed of the noise.
        sample: Number of the noise; together with the seed it determines the noise.
        device: A torch device, to which the generator is moved. ``auto`` is the device of a module, and for a file
            the GPU if there is one.
        precision: ``32`` (float32, or the type of a module's weights), ``bf16`` (convolutions in bfloat16: of a U-Net
            of facades one gray level in ten is off by 1, none by more than 2), or ``auto``: bf16 where a device has it.
        trust: Packages whose classes a file may name, in addition to this one's and torch's; True allows to read a
            ``.pt2`` file, which runs any code that its author put there.
        pair: Meaning of the images, for a file that does not contain it (``latest_net_G.pth``): a ``PairSpec``, or some
            of its keys; the others are read from ``train_opt.txt`` next to it.
        resize: To what images are resized, but not tensors of floats, with the source's interpolation. ``training``
            resizes them as the training did, by its size or its width, and the output back to the image's own size with
            the target's interpolation. A side in pixels, or (height, width): the output has that size. Default: none.
        tile: How large images are translated. ``auto``: above 2048 x 2048 pixels layer by layer; a side in pixels: in
            windows of that size, which overlap by as much as the network sees; None: at once. The result is the same.
        overlap: Pixels that windows share, if fewer; there they are blended, and their differences are in ``seams``.
        memory: Memory that the process may take while it translates a large image layer by layer, such as ``3GB``; maps
            that do not fit lie in temporary files. Default: half of what is free.
        half: Which half of a file is translated, as ``SourceReader`` takes it. Other images are translated whole.
        max_pixels: Greatest number of pixels of a file; larger ones are refused before they are decoded.
        rounding: How floats become whole numbers: ``nearest``, or ``floor``, which pytorch-CycleGAN-and-pix2pix does.
        report: Called with a line: what was read from ``train_opt.txt``, how much of a disk a large image takes.
        progress: Called with the number of finished parts of a large image, and with their total.

    Attributes:
        checkpoint: The file that was loaded; None for a module.
        weights: Which of its weights are used, ``trained`` or ``ema``.
        seams: How much neighbouring windows differed, for each image that was blended.
        reader: What reads files, and knows of how many it took a half.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        UserError: The file is not a checkpoint, or an argument is unknown.

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
        weights: str = "auto",
        norm: str | None = None,
        dropout: str | None = None,
        seed: int = 0,
        sample: int = 0,
        device: str = "auto",
        precision: str = "32",
        trust: Sequence[str] | bool = (),
        pair: PairSpec | Mapping[str, Any] | None = None,
        resize: str | Size | None = None,
        tile: str | int | None = "auto",
        overlap: int | None = None,
        memory: str | None = None,
        half: str = "auto",
        max_pixels: int = MAX_PIXELS,
        rounding: str = "nearest",
        report: Callable[[str], object] = ignore_line,
        progress: Callable[[int, int], object] = _ignore_progress,
    ) -> None:
        check_choice("mode", mode, tuple(_MODES))
        check_choice("weights", weights, WEIGHTS)
        check_choice("precision", precision, PRECISIONS)
        if norm is not None:
            check_choice("norm", norm, _NORMS)
        dropout = _MODES[mode][1] if dropout is None else dropout
        check_choice("dropout", dropout, _DROPOUT)
        check_counts(max_pixels=max_pixels)
        self.dropout = dropout
        self.seed = seed
        self.sample = sample
        build = partial(GeneratorNetwork, norm=norm or _MODES[mode][0], dropout=dropout == "on", precision=precision)
        self.network: GeneratorNetwork | OnnxNetwork | ProgramNetwork
        self.checkpoint: Path | None = None
        if isinstance(model, Pix2PixModule):
            if weights == "ema":
                raise UserError("weights='ema' with a module: the EMA weights are in checkpoints, give one")
            if pair is not None:
                raise UserError("pair= with a module, which already has a pair_spec: leave pair out")
            on = model.device if device == "auto" else find_device(device)
            self.weights = "trained"
            self.network = build(model, device=on, optimized_layout=False)
        elif infer_checkpoint_kind(path := find_checkpoint(Path(model))) == "exported":
            self.checkpoint, self.weights = path, "trained"
            check_exported_options(path, dropout=dropout, weights=weights, precision=precision, pair=pair)
            on_file = device if device == "auto" else find_device(device)
            self.network = open_exported(path, on_file, trust=trust is True)
            if norm not in (None, self.network.norm):
                raise UserError(f"norm={norm!r}, but {path} was exported with {self.network.norm!r}: leave norm out")
        else:
            self.checkpoint, self.weights = path, resolve_weights(path, weights)
            module = open_module(path, weights=self.weights, trust=check_packages(trust), pair=pair, report=report)
            self.network = build(module, device=find_device(device), optimized_layout=True)
        self.norm = self.network.norm
        self.device = self.network.device
        self.precision = getattr(self.network, "precision", "32")
        self.pair_spec: PairSpec = self.network.pair_spec
        self.reader = SourceReader(self.pair_spec, half=half, max_pixels=max_pixels)
        check_rounding(rounding, self.pair_spec.target, in_graph=getattr(self.network, "returns_file", False))
        self.rounding = rounding
        self.resize = parse_resize(resize)
        self.progress = progress
        limits: dict[str, Any] = {"tile": tile, "overlap": overlap, "memory": memory}
        self._large = LargeImages(self.network, **limits, rounding=rounding, report=report)
        self.seams = self._large.seams

    @overload
    def __call__(self, image: str | Path | Array) -> Array: ...

    @overload
    def __call__(self, image: AnyImage) -> AnyImage: ...

    @overload
    def __call__(self, image: list[str] | list[Path] | list[Array]) -> list[Array]: ...

    @overload
    def __call__(self, image: list[AnyImage]) -> list[AnyImage]: ...

    def __call__(self, image: Any) -> Any:
        """Translate an image and return the same kind of object.

        Args:
            image: A path (for which an array is returned); an array (H, W, C) or (H, W) in the type of the source's
                files; a PIL image; a tensor (C, H, W) or (B, C, H, W) in that type or, where it is one of integers,
                floats in [-1, 1]; or a list of these.

        Returns:
            The translation, with the input's height and width, in the target's own type and range; floats in [-1, 1]
            for those. Where the source has no value, the result has none if the target's files can say so.

        Raises:
            UserError: It is not an image, has another type or another number of channels than the source, or floats far
                from [-1, 1]; the source refuses its transparent pixels; or a PIL image cannot hold the result.
        """
        if isinstance(image, list):
            return [self(item) for item in image]
        if isinstance(image, Tensor):
            if image.ndim not in (3, 4) or not image.numel():
                raise UserError(
                    f"a tensor of shape {tuple(image.shape)}: (C, H, W) or (B, C, H, W) is expected, with a pixel at "
                    "least"
                )
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
        raise UserError(f"{type(image).__name__} is not an image: give a path, an array, a tensor or a PIL image")

    @property
    def generator(self) -> torch.nn.Module:
        """The module's generator.

        Raises:
            UserError: The model is an exported file, which has a graph and no module.
        """
        if not isinstance(self.network, GeneratorNetwork):
            raise UserError("an exported file has a graph, no generator: open the checkpoint that it was exported from")
        return self.network.generator

    def read(self, source: Source) -> Array:
        """Read an image file of at most ``max_pixels``, or its half, as the source takes it: `SourceReader.read`.

        Args:
            source: The file; or a tuple of files, whose channels are put together as in a training by a manifest.

        Returns:
            (H, W, C) in the type of the source's files.

        Raises:
            UserError: A file or what it holds is refused.
            OSError: It cannot be read.
        """
        return self.reader.read(source)

    def translate_arrays(self, images: Sequence[Array]) -> list[Array]:
        """Translate arrays, those of equal size in one batch.

        Args:
            images: Arrays (H, W, C) or (H, W), as in files of the source.

        Returns:
            (H, W, C') each, as in files of the target, in the same order; of the size of ``resize`` where that is one.

        Raises:
            UserError: An array has another type, shape or number of channels.
        """
        prepared = [self._prepare(image) for image in images]
        results: list[Array] = [np.empty(0)] * len(images)
        for index, image in enumerate(prepared):
            if self._large.is_large(*image.shape[:2]):
                results[index] = self._large.translate(image, self.seed, self.sample, self.progress)
        untiled = [image.shape for image in prepared if not self._large.is_large(*image.shape[:2])]
        for shape in dict.fromkeys(untiled):
            indices = [index for index, image in enumerate(prepared) if image.shape == shape]
            batch = torch.from_numpy(np.stack([prepared[index].transpose(2, 0, 1) for index in indices]))
            source = self.pair_spec.encode(batch.to(self.device), "source")
            decoded = self.pair_spec.decode(self._run(source), source, rounding=self.rounding)
            for index, result in zip(indices, decoded.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
                results[index] = np.ascontiguousarray(result)
        if self.resize == "training":
            results = [self._restore_size(*pair) for pair in zip(results, images, strict=True)]
        return results

    def translate_floats(self, source: Tensor) -> Tensor:
        """Translate what the network sees.

        Args:
            source: Images (B, C, H, W) in [-1, 1], as ``PairSpec.encode`` returns them, of any size.

        Returns:
            The network's output, (B, C', H, W) in [-1, 1], on the translator's device.

        Raises:
            UserError: It has another number of channels than the source.
        """
        return self._run(source.to(self.device))

    def _restore_size(self, result: Array, image: Array) -> Array:
        """Resize an output to the height and width of the image that it is the translation of."""
        target = self.pair_spec.target
        height, width = image.shape[:2]
        return resize_image(result, height, width, str(target.interpolation), nodata=target.nodata)

    def _translate_pil(self, image: PILImage) -> PILImage:
        from PIL import Image

        check_pil_target(self.pair_spec.target)
        source = self.pair_spec.source
        translated = self.translate_arrays([source.read(from_pil(image, can_be_deep=source.kind == "raw"))])[0]
        return Image.fromarray(translated[..., 0] if translated.shape[2] == 1 else translated)

    def _translate_tensor(self, batch: Tensor) -> Tensor:
        source = self.pair_spec.source
        if batch.is_floating_point() and not source.dtype.startswith("float"):
            check_tensor_floats(source.fill_missing(batch))
            return self.translate_floats(batch).to(batch).contiguous()
        arrays = [image.permute(1, 2, 0).cpu().numpy() for image in batch]
        translated = self.translate_arrays(arrays)
        return torch.from_numpy(np.stack(translated)).permute(0, 3, 1, 2).to(batch.device)

    def _prepare(self, image: Array) -> Array:
        source = self.pair_spec.source
        array = parse_array(image, source)
        if self.resize is None:
            return source.prepare(array)
        if self.resize == "training":
            return source.prepare_and_resize(array, *self.pair_spec.compute_resized(*array.shape[:2]))
        return source.prepare_and_resize(array, *get_sides(self.resize))

    def _run(self, source: Tensor) -> Tensor:
        """Run the network on floats (B, C, H, W) of any size."""
        expected = self.pair_spec.source.channels
        if source.shape[1] != expected:
            raise UserError(f"{source.shape[1]} channels, but the generator was trained on {expected}")
        source = self.pair_spec.source.fill_missing(source)
        height, width = source.shape[2:]
        if self._large.is_large(height, width):
            options = self.seed, self.sample, self.progress
            return torch.cat([self._large.translate_floats(image, *options) for image in torch.split(source, 1)])
        padded = pad_to_multiple(source, self.network.side_multiple, self.network.min_side)
        if isinstance(self.network, GeneratorNetwork):
            output = self.network(padded, seed=self.seed, sample=self.sample)
        else:
            output = self.network(padded)
        return output[..., :height, :width]
