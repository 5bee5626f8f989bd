"""A page to draw on: ``python -m pix2pix_lightning.demo checkpoint=<run>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pix2pix_lightning.inference import Translator


def demo(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C.

    Args:
        cfg: As ``compose("demo", [...])`` gives it.

    Raises:
        ValueError: The first model cannot be opened, the port is in use, or gradio is missing.
        FileNotFoundError: There is no such checkpoint.
        KeyboardInterrupt: Ctrl-C.
    """
    from omegaconf import OmegaConf

    from pix2pix_lightning.demo.brushes import known_colours
    from pix2pix_lightning.demo.models import Models
    from pix2pix_lightning.demo.studio import Studio
    from pix2pix_lightning.demo.surroundings import listen, temporary_files
    from pix2pix_lightning.inference.settings import translator_of

    def open_translator(checkpoint: str, mode: str) -> Translator:
        chosen = {**cfg, "checkpoint": checkpoint, "mode": mode, "dropout": None}
        return translator_of(OmegaConf.create(chosen))

    paths = cfg.checkpoint if OmegaConf.is_list(cfg.checkpoint) else [cfg.checkpoint]
    models = Models([str(path) for path in paths], open_translator, kept=cfg.kept, known=known_colours(cfg.brushes))
    max_bytes = int(cfg.max_megabytes * 2**20)
    studio = Studio(models, max_pixels=cfg.max_pixels, max_bytes=max_bytes, max_waiting=cfg.max_waiting)
    with listen(str(cfg.host), cfg.port) as listening, temporary_files():
        from pix2pix_lightning.demo.page import build
        from pix2pix_lightning.demo.serving import serve

        page = build(studio)
        host, port = listening.getsockname()[:2]
        print(f"draw on http://{host}:{port}; Ctrl-C ends it", flush=True)
        serve(page, listening, max_bytes=max_bytes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command("demo", demo, argv)


if __name__ == "__main__":
    sys.exit(main())
