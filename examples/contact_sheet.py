"""Put a run's pictures into one file: input, output at its last or another epoch and target, side by side.

    python examples/contact_sheet.py <run folder> <picture.png> [--pairs 4] [--columns 2] [--epoch 6]

The pairs are those of the run's gallery, or of an evaluation; an incomplete last row is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pix2pix_lightning.data.files.image_files import read_image, write_image

_GAP = 4  # pixels between pictures, white


def main() -> None:
    """Read the gallery and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder, or that of an evaluation")
    parser.add_argument("picture", type=Path, help="what to write")
    parser.add_argument("--pairs", type=int, default=4, help="how many pairs")
    parser.add_argument("--columns", type=int, default=2, help="how many pairs side by side")
    parser.add_argument("--epoch", type=int, help="the epoch of the outputs, counted from 1; by default the last")
    arguments = parser.parse_args()
    if arguments.picture.exists():
        parser.error(f"{arguments.picture} exists: name another picture")
    outputs = "epoch_*.png" if arguments.epoch is None else f"epoch_{arguments.epoch - 1:04d}.png"
    gallery = arguments.run / "gallery/images"
    if not gallery.is_dir():
        gallery, outputs = arguments.run / "images", "output.png"
    pairs = sorted(gallery.iterdir())[: arguments.pairs]
    strips = [
        concatenate_framed([*pair.glob("input.*"), max(pair.glob(outputs)), *pair.glob("target.*")]) for pair in pairs
    ]
    rows = [np.concatenate(strips[i : i + arguments.columns], 1) for i in range(0, len(strips), arguments.columns)]
    rows = [row for row in rows if row.shape[1] == rows[0].shape[1]]
    write_image(arguments.picture, np.concatenate(rows, 0))


def concatenate_framed(paths: list[Path]) -> np.ndarray:
    """Place pictures side by side, with a gap after each and below."""
    framed = [np.pad(read_image(path), ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for path in paths]
    framed[-1] = np.pad(framed[-1], ((0, 0), (0, 2 * _GAP), (0, 0)), constant_values=255)
    return np.concatenate(framed, 1)


if __name__ == "__main__":
    main()
