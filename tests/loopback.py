"""A server of files on this machine, that fails as it is told to."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``content`` at any address; ``failures`` are functions of a handler, of which each answers one request.

    Attributes:
        content: What it serves.
        etag: ETag of it; None sends none.
        date: Last-Modified of it; None sends none.
        has_ranges: Whether it answers requests for a part by this part.
        requests: The headers of all requests, in lower case.
    """

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.date, self.has_ranges = content, '"one"', None, True
        self.failures, self.requests = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/pairs.tar.gz?token=secret"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self):
        server = self.server
        server.requests.append({key.lower(): value for key, value in self.headers.items()})
        if server.failures:
            server.failures.pop(0)(self)
        else:
            self.answer()

    def answer(self, *, length=None, stop=None, is_chunked=False):
        """Send the content or the part of it that is asked for.

        Args:
            length: What Content-Length says; by default the truth.
            stop: Bytes after which the connection ends.
            is_chunked: Whether no length is sent, and a connection that is kept.
        """
        server = self.server
        begin, validators = 0, (server.etag, server.date)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.has_ranges and self.headers.get("If-Range") in validators:
            begin = int(asked[1])
            if begin >= len(server.content):
                return self.refuse(416, {"Content-Range": f"bytes */{len(server.content)}"})
        body = server.content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
        for name, value in (("ETag", server.etag), ("Last-Modified", server.date)):
            if value is not None:
                self.send_header(name, value)
        if not is_chunked:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body[:stop])
        self.close_connection = True

    def refuse(self, status, headers=()):
        """Send a status without a content."""
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Print nothing."""


@contextmanager
def serve(content):
    """Yield a server in a thread."""
    server = FileServer(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
