"""Links between the pages of a run, the report of its sweep and the list of all runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pix2pix_lightning.report.rendering import build_environment, render
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.lock import is_locked

RUNS = "runs"
"""Name of the folder that holds the runs, and a list of them as ``index.html``."""
_PAGE = "index.html"
_BEGIN, _END = "<!-- links -->", "<!-- /links -->"


class Link(NamedTuple):
    """A link to another page that exists.

    Attributes:
        title: Text of the link.
        address: Path of the page, relative to the folder of the page that has the link.
        below: The last folders of the page that has the link, where the link leads out of the run: in a copy of the
            run's folder alone they are others, and the link is not shown. Else empty.
    """

    title: str
    address: str
    below: str = ""


def find_runs_folder(run: Path) -> Path | None:
    """Find the folder ``runs`` that a run is in, or a sweep: at most three levels above it.

    Args:
        run: Folder of the run.

    Returns:
        The absolute path; None for a folder elsewhere, next to which nothing is written.
    """
    return next((parent for parent in run.absolute().parents[:3] if parent.name == RUNS), None)


def find_report(run: Path) -> Path | None:
    """Find the report of the sweep that a run is a job of."""
    page = run.absolute().parent / "report" / _PAGE
    return page if page.is_file() and (page.parent / "report.md").is_file() else None


def build_link(title: str, target: Path, page: Path, root: Path | None = None) -> Link:
    """Build a link between two pages.

    Args:
        title: Text of the link.
        target: Page that it leads to.
        page: Page that has the link.
        root: Folder of a run; between pages in it links are always shown.

    Returns:
        The link, with a relative address.
    """
    target, home = target.absolute(), page.absolute().parent
    common = Path(os.path.commonpath([target, home]))
    below = ""
    if root is None or not common.is_relative_to(root.absolute()):
        below = home.relative_to(common if common.name == RUNS else common.parent).as_posix()
    return Link(title, Path(os.path.relpath(target, home)).as_posix(), below)


def find_links(page: Path, run: Path | None) -> list[Link]:
    """Find what a page links to: the other pages of its run, the report of the sweep, the list of runs.

    Args:
        page: The page. It may be about to be written.
        run: Folder of the run that the page is about; None for a report.

    Returns:
        Links to pages that exist.
    """
    page = page.absolute()
    links = []
    if run is not None:
        links += [build_link(title, path, page, run) for title, path in list_pages(run) if path != page]
        if (report := find_report(run)) is not None:
            links.append(build_link("Report of the sweep", report, page))
    runs = find_runs_folder(page.parent if run is None else run)
    if runs is not None and (runs / _PAGE).is_file():
        links.append(build_link("All runs", runs / _PAGE, page))
    return links


def list_pages(run: Path) -> Iterator[tuple[str, Path]]:
    """Yield title and path of the pages in a run's folder: the gallery, and evaluations by their names."""
    run = run.absolute()
    if (gallery := run / "gallery" / _PAGE).is_file():
        yield "Gallery", gallery
    for page in sorted((run / "evaluation").glob(f"*/{_PAGE}")):
        yield f"Evaluation: {page.parent.name.replace('_', ', ')}", page


def refresh_links(run: Path) -> None:
    """Bring the links of a run's pages up to date. A run that is in training writes its gallery itself."""
    for title, page in list_pages(run):
        if title == "Gallery" and is_locked(run):
            continue
        before = page.read_bytes().decode("utf-8", errors="replace")
        links = render_links(find_links(page, run))
        start, found, rest = before.partition(_BEGIN)
        _, end, after = rest.partition(_END)
        text = f"{start}{found}{links}{end}{after}" if found and end else before
        if text != before:
            with atomic_write(page) as scratch:
                scratch.write_bytes(text.encode())


def render_links(links: list[Link]) -> str:
    """Render what stands between the two comments of a page that mark the place of its links."""
    return render(build_environment().get_template("links.html"), links=links)
