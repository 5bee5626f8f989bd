"""Pages of one file: no script, style or font from elsewhere, everything escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

_HERE = Path(__file__).parent
_DIALOG = """<dialog id="enlarged" aria-labelledby="enlarged-caption">
<div class="stage"><img class="shown" alt=""><img class="against" alt=""></div>
<p id="enlarged-caption" aria-live="polite"></p>
<div class="controls">
<span class="comparing"><button type="button" class="swap" aria-pressed="false" aria-keyshortcuts="T">Target
<kbd>T</kbd></button>
<button type="button" class="flicker" aria-pressed="false" aria-keyshortcuts="F">Flicker <kbd>F</kbd></button>
<label>Pace <input class="pace" type="range" min="0.5" max="3" step="0.5" value="1.5"></label></span>
<button type="button" class="close">Close <kbd>Esc</kbd></button>
</div>
</dialog>
"""


class Markup(str):
    """A piece of HTML, which is not escaped again."""

    __slots__ = ()


def escaped(text: object) -> str:
    """Text for an element or a quoted attribute; ``Markup`` as it is. Bytes that are no UTF-8 become marks."""
    plain = str(text)
    return plain if isinstance(text, Markup) else html.escape(plain.encode("utf-8", "replace").decode())


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A complete page that fetches nothing but its pictures, which a policy in it ensures.

    Args:
        title: Plain text, of the window; the heading is the body's.
        body: HTML, what stands in ``<main>``. Scripts, styles and handlers in it do not run.
        style: CSS beside what all pages have.
        script: JavaScript beside what all pages have.
    """
    style = (_HERE / "page.css").read_text("utf-8") + style
    script = (_HERE / "page.js").read_text("utf-8") + script
    policy = (
        "default-src 'none'; img-src 'self' file: data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n{_DIALOG}<script>{script}</script>\n</body>\n</html>\n"
    )


def picture(
    src: str, *, alt: str, caption: str, against: str | None = None, size: tuple[int, int] | None = None
) -> str:
    """A figure that a click or Enter enlarges, to flicker there against another one.

    Args:
        src: The file, relative to the page, or a ``data:image/`` address.
        alt: What is to be seen, for those who do not see it.
        caption: Below the picture.
        against: The file of the target, where the picture is to be compared with it.
        size: (width, height) in pixels: the page does not jump while it loads, and loads what is seen alone.
    """
    address = escaped(_address(src))
    compared = "" if against is None else f' data-against="{escaped(_address(against))}"'
    sides = "" if size is None else f' width="{size[0]}" height="{size[1]}"'
    return (
        f'<figure class="picture"><a class="enlarge" href="{address}"{compared} aria-haspopup="dialog">'
        f'<img loading="lazy" src="{address}" alt="{escaped(alt)}"{sides}></a>'
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column names the rows. Cells are escaped unless they are ``Markup``."""
    head = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escaped(row[0])}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in row[1:])}</tr>\n'
        for row in rows
    )
    return (
        '<div class="scrolled" tabindex="0" role="region" aria-label="table"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>"
    )


def _address(file: str) -> str:
    """A file's name may hold what means something in an address, # and ? and %."""
    return file if file.startswith("data:image/") else quote(file, errors="surrogateescape")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
