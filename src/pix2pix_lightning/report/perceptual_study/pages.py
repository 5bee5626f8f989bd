"""Write the pages of a perceptual study: one for each algorithm, with its own copies of the pictures."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.image_files import read_image, write_image
from pix2pix_lightning.report.links import Link
from pix2pix_lightning.report.perceptual_study.algorithms import Algorithm
from pix2pix_lightning.report.perceptual_study.answers import STUDY_FILE
from pix2pix_lightning.report.rendering import render_page
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError

SIZE = 256
"""Side in pixels of the box in which a picture is shown, as in the paper."""
_PICTURES = "pictures"
_MOST = 10_000  # trials of a session


class _Page(NamedTuple):
    """A page of the study as the overview lists it."""

    label: str
    link: Link
    num_pairs: int
    evaluation: str


def write_study(
    algorithms: Sequence[Algorithm], output: Path, *, practice: int = 10, trials: int = 40, same_input: bool = True
) -> Path:
    """Write a folder for each algorithm, which can be given to raters alone, and an overview for who asks them.

    Names of files and the page's text do not tell generated pictures from real ones. The page itself needs to know, for
    the feedback in the practice and for the answers: it holds this in base64, which keeps it from sight and no more.

    Args:
        algorithms: The evaluations, with the same pairs.
        output: An empty folder.
        practice: Number of trials with feedback that a session begins with.
        trials: Number of trials of the test.
        same_input: Show an output next to the target of its own pair. Else next to that of another pair, as the paper
            did for maps and aerial photos, which make it too easy.

    Returns:
        The overview.

    Raises:
        UserError: There are fewer pairs than a session shows, or a number is out of range, or the two pictures of a
            pair differ in size.
    """
    check_counts(at_least=0, at_most=_MOST, practice=practice)
    check_counts(at_most=_MOST, trials=trials)
    num_pairs = len(algorithms[0].pairs)
    if practice + trials > num_pairs or num_pairs < 2:
        raise UserError(
            f"runs={algorithms[0].folder} has {num_pairs} pairs, and a session shows practice={practice} + "
            f"trials={trials}, each once: evaluate more pairs, or set practice= and trials= lower"
        )
    study = secrets.token_hex(8)
    design = {"study": study, "practice": practice, "trials": trials, "same_input": same_input}
    pages, rows = [], []
    for number, algorithm in enumerate(algorithms, start=1):
        home = output / f"study_{number}"
        names = _copy_pictures(algorithm, home / _PICTURES)
        content = {**design, "algorithm": algorithm.label, "pairs": names}
        text = render_page("study", title="Real or generated?", study=_encode(content), design=design, size=SIZE)
        (home / "index.html").write_text(text, encoding="utf-8")
        facts = {"page": home.name, "evaluation": str(algorithm.folder), **algorithm.read_facts()}
        pages.append({**facts, "algorithm": algorithm.label, "pairs": names})
        link = Link(home.name, f"{home.name}/index.html")
        rows.append(_Page(algorithm.label, link, num_pairs, str(algorithm.folder)))
    text = json.dumps({**design, "pages": pages}, indent=1, allow_nan=False)
    (output / STUDY_FILE).write_text(text + "\n", encoding="utf-8")
    overview = output / "index.html"
    text = render_page("study_overview", title="Perceptual study", pages=rows, design=design)
    overview.write_text(text, encoding="utf-8")
    return overview


def _copy_pictures(algorithm: Algorithm, folder: Path) -> list[tuple[str, str, str]]:
    """Copy the pictures under random names, in the order of these.

    Args:
        algorithm: The evaluation.
        folder: Folder of the copies, which is created.

    Returns:
        For each pair its name, and the files of the real and of the generated picture, relative to the page.
    """
    folder.mkdir(parents=True)
    names = [(pair, _draw_name(), _draw_name()) for pair in algorithm.pairs]
    copies = {name: (pair, place) for pair, *files in names for place, name in enumerate(files)}
    for name, (pair, place) in sorted(copies.items()):  # so that neither order nor times tell what is what
        write_image(folder / name, _read_pair(algorithm, pair)[place])
    return [(pair, f"{_PICTURES}/{real}", f"{_PICTURES}/{generated}") for pair, real, generated in names]


def _draw_name() -> str:
    return f"{secrets.token_hex(8)}.png"


def _read_pair(algorithm: Algorithm, pair: str) -> list[npt.NDArray[np.uint8]]:
    """Read target and output; larger ones are reduced to the size in which they are shown."""
    files = algorithm.get_pictures(pair)
    images = [read_image(file) for file in files]
    (height, width), other = (image.shape[:2] for image in images)
    if (height, width) != other:
        raise UserError(
            f"{files[1]} is {other[1]} x {other[0]} pixels and {files[0].name} {width} x {height}, which tells them "
            "apart: evaluate again"
        )
    scale = SIZE / max(height, width)
    if scale >= 1:
        return images
    from pix2pix_lightning.data.resize import resize  # imports torch

    shape = max(1, round(height * scale)), max(1, round(width * scale))
    return [resize(image, *shape, "bicubic") for image in images]


def _encode(content: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(content, allow_nan=False).encode()).decode()
