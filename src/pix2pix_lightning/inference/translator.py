"""Translator: a checkpoint as a function from images to images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.checkpoints import AVERAGED_KEY, PROJECT_KEY, checkpoint_in, read_checkpoint
from pix2pix_lightning.config import TARGET, check_trusted, locate
from pix2pix_lightning.images import PairSpec, read_image, write_image
from pix2pix_lightning.inference.in_order import in_order
from pix2pix_lightning.inference.padding import pad_to_multiple
from pix2pix_lightning.inference.precision import PRECISIONS, chosen_for, computing, lay_out
from pix2pix_lightning.module import Pix2PixModule
from pix2pix_lightning.networks import test_time

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_MODES = {"deterministic": ("image", "off"), "paper": ("image", "on")}
_NORMS, _DROPOUT, _WEIGHTS = ("image", "running"), ("on", "off"), ("trained", "averaged")

AnyImage = TypeVar("AnyImage")


class Translator:
    """Translates images as the training's validation does.

    Every image is handled as if it were alone: what is beside it in a batch does not matter. Sides that the
    network cannot take are padded by reflection, and the output is cropped back.

    Args:
        model: A checkpoint, a run's folder (its ``best.ckpt``, else ``last.ckpt``), or a module, whose generator is
            used itself, not copied, and left as it lies; a checkpoint's is laid out for speed.
        mode: ``deterministic`` (``norm=image``, ``dropout=off``) or ``paper`` (``image``, ``on``: section 3.3).
        weights: ``trained``, or ``averaged`` where training kept an average of a checkpoint's generator.
        norm: ``image`` (batch norm by each image's own statistics) or ``running``; by default the mode's.
        dropout: ``on`` or ``off``; by default the mode's.
        seed: Of dropout's noise.
        sample: Number of the noise; with the seed it determines it.
        device: A torch device, to which the generator is moved; ``auto`` is where a module is, and for a checkpoint
            the GPU if there is one.
        precision: ``32`` (float32, or what a module's weights are), ``bf16`` (convolutions in bfloat16: of a U-Net's
            grey levels, trained on facades, one in ten is 1 off, and none more than 2), or ``auto``: bf16 where the
            device has instructions for it.
        trust: Packages whose classes a checkpoint may name, beside this one's and torch's.

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
        trust: Sequence[str] = (),
    ) -> None:
        _check("mode", mode, tuple(_MODES))
        _check("weights", weights, _WEIGHTS)
        norm_of_mode, dropout_of_mode = _MODES[mode]
        self.norm = norm_of_mode if norm is None else norm
        self.dropout = dropout_of_mode if dropout is None else dropout
        _check("norm", self.norm, _NORMS)
        _check("dropout", self.dropout, _DROPOUT)
        _check("precision", precision, PRECISIONS)
        self.seed = seed
        self.sample = sample
        if isinstance(model, Pix2PixModule):
            if weights == "averaged":
                raise ValueError("weights='averaged' of a module: an average is kept in checkpoints, give one")
            module, self.device = model, model.device if device == "auto" else _device(device)
        else:
            self.device = _device(device)
            path = checkpoint_in(Path(model))
            module = _loaded(path, (trust,) if isinstance(trust, str) else trust)
            if weights == "averaged":
                module.generator.load_state_dict(_averaged(path))
        self.precision = chosen_for(self.device) if precision == "auto" else precision
        self.pair_spec: PairSpec = module.pair_spec
        self.generator = module.generator.to(self.device)
        if module is not model:
            lay_out(self.generator, self.device, self.precision)
        self.side_multiple = int(getattr(self.generator, "side_multiple", 1))
        self.least_side = int(getattr(self.generator, "least_side", 1))

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

    def _translate(self, image: Any) -> Any:
        if isinstance(image, list):
            return [self._translate(item) for item in image]
        if isinstance(image, Tensor):
            if image.ndim not in (3, 4):
                raise ValueError(f"a tensor of shape {tuple(image.shape)}: (C, H, W) or (B, C, H, W) is expected")
            batch = image if image.ndim == 4 else image[None]
            translated = self._translate_tensor(batch)
            return translated if image.ndim == 4 else translated[0]
        if isinstance(image, str | Path):
            return self.translate_arrays([read_image(Path(image))])[0]
        if isinstance(image, np.ndarray):
            array = self.translate_arrays([image])[0]
            return array[..., 0] if image.ndim == 2 and array.shape[2] == 1 else array
        if hasattr(image, "convert"):
            return self._translate_pil(image)
        raise ValueError(f"{type(image).__name__} is no image: give a path, an array, a tensor or a PIL image")

    def translate_arrays(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
        """Translate arrays, those of equal size together.

        Args:
            images: (H, W, C) or (H, W) uint8, as files hold the source.

        Returns:
            (H, W, C') each, in the same order.
        """
        prepared = [self._snapped(image) for image in images]
        results: list[npt.NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(images)
        for shape in dict.fromkeys(image.shape for image in prepared):
            indices = [index for index, image in enumerate(prepared) if image.shape == shape]
            batch = torch.from_numpy(np.stack([prepared[index].transpose(2, 0, 1) for index in indices]))
            source = self.pair_spec.encode(batch.to(self.device), "source")
            decoded = self.pair_spec.decode(self._run(source), source).permute(0, 2, 3, 1).cpu().numpy()
            for index, result in zip(indices, decoded, strict=True):
                results[index] = np.ascontiguousarray(result)
        return results

    def translate_files(self, paths: Iterable[Path]) -> Iterator[tuple[Path, npt.NDArray[np.uint8]]]:
        """Translate files one after the other, so that a folder of any size fits the memory.

        The next ones are read meanwhile.
        """
        for path, image in in_order(lambda path: (path, read_image(path)), paths):
            try:
                yield path, self.translate_arrays([image])[0]
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None

    def write_files(self, outputs: Mapping[Path, Path]) -> list[Path]:
        """Translate files into files, those that exist too, of which the last ones are written meanwhile.

        Args:
            outputs: For each input the file to write, in the order of work.

        Returns:
            What was written. Where an input cannot be translated, those before it are.

        Raises:
            ValueError: An input is no image, or an output's name ends with no known format.
        """

        def write(translated: tuple[Path, npt.NDArray[np.uint8]]) -> Path:
            path, image = translated
            write_image(outputs[path], image, overwrite=True)
            return outputs[path]

        return list(in_order(write, self.translate_files(outputs)))

    def _translate_pil(self, image: PILImage) -> PILImage:
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(image)  # as files are read
        if image.mode == "F" or image.mode.startswith("I"):  # conversion would cut off what is above 255
            raise ValueError(f"a PIL image of mode {image.mode}: 8-bit images are expected, convert it first")
        array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        translated = self.translate_arrays([array])[0]
        return Image.fromarray(translated[..., 0] if translated.shape[2] == 1 else translated)

    def _translate_tensor(self, batch: Tensor) -> Tensor:
        if batch.is_floating_point():
            return self._run(batch.to(self.device)).to(batch).contiguous()
        arrays = [image.permute(1, 2, 0).cpu().numpy() for image in batch]
        translated = self.translate_arrays(arrays)
        return torch.from_numpy(np.stack(translated)).permute(0, 3, 1, 2).to(batch.device)

    def _snapped(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise ValueError(
                f"an array of {image.dtype} and shape {image.shape}: (H, W, C) or (H, W) of uint8 is expected"
            )
        if image.ndim == 2:
            image = image[..., None]
        if image.shape[2] == 1:
            image = np.repeat(image, 3, 2)
        if image.shape[2] != 3:
            raise ValueError(f"an image of {image.shape[2]} channels: 1 or 3 are expected")
        return self.pair_spec.source.snap(image)

    def _run(self, source: Tensor) -> Tensor:
        """The generator on (B, C, H, W) of any size."""
        expected = self.pair_spec.source.channels
        if source.shape[1] != expected:
            raise ValueError(f"{source.shape[1]} channels, but the generator was trained on {expected}")
        height, width = source.shape[2:]
        parameter = next(self.generator.parameters(), None)
        dtype = torch.float32 if parameter is None else parameter.dtype
        mode = test_time(
            self.generator, norm=self.norm, dropout=self.dropout == "on", seed=self.seed, sample=self.sample
        )
        precision = computing(self.precision, self.device)
        with torch.no_grad(), mode, precision:  # not inference_mode: what comes out may go on into somebody's training
            padded = pad_to_multiple(source.to(dtype), self.side_multiple, self.least_side)
            output: Tensor = self.generator.forward(padded)  # not what was compiled for the training mode
        return output[..., :height, :width]


def _loaded(path: Path, trust: Sequence[str]) -> Pix2PixModule:
    """The module of a checkpoint, of the class that was trained."""
    name = read_checkpoint(path)[PROJECT_KEY]["module"]
    check_trusted({TARGET: name}, trust)
    cls = locate(name)
    if not issubclass(cls, Pix2PixModule):
        raise ValueError(f"{path} is of a {name}, which is no Pix2PixModule: give a .ckpt file that training wrote")
    module: Pix2PixModule = cls.load_from_checkpoint(path, trust=trust)
    return module


def _averaged(path: Path) -> dict[str, Tensor]:
    checkpoint = read_checkpoint(path)
    if AVERAGED_KEY not in checkpoint:
        raise ValueError(f"{path} has no averaged weights: train with callbacks=[default,averaged], or weights=trained")
    average: dict[str, Tensor] = checkpoint[AVERAGED_KEY]
    return average


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError):  # torch built without CUDA asserts
        here = f"auto, cpu or cuda is expected, and torch {torch.__version__} finds {torch.cuda.device_count()} GPUs"
        raise ValueError(f"device={name} cannot be used here: {here}") from None
    return device


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown: one of {', '.join(choices)} is expected")
