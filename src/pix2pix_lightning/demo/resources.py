"""Resources that a server takes from the machine: a port, and a folder for temporary files."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.imports import pause_gc


def open_socket(host: str, port: int) -> socket.socket:
    """Open a socket that listens on a port.

    Args:
        host: Name or address of this machine.
        port: 0 to 65535; 0 takes any free port.

    Returns:
        The socket, to be closed by the caller.

    Raises:
        UserError: The port is in use or out of range, or the host is not this machine.
    """
    if type(port) is not int or not 0 <= port <= 65535:
        raise UserError(f"port={port}: a number from 0 to 65535 is expected")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UserError(
                f"host={host} is no address of this machine: set host=127.0.0.1, or 0.0.0.0 for all addresses"
            ) from None
        reason = "in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error)).lower()
        other = port + 1 if port < 65535 else port - 1
        raise UserError(f"port={port} of {host} is {reason}: set port={other}, or port=0 for any free one") from None


@contextmanager
def use_temporary_files() -> Iterator[Path]:
    """Let gradio write its files to a folder that is removed at the end. gradio must be imported inside the block.

    Yields:
        The folder.

    Raises:
        UserError: gradio is not installed.
    """
    with TemporaryDirectory(prefix="pix2pix-demo-") as folder:
        settings = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(Path(folder).resolve())}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            _check_gradio()
            yield Path(folder)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _check_gradio() -> None:
    try:
        with pause_gc():
            import gradio  # noqa: F401
    except ImportError as error:
        missing = error.name or "gradio"
        raise UserError(f'the package {missing} is missing: pip install "pix2pix-lightning[demo]"') from None
