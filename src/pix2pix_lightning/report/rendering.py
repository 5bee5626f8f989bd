"""Render the pages' templates; everything that a template prints is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

TEMPLATES = Path(__file__).parent / "templates"
_WITH_CURVES = ("gallery", "comparison")


@cache
def build_environment(*folders: Path) -> Environment:
    """Build a jinja2 environment that escapes values and refuses undefined names.

    Args:
        folders: Folders of further templates, searched before the templates of this package.

    Returns:
        The environment, with the filter ``address``.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["address"] = format_address
    return environment


def render(template: Template, **context: object) -> str:
    """Render a template. Bytes of file names that are not UTF-8 become question marks."""
    return template.render(**context).encode("utf-8", "replace").decode()


def render_page(name: str, *, links: Sequence[object] = (), **context: object) -> str:
    """Render a page that fetches nothing but its pictures; a content security policy in it ensures this.

    Args:
        name: Name of the template, of the style and of the script without their endings, for example ``gallery``.
        links: Links to other pages, each a `links.Link`.
        context: What the template shows; ``title`` is the title of the window.

    Returns:
        The page as HTML.
    """
    names = ("page", "curves", name) if name in _WITH_CURVES else ("page", name)
    return render(build_environment().get_template(f"{name}.html"), links=links, **read_assets(*names), **context)


def read_assets(*names: str) -> dict[str, str]:
    """Read styles and scripts, and build the policy that allows them and nothing else.

    Args:
        names: Names of ``.css`` and ``.js`` files without their endings. A file that does not exist is left out.

    Returns:
        ``style``, ``script`` and ``policy``, as ``page.html`` takes them.
    """
    style, script = ("".join(_read_if_exists(TEMPLATES / f"{name}.{kind}") for name in names) for kind in ("css", "js"))
    policy = (
        "default-src 'none'; img-src 'self' file: data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return {"style": style, "script": script, "policy": policy}


def format_address(file: str) -> str:
    """Quote what has a meaning in an address (``#``, ``?``, ``%``); ``data:image/`` addresses are unchanged."""
    return file if file.startswith("data:image/") else quote(file, errors="surrogateescape")


def _read_if_exists(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
