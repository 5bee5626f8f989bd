"""Which requests the demo answers, by the host that they name and the page that they come from."""

import asyncio
import socket

import pytest

from pix2pix_lightning.demo.host_filter import HostFilter


def ask(host_filter, host, *, origin=None, kind="http", method="POST"):
    """Send a request, and return whether the app got it, and the type and the status of the answer."""
    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope)

    async def send(message):
        sent.append((message["type"], message.get("status", message.get("code"))))

    host_filter.app = app
    headers = [(b"host", host.encode())] if host is not None else []
    headers += [(b"origin", origin.encode())] if origin is not None else []
    scope = {"type": kind, "headers": headers, "path": "/", **({"method": method} if kind == "http" else {})}
    asyncio.run(host_filter(scope, None, send))
    return bool(reached), sent[:1]


OWN = ["localhost", "localhost:7860", "LOCALHOST.", "127.0.0.1:7860", "127.1.2.3", "[::1]:7860", "my.name:80"]
OTHER = ["evil.example", "localhost.evil.example:7860", "evil@localhost", "", "a b", "localhost:x", "127.0.0.1.nip.io",
         "localhost/evil", "192.168.0.7", "[::1", None]  # fmt: skip


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_own_names_are_answered_and_others_refused(kind):
    host_filter = HostFilter(None, "127.0.0.1", ["My.name"])
    for host in OWN:
        assert ask(host_filter, host, kind=kind) == (True, []), host
    refusal = ("http.response.start", 421) if kind == "http" else ("websocket.close", 1008)
    for host in OTHER:
        assert ask(host_filter, host, kind=kind) == (False, [refusal]), host
    assert ask(host_filter, "evil.example", method="GET")[0] is False


def test_on_a_network_addresses_and_the_machines_name_are_answered():
    for host in ("0.0.0.0", "::", "192.168.0.7", "pc.example.org"):
        host_filter = HostFilter(None, host)
        for own in (
            "192.168.0.7:7860",
            "[fe80::1]",
            socket.gethostname(),
            "localhost",
            host if host != "::" else "[::]",
        ):
            assert ask(host_filter, own)[0], (host, own)
        assert not ask(host_filter, "evil.example")[0]


def test_a_page_of_another_server_sends_nothing():
    host_filter = HostFilter(None, "127.0.0.1")
    assert ask(host_filter, "localhost", origin="http://localhost:7860")[0]
    for origin in ("http://evil.example", "null", "https://localhost.evil.example"):
        assert not ask(host_filter, "localhost", origin=origin)[0]
        assert not ask(host_filter, "localhost", origin=origin, kind="websocket")[0]
    assert ask(host_filter, "localhost", origin="http://evil.example", method="GET")[0]  # it cannot read the answer
