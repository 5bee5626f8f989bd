"""A model as a file that works elsewhere: ``python -m pix2pix_lightning.export checkpoint=<run> output=<file>``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def export(cfg: DictConfig, words: Sequence[str] = ()) -> Path:
    """Write the generator of a checkpoint, or all of it, in a format, and check what was written.

    Args:
        cfg: As ``compose("export", [...])`` gives it.
        words: Of the command line, for the file, which is told all but paths.

    Returns:
        What was written.

    Raises:
        ValueError: The format is unknown or has no form of this network, or what was written is not the module.
        FileExistsError: The output exists.
    """
    from omegaconf import OmegaConf

    from pix2pix_lightning.checkpoints.files import find_checkpoint, infer_checkpoint_kind
    from pix2pix_lightning.cli.conf import PATH_KEYS
    from pix2pix_lightning.evaluation import find_run
    from pix2pix_lightning.export.formats import ENDINGS, FORMATS, Export, check_taken
    from pix2pix_lightning.inference.opening import open_module
    from pix2pix_lightning.inference.settings import packages, said_of_pair

    keys = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    output = Path(str(cfg.output))
    if cfg.format not in FORMATS:
        raise UserError(f"format={cfg.format} is unknown: one of {', '.join(FORMATS)} is expected")
    check_taken(cfg.format, keys)
    ending = ENDINGS.get(cfg.format)
    if ending and output.suffix != ending:
        raise UserError(
            f"output={output}: a file of format={cfg.format} ends with {ending}, say output={output}{ending}"
        )
    if cfg.mode != "deterministic":
        raise UserError(
            f"mode={cfg.mode}: an exported graph has no noise that a seed determines; say mode=deterministic, and use "
            "predict or Translator for mode=paper"
        )
    checkpoint = find_checkpoint(Path(str(cfg.checkpoint)))
    if infer_checkpoint_kind(checkpoint) == "exported":
        raise UserError(f"checkpoint={checkpoint} is an exported graph: give the checkpoint that it was made from")
    module = open_module(checkpoint, weights=cfg.weights, trust=packages(cfg.trust), pair=said_of_pair(cfg))
    keys["norm"] = cfg.norm or "image"
    said = [word for word in words if word.partition("=")[0] not in PATH_KEYS]
    made_by = {"export": shlex.join(said), "checkpoint": checkpoint.name, "batches_seen": module.batches_seen}
    print(FORMATS[cfg.format](Export(module, find_run(checkpoint), output, keys, made_by)))
    return output


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    return run_command("export", partial(export, words=words), words)


if __name__ == "__main__":
    sys.exit(main())
