"""Answer only requests for the server's own host names.

A page of another server can let its name point to this machine; the browser then sends requests here as if they were to
that server, and hands it the answers. They bear that server's name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_READING = ("GET", "HEAD", "OPTIONS")


class HostFilter:
    """Middleware that refuses requests by another host name, and those that a page of another server sends.

    Accepted are ``localhost`` and loopback addresses, the host that is served, and names that are given. On a network,
    also the machine's own name and any address, since no foreign page has an address of this network as its origin.

    Args:
        app: The app behind it.
        host: Name or address that is served, as the command's ``host``.
        names: Further names under which the page is reached.
    """

    def __init__(self, app: ASGIApp, host: str, names: Iterable[str] = ()) -> None:
        self.app = app
        given = _parse_address(host)
        self._is_on_network = not (given.is_loopback if given else host == "localhost")
        own = (socket.gethostname(), f"{socket.gethostname()}.local", socket.getfqdn()) if self._is_on_network else ()
        self._names = {name.lower().rstrip(".") for name in ("localhost", host, *own, *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request or a websocket to the app, or refuse it (ASGI)."""
        if scope["type"] not in ("http", "websocket") or self._accepts(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            refusal = PlainTextResponse("not a host name of this server: see hosts=", status_code=421)
            await refusal(scope, receive, send)

    def _accepts(self, scope: Scope) -> bool:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._is_own(_get_name(f"//{hosts[0]}")):
            return False
        if scope.get("method") in _READING:
            return True
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        return all(self._is_own(_get_name(origin)) for origin in origins)  # programs send none

    def _is_own(self, name: str | None) -> bool:
        if name is None:
            return False
        address = _parse_address(name)
        if address is not None and (address.is_loopback or self._is_on_network):
            return True
        return name.rstrip(".") in self._names


def _get_name(url: str) -> str | None:
    """Return the host of an URL in lower case, without its port; None if there is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
    except ValueError:
        return None
    is_plain = parts.username is None and not parts.path.strip("/") and not parts.query and not parts.fragment
    return parts.hostname if is_plain else None


def is_address(name: str) -> bool:
    """Return whether a name is an address of IPv4 or IPv6."""
    return _parse_address(name) is not None


def _parse_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
