"""Check the words of a command line before Hydra reads them: ``key=value``, and Hydra's own options."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from pix2pix_lightning.cli.conf import PATH_KEYS, compose_files, find_conf_dir, is_group, list_keys
from pix2pix_lightning.utils.errors import UserError

_ALONE = ("-h", "--help", "--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun")
_ALONE_TOO = ("-sc", "--shell-completion")
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
        following = words[position + 1] if position + 1 < len(words) else None
        if word.startswith("-") and len(word) > 1:
            position += _check_option(word, following, config_name)
        else:
            _check_override(word, following, config_name, [other.partition("=")[0] for other in words])
        position += 1


def _check_option(word: str, following: str | None, config_name: str) -> int:
    """Check an option, and return how many of the next words are its value."""
    name, has_value, value = word.partition("=")
    option = _SHORT.get(name, name)
    if option in (*_ALONE, *_ALONE_TOO):
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
        hint = _suggest_key(name.lstrip("-"), following, config_name, may_guess=False)
        choices = ", ".join(_CHOICES[option])
        raise UsageError(f"{name} {given or ''}: one of {choices} is expected after it{f'; {hint}' if hint else ''}")
    if option in _WITH_VALUE:
        if not has_value and (following is None or following.startswith("-") or _OVERRIDE.match(following)):
            raise UsageError(f"{name}: a value is expected after it")
        return 0 if has_value else 1
    hint = _suggest_key(name.lstrip("-"), value if has_value else following, config_name)
    raise UsageError(f"{name} is no option: {hint or 'keys are written as key=value, and --help lists them'}")


def _suggest_key(name: str, value: str | None, config_name: str, *, may_guess: bool = True) -> str | None:
    """Return what to write for an option of other programs, or None."""
    keys = list(list_keys(compose_files(config_name)[0]))
    key = name.replace("-", "_")
    leaves = {known.rpartition(".")[2]: known for known in reversed(keys)}
    if key in keys:
        found = key
    elif key in leaves:
        found = leaves[key]
    elif key.replace("_", ".", 1) in (*keys, *PATH_KEYS):
        found = key.replace("_", ".", 1)
    elif len(key) == 1:
        found = next((known for known in keys if known[0] == key and "." not in known), "")
    else:
        close = difflib.get_close_matches(key, leaves, 1, cutoff=0.75) if may_guess else []
        found = leaves[close[0]] if close else ""
    is_value = value is not None and not value.startswith("-") and not _OVERRIDE.match(value)
    return f"write {found}={value if is_value else '<value>'}" if found else None


def _check_override(word: str, following: str | None, config_name: str, given: Sequence[str]) -> None:
    key, equals, value = word.partition("=")
    if not equals and word.startswith("~"):
        return
    if not equals:
        raise UsageError(_advise_on_bare_word(word, following, config_name, given))
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


def _advise_on_bare_word(word: str, following: str | None, config_name: str, given: Sequence[str]) -> str:
    if following is not None and following.startswith("="):
        rest = following if len(following) > 1 else "=<value>"
        return f"{word} {following}: write {word}{rest} without spaces"
    key, colon, value = word.partition(":")
    if colon and re.fullmatch(r"[\w.@/]+", key):
        return f"{word}: write {key}={value}"
    from omegaconf import OmegaConf

    cfg = compose_files(config_name)[0]
    if is_group(word) or word in set(list_keys(cfg)):
        is_value = following is not None and not following.startswith("-") and "=" not in following
        return f"{word}: write {word}={following if is_value else '<value>'}"
    required = [str(name) for name in cfg if OmegaConf.is_missing(cfg, name) and name not in given]
    groups = [path.parent.name for path in find_conf_dir().glob("*/*.yaml") if path.stem == word]
    meant = [*required, *(name for name in ("experiment", *sorted(groups)) if name in groups)]
    advice = f"write {meant[0]}={word}" if meant else "--help lists the keys"
    return f"{word} is no key=value: {advice}"


def iterate_overrides(words: Sequence[str]) -> Iterator[str]:
    """Yield the overrides of a command line whose words were checked, without options and their values."""
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("-"):
            yield word
        elif "=" not in word and _SHORT.get(word, word) in (*_WITH_VALUE, *_CHOICES):
            following = words[position + 1 : position + 2]
            option = _SHORT.get(word, word)
            takes = option in _WITH_VALUE or (following and following[0] in _CHOICES.get(option, ()))
            position += 1 if takes else 0
        position += 1
