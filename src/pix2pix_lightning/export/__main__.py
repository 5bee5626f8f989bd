"""Export a model to a file: ``python -m pix2pix_lightning.export checkpoint=<run> output=<file>``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig


def export(cfg: DictConfig, words: Sequence[str] = ()) -> Path:
    """Write the generator of a checkpoint, or the whole module, in a format, and check the result.

    Args:
        cfg: Configuration of ``compose("export", [...])``.
        words: Words of the command line. The file's metadata contain the overrides among them, except for paths.

    Returns:
        The file or folder that was written.

    Raises:
        UserError: The format is unknown or cannot hold this network, or the outputs differ from the module's.
        FileExistsError: The output exists.
    """
    from omegaconf import OmegaConf

    from pix2pix_lightning.checkpoints.choice import WEIGHTS, resolve_weights
    from pix2pix_lightning.checkpoints.files import find_checkpoint, infer_checkpoint_kind
    from pix2pix_lightning.cli.conf import PATH_KEYS
    from pix2pix_lightning.evaluation import find_run
    from pix2pix_lightning.export.formats import FORMATS, SUFFIXES, Export, check_keys
    from pix2pix_lightning.inference.from_config import print_choice, read_pair_spec
    from pix2pix_lightning.inference.loading import open_module
    from pix2pix_lightning.utils.checks import check_choice, check_folder, check_not_inside
    from pix2pix_lightning.utils.instantiate import parse_trust

    keys = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    output = Path(str(cfg.output))
    if cfg.format not in FORMATS:
        raise UserError(f"format={cfg.format} is unknown: one of {', '.join(FORMATS)} is expected")
    check_keys(cfg.format, keys)
    suffix = SUFFIXES.get(cfg.format)
    if suffix and output.suffix != suffix:
        raise UserError(
            f"output={output}: a file of format={cfg.format} ends with {suffix}, set output={output}{suffix}"
        )
    if cfg.mode != "deterministic":
        raise UserError(
            f"mode={cfg.mode}: an exported graph has no noise that a seed determines; set mode=deterministic, and use "
            "predict or Translator for mode=paper"
        )
    check_folder("output", output.parent)
    checkpoint = find_checkpoint(Path(str(cfg.checkpoint)))
    if infer_checkpoint_kind(checkpoint) == "exported":
        raise UserError(f"checkpoint={checkpoint} is an exported graph: give the checkpoint that it was exported from")
    keeps_others = not suffix and cfg.format != "web" and infer_checkpoint_kind(checkpoint) == "training"
    if not keeps_others:  # what lies in the output's folder is replaced
        check_not_inside("output", output, checkpoint=checkpoint)
    check_choice("weights", cfg.weights, WEIGHTS)
    keys["weights"] = resolve_weights(checkpoint, cfg.weights)
    options = {"weights": keys["weights"], "trust": parse_trust(cfg.trust), "pair": read_pair_spec(cfg)}
    module = open_module(checkpoint, **options, report=print_escaped)
    print_choice(cfg, checkpoint, keys["weights"])
    keys["norm"] = cfg.norm or "image"
    overrides = [word for word in words if "=" in word and not word.startswith("-")]  # flags may have paths too
    shared = [word for word in overrides if word.partition("=")[0] not in PATH_KEYS]
    origin = {"checkpoint": checkpoint.name, "weights": keys["weights"], "batches_seen": module.batches_seen}
    made_by = {"export": shlex.join(shared), **origin}
    print_escaped(FORMATS[cfg.format](Export(module, find_run(checkpoint), output, keys, made_by)))
    return output


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    words = sys.argv[1:] if argv is None else argv
    return run_command("export", partial(export, words=words), words)


if __name__ == "__main__":
    sys.exit(main())
