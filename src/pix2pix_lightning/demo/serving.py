"""Serving a page on a port, with limits, and nothing from elsewhere."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:"
)
"""Nothing from elsewhere, whatever gradio's pages name; they need inline scripts, and templates that are compiled."""
_CLOSED = re.compile(
    r"/+gradio_api/(?!(queue/(join|data)|heartbeat/\w+|startup-events|info|cancel|reset|theme\.css)/?$)"
)
"""Of gradio's routes those that take files, give them, or fetch them from elsewhere: the page needs none of them."""
_FONT, _MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]


def server_of(page: gr.Blocks, *, max_bytes: int) -> uvicorn.Server:
    """A server of a page, which runs by ``run(sockets=[...])`` until it is interrupted or ``should_exit`` is set.

    Args:
        page: As ``build`` makes it, within ``temporary_files``.
        max_bytes: Of a file; no request may have more than twice as many, since it is sent as text.
    """
    page.has_launched = True  # of an app that is mounted gradio would not check which files are asked for
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
    limited = Limited(app, 2 * max_bytes + 2**16)
    return uvicorn.Server(uvicorn.Config(limited, log_level="warning", timeout_graceful_shutdown=1))


def serve(page: gr.Blocks, listening: socket.socket, *, max_bytes: int) -> None:
    """Serve a page, in the main thread, until Ctrl-C or SIGTERM.

    Raises:
        KeyboardInterrupt: Of either.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn ends, and sends it once more
    try:
        server_of(page, max_bytes=max_bytes).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)


class Limited:
    """An app of whose routes only those are open that a page needs, with short requests, and nothing from elsewhere.

    Args:
        app: Whose requests they are.
        max_bytes: Of the body of one.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if _CLOSED.match(scope["path"]):
            await PlainTextResponse("not offered here", status_code=403)(scope, receive, send)
            return
        if not length.isdigit() or int(length) > self.max_bytes:
            refusal = PlainTextResponse("the request is too large: see max_megabytes", status_code=413)
            await refusal(scope, receive, send)
            return
        count = 0

        async def received() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            return message if count <= self.max_bytes else {"type": "http.disconnect"}  # its length was not said

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, received, sent)
