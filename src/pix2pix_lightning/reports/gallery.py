"""A folder of pictures by epoch with a page that shows them grow, and the run that they are of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pix2pix_lightning.data.image_files import write_image
from pix2pix_lightning.reports.page import document, escaped, picture
from pix2pix_lightning.reports.run import metrics, metrics_rows, settings
from pix2pix_lightning.utils.atomic import atomic_write

_HERE = Path(__file__).parent
_NAMES = "names.json"  # what the pairs are really called: their folders' names are restricted


class GalleryFolder:
    """Pictures of the same pairs at several epochs, and ``index.html``.

    What the folder holds already stays in it and on the page, so that a resumed run goes on with its gallery.

    Args:
        folder: It is made when the first picture comes.
        run_dir: Whose ``metrics.csv`` and ``config.yaml`` the page shows, as far as they are there.
    """

    def __init__(self, folder: Path, run_dir: Path | None = None) -> None:
        self._folder = folder
        self._run_dir = run_dir

    def add(self, position: int, name: str, epoch: int, images: Mapping[str, npt.NDArray[np.uint8]]) -> str:
        """Write the pictures of one pair at one epoch.

        Args:
            position: Of the pair among all.
            name: Of the pair.
            epoch: Counted from 0.
            images: ``input``, ``output`` and ``target``, (H, W, 1 or 3) uint8. Input and target are the same at
                each epoch and written once.

        Returns:
            What the pair's folder is called.
        """
        called = folder_of_pair(position, name)
        folder = self._folder / "images" / called
        folder.mkdir(parents=True, exist_ok=True)
        for column in ("input", "target"):
            if not (folder / f"{column}.png").exists():
                write_image(folder / f"{column}.png", images[column])
        write_image(folder / f"epoch_{epoch:04d}.png", images["output"], overwrite=True)
        names = self._names()
        if names.get(called) != name:
            _write(self._folder / _NAMES, json.dumps({**names, called: name}, indent=2) + "\n")
        return called

    def write_page(self, latest: Mapping[str, float] | None = None) -> None:
        """Write ``index.html`` over all pictures in the folder.

        Args:
            latest: ``step``, ``epoch`` and metrics that may not have come into ``metrics.csv`` yet.
        """
        names = self._names()
        folders = sorted(path for path in (self._folder / "images").iterdir() if path.is_dir())
        epochs = {folder: found for folder in folders if (found := _epochs(folder))}
        every = sorted(set().union(*epochs.values()))
        rows = "\n".join(_row(folder, names.get(folder.name, folder.name), epochs[folder]) for folder in epochs)
        sections = {"Pictures": f"{_player(every)}\n{rows}", **self._of_the_run(latest)}
        body = "\n".join(
            f'<section id="{title.lower()}"><h2>{title}</h2>\n{inner}\n</section>' for title, inner in sections.items()
        )
        run = "" if self._run_dir is None else "/".join(self._run_dir.parts[-2:])
        heading = _heading(
            run, f"{_count(len(epochs), 'validation pair')}, up to epoch {every[-1] + 1}", list(sections)
        )
        title = f"Gallery of {run}" if run else "Gallery"
        style, script = ((_HERE / f"gallery.{kind}").read_text("utf-8") for kind in ("css", "js"))
        _write(self._folder / "index.html", document(title, f"{heading}\n{body}", style=style, script=script))

    def _of_the_run(self, latest: Mapping[str, float] | None) -> dict[str, str]:
        if self._run_dir is None:
            return {}
        rows = metrics_rows(self._run_dir / "metrics.csv", latest)
        sections = {"Metrics": metrics(rows), **settings(self._run_dir / "config.yaml")}
        return {title: inner for title, inner in sections.items() if inner}

    def _names(self) -> dict[str, str]:
        try:
            names: dict[str, str] = json.loads((self._folder / _NAMES).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return names


def folder_of_pair(position: int, name: str) -> str:
    """What a pair's folder is called: a name that any system takes."""
    plain = re.sub(r"[^\w.-]+", "_", name)
    return f"{position:03d}_{plain[:60]}"


def _write(path: Path, text: str) -> None:
    """Whole at any time; bytes in names that are no UTF-8 become marks."""
    with atomic_write(path) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="replace")


def _heading(run: str, shown: str, sections: Sequence[str]) -> str:
    links = "".join(f'<li><a href="#{title.lower()}">{title}</a></li>' for title in sections)
    return (
        "<h1>Gallery</h1>\n"
        + (f'<p class="run">{escaped(run)}</p>\n' if run else "")
        + f"<p>{shown}: what the generator is given, what it makes of it, and the target.</p>\n"
        '<p class="hint">A click or Enter enlarges a picture; an output flickers there against its target.</p>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
    )


def _epochs(folder: Path) -> list[int]:
    names = (re.fullmatch(r"epoch_(\d+)\.png", path.name) for path in folder.iterdir())
    return sorted(int(name[1]) for name in names if name)


def _size(path: Path) -> tuple[int, int] | None:
    """Of a picture, unless the process that wrote it was stopped in between."""
    try:
        with Image.open(path) as image:
            return image.size
    except OSError:
        return None


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _player(epochs: Sequence[int]) -> str:
    """Hidden until the script is there that it needs."""
    if len(epochs) < 2:
        return ""
    last = epochs[-1] + 1
    return (
        '<div class="player" role="group" aria-label="Epochs" hidden><button type="button">Play</button>'
        f'<label for="epoch">Epoch</label><input id="epoch" type="range" min="0" max="{len(epochs) - 1}" step="1" '
        f'value="{len(epochs) - 1}" aria-valuetext="{last} of {last}" data-epochs="{_joined(epochs)}">'
        f'<output for="epoch" aria-live="off">{last} of {last}</output></div>'
    )


def _row(folder: Path, name: str, epochs: Sequence[int]) -> str:
    """The newest epoch's output; the script shows others, since a long run has thousands of pictures."""
    home = f"images/{folder.name}"
    size = _size(folder / "input.png")
    target = f"{home}/target.png"
    newest = f"{home}/epoch_{epochs[-1]:04d}.png"
    pictures = (
        picture(f"{home}/input.png", alt=f"input of {name}", caption="input", size=size),
        picture(
            newest,
            alt=f"output for {name}, epoch {epochs[-1] + 1}",
            caption=f"output, epoch {epochs[-1] + 1}",
            against=target,
            size=size,
        ),
        picture(target, alt=f"target of {name}", caption="target", size=size),
    )
    growth = '<details class="growth" hidden><summary>Every epoch</summary></details>' if len(epochs) > 1 else ""
    return (
        f'<article data-name="{escaped(name)}" data-epochs="{_joined(epochs)}"><h3>{escaped(name)}</h3>'
        f'<div class="trio">{"".join(pictures)}</div>{growth}</article>'
    )


def _joined(epochs: Sequence[int]) -> str:
    return " ".join(map(str, epochs))
