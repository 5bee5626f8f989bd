"""Serve a page on a port, with limits, and with nothing from other servers."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pix2pix_lightning.compat import check_gradio_files
from pix2pix_lightning.demo.host_filter import HostFilter

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:"
)
"""Nothing from other servers, whatever gradio's pages link to. They need inline scripts and compiled templates."""
_CLOSED_ROUTES = re.compile(
    r"/+gradio_api/(?!(queue/(join|data)|heartbeat/\w+|startup-events|info|cancel|reset|theme\.css)/?$)"
)
"""gradio's routes that receive, serve or fetch files. The page needs none of them."""
_FONT, _MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]


def build_server(
    page: gr.Blocks, *, max_bytes: int, host: str = "127.0.0.1", names: Sequence[str] = ()
) -> uvicorn.Server:
    """Build the server of a page. ``run(sockets=[...])`` serves until it is interrupted or ``should_exit`` is set.

    Args:
        page: The app of `build_page`, built inside `use_temporary_files`.
        max_bytes: Limit of a file. A request may have twice as many, since files are sent as text.
        host: Name or address that is served.
        names: Further host names that requests may have.

    Returns:
        The server, which does not run yet.
    """
    check_gradio_files(page)
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(primary_hue="blue", font=_FONT, font_mono=_MONO),
        css_paths=Path(__file__).parent / "page.css",
    )
    filtered = HostFilter(RequestFilter(app, 2 * max_bytes + 2**16), host, names)
    return uvicorn.Server(uvicorn.Config(filtered, log_level="warning", timeout_graceful_shutdown=1))


def serve(
    page: gr.Blocks,
    listener: socket.socket,
    *,
    max_bytes: int,
    host: str = "127.0.0.1",
    names: Sequence[str] = (),
) -> None:
    """Serve a page in the main thread, until Ctrl-C or SIGTERM.

    Args:
        page: The app of `build_page`.
        listener: A listening socket.
        max_bytes: Limit of an uploaded file.
        host: Name or address that is served.
        names: Further host names that requests may have.

    Raises:
        KeyboardInterrupt: At either signal.
    """
    # uvicorn shuts down at a signal and raises it again, which then ends here like Ctrl-C. SIGINT has no handler where
    # a shell script has started the command in the background.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        build_server(page, max_bytes=max_bytes, host=host, names=names).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RequestFilter:
    """Middleware that closes all routes that the page does not need, limits requests, and sets the security policy.

    Args:
        app: The app behind it.
        max_bytes: Limit of the body of a request.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it to the app (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if _CLOSED_ROUTES.match(scope["path"]):
            await PlainTextResponse("not available", status_code=403)(scope, receive, send)
            return
        if not length.isdigit() or int(length) > self.max_bytes:
            refusal = PlainTextResponse("the request is too large: see max_megabytes", status_code=413)
            await refusal(scope, receive, send)
            return
        count = 0

        async def receive_limited() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            # a body without a content-length can only be cut off
            return message if count <= self.max_bytes else {"type": "http.disconnect"}

        async def send_with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive_limited, send_with_policy)
