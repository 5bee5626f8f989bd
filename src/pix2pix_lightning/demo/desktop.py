"""Open the page in the browser of the desktop, where there is one."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from contextlib import suppress

from pix2pix_lightning.utils.errors import UserError

_ANY_ADDRESS = ("0.0.0.0", "::")  # of a server; a browser needs a certain one


def should_open(setting: object) -> bool:
    """Return whether the configuration key ``open_browser`` asks for a browser.

    Args:
        setting: True, False, or ``auto`` for a browser where there is a desktop.

    Raises:
        UserError: It is something else.
    """
    if setting == "auto":
        return has_desktop()
    if not isinstance(setting, bool):
        raise UserError(f"open_browser={setting}: true, false or auto is expected")
    return setting


def has_desktop() -> bool:
    """Return whether this process runs on a desktop that the user sits at, with a browser that has a window."""
    if "SSH_CONNECTION" in os.environ:
        return False
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        # GenericBrowser itself is for browsers in a terminal, which would take this one over
        return type(webbrowser.get()) is not webbrowser.GenericBrowser
    except webbrowser.Error:
        return False


def open_page(host: str, port: int) -> None:
    """Open the page in a browser, in a thread: a browser that hangs or fails does not concern the server.

    Args:
        host: Address that is served.
        port: Port of the server, which may start to answer later.
    """
    name = "localhost" if host in _ANY_ADDRESS else f"[{host}]" if ":" in host else host
    threading.Thread(target=_open, args=(f"http://{name}:{port}",), daemon=True, name="browser").start()


def _open(address: str) -> None:
    with suppress(webbrowser.Error, OSError):
        webbrowser.open(address)
