"""Check the words of a command line before Hydra reads them: ``key=value``, and Hydra's own options."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from pix2pix_lightning.cli.choices import find_key_like, list_all_keys, read_command
from pix2pix_lightning.cli.conf import PATH_KEYS, find_conf_dir, is_group
from pix2pix_lightning.cli.help import is_topic
from pix2pix_lightning.utils.errors import UserError

_ALONE = ("--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun", "-sc", "--shell-completion")
_HELP = ("help", "h", "hlp", "halp", "usage", "?", "man")
_CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_WITH_VALUE = ("--package", "--config-path", "--config-name", "--config-dir", "--experimental-rerun")
_SHORT = {
    "-c": "--cfg",
    "-i": "--info",
    "-p": "--package",
    "-cp": "--config-path",
    "-cn": "--config-name",
    "-cd": "--config-dir",
}
_OVERRIDE = re.compile(r"[+~]{0,2}[^=\s]+=")


class UsageError(UserError):
    """The words of a command line are none that a command can read; the exit status is 2."""


def check_words(words: Sequence[str], config_name: str) -> None:
    """Check the words of a command line.

    Args:
        words: Words after the command's name.
        config_name: Name of the command.

    Raises:
        UsageError: A word is neither ``key=value`` nor an option of Hydra; the line says what to write.
    """
    position = 0
    while position < len(words):
        word = words[position]
        if word.startswith("-") and len(word) > 1:
            position += _check_option(words, position, config_name)
        else:
            _check_override(words, position, config_name)
        position += 1


def _check_option(words: Sequence[str], position: int, config_name: str) -> int:
    """Check an option, and return how many of the next words are its value."""
    word = words[position]
    following = words[position + 1] if position + 1 < len(words) else None
    name, has_value, value = word.partition("=")
    option = _SHORT.get(name, name)
    if option in ("-h", "--help"):
        topic = value if has_value else following if following is not None and _is_bare(following) else None
        if topic is not None and not is_topic(topic, config_name):
            close = difflib.get_close_matches(topic, list_all_keys(config_name), 1)
            meant = f"did you mean {option} {close[0]}?" if close else f"write {option}, or {option} all"
            raise UsageError(f"{option} {topic}: no group or key is called so: {meant}")
        return int(topic is not None and not has_value)
    if option in _ALONE:
        if has_value:
            raise UsageError(f"{word}: {name} takes no value; write {name} alone")
        return 0
    if option in _CHOICES:
        given = value if has_value else following
        if given in _CHOICES[option]:
            return 0 if has_value else 1
        is_alone = following is None or following.startswith("-") or "=" in following
        if option == "--info" and not has_value and is_alone:
            return 0
        choices = ", ".join(_CHOICES[option])
        hint = _suggest_key(name.lstrip("-"), following, config_name, may_guess=False)
        raise UsageError(f"{name} {given or ''}: {hint or f'one of {choices} is expected after it'}")
    if option in _WITH_VALUE:
        if not has_value and (following is None or following.startswith("-") or _OVERRIDE.match(following)):
            raise UsageError(f"{name}: a value is expected after it")
        return 0 if has_value else 1
    if name.lower().strip("-/") in _HELP:
        raise UsageError(f"{word}: write --help")
    advice = _suggest_key(name.lstrip("-"), value if has_value else following, config_name)
    raise UsageError(f"{name} is no option: {advice or 'keys are written as key=value, and --help lists them'}")


def _suggest_key(name: str, value: str | None, config_name: str, *, may_guess: bool = True) -> str | None:
    """Return what to write for an option of other programs, or None."""
    found = find_key_like(name, config_name, may_guess=may_guess)
    is_value = value is not None and not value.startswith("-") and not _OVERRIDE.match(value)
    return f"write {found}={value if is_value else '<value>'}" if found else None


def _check_override(words: Sequence[str], position: int, config_name: str) -> None:
    word = words[position]
    following = words[position + 1] if position + 1 < len(words) else None
    key, equals, value = word.partition("=")
    if not word.strip():
        raise UsageError("a word of the command line is empty: leave it out, or write key=value")
    if not equals and word.startswith("~"):
        return
    if not equals:
        raise UsageError(_advise_on_bare_word(words, position, config_name))
    if not key.strip().strip("+~"):
        raise UsageError(f"{word}: a key is missing in front of =; write key=value without spaces")
    if key != key.strip():
        raise UsageError(f"{word}: write {key.strip()}={value.strip()} without spaces")
    if value.startswith("="):
        raise UsageError(f"{word}: write {key}={value.lstrip('=')} with one =")
    if not value and following is not None and not following.startswith(("-", "~", "+")) and "=" not in following:
        raise UsageError(f"{word} {following}: write {word}{following} without a space")
    if key in PATH_KEYS and value in ("", "''", '""'):
        raise UsageError(f"{word} is empty: set {key}=<path>")


def _advise_on_bare_word(words: Sequence[str], position: int, config_name: str) -> str:
    """Return what to write for a word without ``=``."""
    word, *rest = words[position:]
    following = rest[0] if rest else ""
    key, colon, value = word.partition(":")
    if following.startswith("="):  # key = value, or key =value
        value = following.removeprefix("=") or (rest[1] if len(rest) > 1 else "<value>")
        return f"{' '.join(words[position : position + 2])}: write {word}={value} without spaces"
    if colon and re.fullmatch(r"[\w.@/]+", key):
        typed = word if value else f"{word} {following}".strip()
        return f"{typed}: write {key}={value.strip() or _choose_value(following)}"
    if word.lower() in _HELP:
        return f"{word}: write --help"
    is_key = is_group(word) or word in list_all_keys(config_name)
    if is_key and following in ("-h", "--help"):
        return f"{word} {following}: write --help {word}"
    if is_key:
        return f"{word}: write {word}={_choose_value(following)}"
    return f"{word} is no key=value: {_guess_assignments(words, word, config_name) or '--help lists the keys'}"


def _choose_value(following: str) -> str:
    return following if following and not following.startswith("-") and "=" not in following else "<value>"


def _guess_assignments(words: Sequence[str], word: str, config_name: str) -> str | None:
    """Return the keys that words without ``=`` are likely meant for: required ones in their order, or a group."""
    given = {other.partition("=")[0] for other in words}
    keys = read_command(config_name).keys
    required = [name for name, key in keys.items() if key.value == "???" and name not in given]
    if required:
        bare = [other for other in words if _is_bare(other)]
        return f"write {' '.join(f'{name}={value}' for name, value in zip(required, bare, strict=False))}"
    groups = [path.parent.name for path in find_conf_dir().glob("*/*.yaml") if path.stem == word]
    group = "experiment" if "experiment" in groups else min(groups, default=None)
    if group is None and "data.root" in list_all_keys(config_name) and Path(word).is_dir():
        group = "resume" if "resume" in keys and (Path(word) / "config.yaml").is_file() else "data.root"
    if group is None and "checkpoint" in keys and "checkpoint" not in given:
        group = "checkpoint"
    return f"write {group}={word}" if group else None


def find_help_topic(words: Sequence[str]) -> str | None:
    """Return the word that ``--help`` is followed by, of a command line whose words were checked, or None."""
    for position, word in enumerate(words):
        name, has_value, value = word.partition("=")
        if name in ("-h", "--help"):
            return value if has_value else next((w for w in words[position + 1 : position + 2] if _is_bare(w)), None)
    return None


def find_option(name: str, words: Sequence[str]) -> str | None:
    """Return the last value of an option such as ``--config-dir``, of a command line that was checked, or None."""
    found = None
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        option, has_value, value = word.partition("=")
        if option.startswith("-") and _SHORT.get(option, option) == name:
            found = value if has_value else following
    return found


def _is_bare(word: str) -> bool:
    return "=" not in word and not word.startswith(("-", "~"))


def iterate_overrides(words: Sequence[str]) -> Iterator[str]:
    """Yield the overrides of a command line whose words were checked, without options and their values."""
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("-"):
            yield word
        elif word in ("-h", "--help"):
            position += int(position + 1 < len(words) and _is_bare(words[position + 1]))
        elif "=" not in word and _SHORT.get(word, word) in (*_WITH_VALUE, *_CHOICES):
            following = words[position + 1 : position + 2]
            option = _SHORT.get(word, word)
            takes = option in _WITH_VALUE or (following and following[0] in _CHOICES.get(option, ()))
            position += 1 if takes else 0
        position += 1
