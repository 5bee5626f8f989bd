"""All commands behind one name: ``python -m pix2pix_lightning <command> key=value ...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.cli.conf_files import read_title
from pix2pix_lightning.utils.version import __version__

COMMANDS = ("train", "predict", "evaluate", "export", "demo", "report", "download", "prepare", "benchmark")
"""The commands. Each is a module with ``main(argv) -> exit status``, and has a file in ``conf/`` with its title."""
_PACKAGES = ("export", "report", "demo", "prepare", "benchmark")  # their main() is in __main__.py


def format_help() -> str:
    """Return the list of commands."""
    lines = [f"  {name:10} {read_title(find_conf_dir() / f'{name}.yaml')}" for name in COMMANDS]
    return "\n".join(
        [
            "usage: pix2pix-lightning <command> key=value ...",
            "",
            *lines,
            "",
            "pix2pix-lightning <command> --help explains a command's keys; --version prints the version.",
        ]
    )


def suggest_command(word: str) -> str:
    """Format one line for a first word that is no command."""
    import difflib

    if word.startswith("-") or "=" in word:
        return f"{word}: a command is expected before it, one of {', '.join(COMMANDS)}"
    close = difflib.get_close_matches(word.lower().removesuffix(".py"), COMMANDS, 1)
    hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(COMMANDS)} is expected"
    return f"{word} is no command: {hint}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names, or list the commands.

    Args:
        argv: Words of the command line after the program's name; default those of the process.

    Returns:
        The command's exit status; 2 for a command that does not exist.
    """
    command, *words = (sys.argv[1:] if argv is None else argv) or [""]
    if command == "--version":
        print(f"pix2pix_lightning {__version__}")
        return 0
    if command in ("-h", "--help", "help") and words:
        command, words = words[0], ["--help", *words[1:]]
    if command in ("", "-h", "--help", "help"):
        print(format_help())
        return 0
    if command not in COMMANDS:
        print(f"error: {suggest_command(command)}", file=sys.stderr)
        return 2
    module = f"{__package__}.{command}" + (".__main__" if command in _PACKAGES else "")
    status: int = import_module(module).main(words)
    return status


if __name__ == "__main__":
    sys.exit(main())
