"""The models that a page offers, opened when they are first chosen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.checkpoints.files import checkpoint_in
from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.demo.brushes import Brushes, Colour, brushes_of, known_of_run
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.utils.errors import UserError

MODES = ("deterministic", "paper")
Image = npt.NDArray[np.uint8]


class Models:
    """Translators by the names of their checkpoints, of which the last few used are kept.

    A translator changes its network's layers while it works, so one request at a time is served.

    Args:
        checkpoints: Files or folders, as ``Translator`` takes them.
        open_translator: Of a checkpoint, in a mode.
        kept: How many translators are kept; a checkpoint in both modes is two.
        known: Names and colours of the sources; by default what the run of a checkpoint says.

    Attributes:
        names: Of the checkpoints, as short as they differ.

    Raises:
        FileNotFoundError: There is no such checkpoint.
    """

    def __init__(
        self,
        checkpoints: Sequence[str],
        open_translator: Callable[[str, str], Translator],
        *,
        kept: int = 2,
        known: Mapping[str, Colour] | None = None,
    ) -> None:
        if not checkpoints:
            raise UserError("checkpoint=[] names no model: give one or more")
        if kept < 1:
            raise UserError(f"kept={kept} models: 1 or more are expected")
        self._paths = {path: checkpoint_in(Path(path)) for path in dict.fromkeys(checkpoints)}
        self.names = _short(list(self._paths))
        self._checkpoints = dict(zip(self.names, self._paths, strict=True))
        self._open, self._kept, self._known = open_translator, kept, known
        self._translators: OrderedDict[tuple[str, str], Translator] = OrderedDict()
        self._sources: dict[str, tuple[PairSpec, Brushes]] = {}
        self._lock = Lock()

    def translator(self, name: str, mode: str = MODES[0]) -> Translator:
        """The translator of a name, opened if need be.

        Raises:
            ValueError: The checkpoint is none, or cannot be used in this mode.
            OSError: It cannot be read.
        """
        if name not in self._checkpoints or mode not in MODES:
            raise UserError(f"{name} in mode {mode} is not offered here: choose one of {', '.join(self.names)}")
        key = name, mode
        if key not in self._translators:
            while len(self._translators) >= self._kept:
                self._translators.popitem(last=False)  # before another takes room
            self._translators[key] = self._open(self._checkpoints[name], mode)
        self._translators.move_to_end(key)
        return self._translators[key]

    def source(self, name: str) -> tuple[PairSpec, Brushes]:
        """What the images of a model mean, and what its source is drawn with.

        Raises:
            ValueError: As ``translator`` does.
            OSError: As ``translator`` does.
        """
        with self._lock:
            if name not in self._sources:
                spec = self.translator(name).pair_spec
                known = self._known or known_of_run(self._paths[self._checkpoints[name]])
                self._sources[name] = spec, brushes_of(spec.source, known)
            return self._sources[name]

    def translate(self, name: str, mode: str, image: Image, *, seed: int, samples: int) -> list[Image]:
        """Translate a file's content, (H, W, C), with the noise of so many samples.

        Raises:
            ValueError: As ``translator`` does, or the image is none of the source's.
        """
        with self._lock:
            translator = self.translator(name, mode)
            translator.seed = seed
            results = []
            for translator.sample in range(samples):
                results.append(translator(image))
            return results


def _short(paths: list[str]) -> list[str]:
    parts = [Path(path).absolute().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"checkpoint={paths} names a model twice: give each once")
