"""The models that the page offers, loaded when they are first chosen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy.typing as npt

from pix2pix_lightning.checkpoints.files import find_checkpoint
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.demo.brushes import Brushes, Colour, build_brushes, find_run_colours
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.utils.errors import UserError

MODES = ("deterministic", "paper")
Image = npt.NDArray[Any]


class ModelPool:
    """Translators by the names of their checkpoints. The most recently used ones stay in memory.

    A lock serves one request at a time, since a translator changes the layers of its network while it works.

    Args:
        checkpoints: Files or folders, as `Translator` takes them.
        open_translator: Function of a checkpoint and a mode that loads a translator.
        max_open: Number of translators in memory; a checkpoint in both modes counts twice.
        colours: Colours of the sources by name; default those of the run of each checkpoint.

    Attributes:
        names: Names of the checkpoints: the last parts of their paths, as many as needed to be unique.

    Raises:
        UserError: There is no checkpoint, one is given twice, or `max_open` is below 1.
        FileNotFoundError: A checkpoint does not exist.
    """

    def __init__(
        self,
        checkpoints: Sequence[str],
        open_translator: Callable[[str, str], Translator],
        *,
        max_open: int = 2,
        colours: Mapping[str, Colour] | None = None,
    ) -> None:
        if not checkpoints:
            raise UserError("checkpoint=[] names no model: give one or more")
        if max_open < 1:
            raise UserError(f"kept={max_open} models: 1 or more are expected")
        self._paths = {path: find_checkpoint(Path(path)) for path in dict.fromkeys(checkpoints)}
        self.names = _shorten(list(self._paths))
        self._checkpoints = dict(zip(self.names, self._paths, strict=True))
        self._open, self._max_open, self._colours = open_translator, max_open, colours
        self._translators: OrderedDict[tuple[str, str], Translator] = OrderedDict()
        self._sources: dict[str, tuple[PairSpec, Brushes]] = {}
        self._lock = Lock()

    def get_translator(self, name: str, mode: str = MODES[0]) -> Translator:
        """Return the translator of a model, which is loaded if it is not in memory.

        Args:
            name: One of `names`.
            mode: One of ``MODES``.

        Raises:
            UserError: The name is unknown, the file is no checkpoint, or cannot be used in this mode.
            OSError: The file cannot be read.
        """
        if name not in self._checkpoints or mode not in MODES:
            raise UserError(f"{name} in mode {mode} is not offered here: choose one of {', '.join(self.names)}")
        key = name, mode
        if key not in self._translators:
            while len(self._translators) >= self._max_open:
                self._translators.popitem(last=False)  # freed before the other takes memory
            self._translators[key] = self._open(self._checkpoints[name], mode)
        self._translators.move_to_end(key)
        return self._translators[key]

    def get_source(self, name: str) -> tuple[PairSpec, Brushes]:
        """Return what the images of a model mean, and the brushes for its source.

        Raises:
            UserError: As in `get_translator`.
            OSError: As in `get_translator`.
        """
        with self._lock:
            if name not in self._sources:
                spec = self.get_translator(name).pair_spec
                colours = self._colours or find_run_colours(self._paths[self._checkpoints[name]])
                self._sources[name] = spec, build_brushes(spec.source, colours)
            return self._sources[name]

    def translate(self, name: str, mode: str, image: Image, *, seed: int, samples: int) -> list[Image]:
        """Translate an image.

        Args:
            name: One of `names`.
            mode: One of ``MODES``.
            image: Content of an image file of the source, (H, W, C).
            seed: Seed of the noise in mode ``paper``.
            samples: Number of translations, each with its own noise.

        Returns:
            The content of one file per sample.

        Raises:
            UserError: As in `get_translator`, or the image does not belong to the source.
        """
        with self._lock:
            translator = self.get_translator(name, mode)
            translator.seed = seed
            results = []
            for translator.sample in range(samples):
                results.append(translator(image))
            return results


def _shorten(paths: list[str]) -> list[str]:
    parts = [Path(path).absolute().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"checkpoint={paths} names a model twice: give each once")
