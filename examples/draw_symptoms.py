"""Train small models that go wrong in known ways, and write a picture of each for the README.

    python examples/draw_symptoms.py <folder for the runs> <folder for the pictures>

Each picture shows input, output and target of a drawn pair. The six trainings take some minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pix2pix_lightning import Translator, compose
from pix2pix_lightning.data import ProceduralPairs
from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.train import train

_SIZE = 64  # side of the training images in pixels
_SHOWN = 128  # side of the pictures in pixels
_RUNS = {
    "grid": ["trainer.max_epochs=25"],
    "swapped": ["data.direction=a_to_b", "trainer.max_epochs=10"],
    "gray": ["loss=l2", "trainer.max_epochs=5"],
    "collapsed": ["loss=gan", "generator=encoder_decoder", "trainer.max_epochs=15"],
    "blotches": [
        "module.generator.norm=batch",
        "data.batch_size=1",
        "trainer.limit_train_batches=48",
        "trainer.max_epochs=15",
    ],
}
"""Settings of each training, in addition to those of `_train`."""


def main() -> None:
    """Train what is not trained yet, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder for the runs")
    parser.add_argument("pictures", type=Path, help="folder for the pictures")
    arguments = parser.parse_args()
    translators = {name: _train(arguments.runs / name, words) for name, words in _RUNS.items()}
    pairs = ProceduralPairs(6, size=_SIZE, seed=0, split="val", num_looks=1)
    for name in ("grid", "gray", "collapsed"):
        numbers = (3, 1) if name == "collapsed" else (3,)
        rows = [[pairs[n][1], translators[name](pairs[n][1]), pairs[n][0]] for n in numbers]
        _write(arguments.pictures / f"{name}.jpg", *rows)
    photo, labels, _ = pairs[3]
    _write(arguments.pictures / "swapped.jpg", [photo, translators["swapped"](photo), labels])
    shifted = np.ascontiguousarray(labels[..., ::-1])  # red and blue exchanged
    _write(arguments.pictures / "colours.jpg", [shifted, translators["grid"](shifted), photo])
    large, large_labels, _ = ProceduralPairs(6, size=4 * _SIZE, seed=0, split="val", num_looks=1)[2]
    part = (slice(_SHOWN), slice(_SHOWN))  # the upper left corner
    output = Translator(arguments.runs / "blotches", norm="running")(large_labels)
    _write(arguments.pictures / "blotches.jpg", [large_labels[part], output[part], large[part]])


def _train(folder: Path, words: list[str]) -> Translator:
    """Train with the quickstart's settings, images of a quarter of their area, and an early end."""
    if not (folder / "summary.json").exists():
        settings = [
            "experiment=quickstart",
            f"data.size={_SIZE}",
            "data.num_val=8",
            "generator=unet",
            "module.generator.upsample=transposed",
            "module.generator.base_channels=32",
            "module.schedule=null",
            "callbacks.warn=null",
            f"run_dir={folder}",
        ]
        train(compose("train", [*settings, *words]))
    return Translator(folder / "checkpoints/last.ckpt")


def _write(path: Path, *rows: list[np.ndarray]) -> None:
    """Write rows of pictures, enlarged by a whole factor without blending."""
    enlarged = [[_enlarge(picture) for picture in row] for row in rows]
    write_image(path, np.concatenate([np.concatenate(row, axis=1) for row in enlarged]), overwrite=True)


def _enlarge(picture: np.ndarray) -> np.ndarray:
    factor = _SHOWN // picture.shape[0]
    return np.kron(picture, np.ones((factor, factor, 1), np.uint8))


if __name__ == "__main__":
    main()
