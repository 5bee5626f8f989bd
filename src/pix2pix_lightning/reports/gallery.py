"""A folder of pictures by epoch with a page that shows them."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.images import write_image

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem;
       color-scheme: light dark; }
h2 { font-size: 1rem; margin: 2rem 0 .25rem; overflow-wrap: anywhere; }
.pair { display: flex; gap: .5rem; overflow-x: auto; }
figure { margin: 0; flex: none; }
img { display: block; width: 12rem; height: auto; }
figcaption { font-size: .8rem; }
"""


class GalleryFolder:
    """Pictures of the same pairs at several epochs, and ``index.html``.

    What the folder holds already stays in it and on the page, so that a resumed run goes on with its gallery.

    Args:
        folder: It is made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, epoch: int, images: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Write the pictures of one pair at one epoch.

        Args:
            name: Of the pair.
            epoch: Counted from 0.
            images: ``input``, ``output`` and ``target``, (H, W, 1 or 3) uint8. Input and target are the same at
                each epoch and written once.
        """
        folder = self._folder / "images" / re.sub(r"[^\w.-]+", "_", name)
        folder.mkdir(parents=True, exist_ok=True)
        for column in ("input", "target"):
            if not (folder / f"{column}.png").exists():
                write_image(folder / f"{column}.png", images[column])
        write_image(folder / f"epoch_{epoch:04d}.png", images["output"], overwrite=True)

    def write_page(self) -> None:
        """Write ``index.html`` over all pictures in the folder, the newest epoch first."""
        pairs = sorted(path for path in (self._folder / "images").iterdir() if path.is_dir())
        rows = "\n".join(_row(pair) for pair in pairs)
        page = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>Gallery</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Gallery</h1>\n"
            "<p>The same validation pairs: input, target, and the output after each epoch, the newest first.</p>\n"
            f"{rows}\n</main>\n</body>\n</html>\n"
        )
        (self._folder / "index.html").write_text(page)


def _row(pair: Path) -> str:
    epochs = sorted(pair.glob("epoch_*.png"), reverse=True)
    pictures = [("input", pair / "input.png"), ("target", pair / "target.png")]
    pictures += [(f"epoch {int(path.stem.removeprefix('epoch_')) + 1}", path) for path in epochs]
    figures = "".join(
        f'<figure><img loading="lazy" src="images/{html.escape(pair.name)}/{path.name}" '
        f'alt="{caption} of {html.escape(pair.name)}"><figcaption>{caption}</figcaption></figure>'
        for caption, path in pictures
    )
    return f'<h2>{html.escape(pair.name)}</h2>\n<div class="pair" tabindex="0">{figures}</div>'
