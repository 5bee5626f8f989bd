"""Serve a page to draw on: ``python -m pix2pix_lightning.demo``, or with one's own ``checkpoint=<run>``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pix2pix_lightning.inference import Translator


def demo(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C.

    Args:
        cfg: The configuration of ``compose("demo", [...])``.

    Raises:
        UserError: The first model cannot be loaded, the port is in use, or gradio is not installed.
        FileNotFoundError: A checkpoint does not exist.
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    from omegaconf import OmegaConf

    from pix2pix_lightning.demo.brushes import parse_colours
    from pix2pix_lightning.demo.desktop import open_page, should_open
    from pix2pix_lightning.demo.model_pool import ModelPool
    from pix2pix_lightning.demo.resources import open_socket, use_temporary_files
    from pix2pix_lightning.demo.session import DemoSession
    from pix2pix_lightning.inference.from_config import build_translator, print_choice, read_half

    def open_translator(checkpoint: str, mode: str) -> Translator:
        chosen = {**cfg, "checkpoint": checkpoint, "mode": mode, "dropout": None}
        translator = build_translator(own := OmegaConf.create(chosen))
        print_choice(own, translator.checkpoint, translator.weights)
        return translator

    opens = should_open(cfg.open_browser)
    paths = cfg.checkpoint if OmegaConf.is_list(cfg.checkpoint) else [cfg.checkpoint]
    colours = parse_colours(cfg.brushes)
    models = ModelPool([str(path) for path in paths], open_translator, max_open=cfg.kept, colours=colours)
    names = _parse_names(cfg.hosts)
    max_bytes = int(cfg.max_megabytes * 2**20)
    limits = {"max_pixels": cfg.max_pixels, "max_bytes": max_bytes, "max_waiting": cfg.max_waiting}
    session = DemoSession(models, **limits, half=read_half(cfg))
    with open_socket(str(cfg.host), cfg.port) as socket, use_temporary_files():
        from pix2pix_lightning.demo.page import build_page
        from pix2pix_lightning.demo.server import serve

        page = build_page(session)
        host, port = socket.getsockname()[:2]
        print(f"draw on http://{host}:{port}; Ctrl-C ends it", flush=True)
        if opens:
            open_page(host, port)
        serve(page, socket, max_bytes=max_bytes, host=str(cfg.host), names=names)


def _parse_names(hosts: Any) -> list[str]:
    from pix2pix_lightning.demo.host_filter import is_address

    names = [hosts] if isinstance(hosts, str) else list(hosts or [])
    if not all(isinstance(name, str) and (re.fullmatch(r"[\w.-]+", name) or is_address(name)) for name in names):
        raise UserError(f"hosts={hosts}: a list of host names without ports is expected, hosts=[pc.example.org]")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("demo", demo, argv)


if __name__ == "__main__":
    sys.exit(main())
