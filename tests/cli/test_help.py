"""The help of each command, compared with Hydra's composition and with the text of the files in ``conf/``."""

import math
import re
from functools import lru_cache

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning.__main__ import COMMANDS
from pix2pix_lightning.__main__ import main as program
from pix2pix_lightning.cli.choices import collect_comments, find_conf_dirs, list_all_keys, read_choices, read_command
from pix2pix_lightning.cli.conf import compose_files, find_conf_dir
from pix2pix_lightning.cli.conf_files import read_conf_file
from pix2pix_lightning.cli.help import format_help
from pix2pix_lightning.cli.help_layout import format_value
from pix2pix_lightning.cli.main import run_command

CONF = find_conf_dir()
GROUP_FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml") if path.parent != CONF)
GROUPED = ["train", "evaluate", "benchmark"]
ENTRY = re.compile(r" {2,4}([\w.@/]+)=(\S+)(?: +(.*))?$")


@lru_cache
def compose_once(name, *words):
    cfg, choices = compose_files(name, words)
    return OmegaConf.to_container(cfg, resolve=False), choices


def flatten(node, prefix=""):
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")


@lru_cache
def read_entries(name, topic=None, width=120):
    """The keys and choices of a page, in lines so wide that none is wrapped but for the longest ones."""
    found = [ENTRY.match(line) for line in format_help(name, topic, width=width).splitlines()]
    return [match.groups() for match in found if match]


def list_file_keys(path):
    """The dotted keys of a file as OmegaConf reads it."""
    package = re.match(r"# @package (\S+)\n", path.read_text())
    own = package[1].replace("_global_", "") if package else str(path.parent.relative_to(CONF)).replace("/", ".")
    content = OmegaConf.to_container(OmegaConf.load(path)) or {}
    prefix = f"{own}." if own not in ("", ".") else ""
    return {f"{prefix}{key}" for key, _ in flatten(content) if key.partition(".")[0] not in ("defaults", "hydra")}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_it_fits_on_a_screen(name, width):
    lines = format_help(name, width=width).splitlines()
    assert sum(max(1, math.ceil(len(line) / width)) for line in lines) < 60
    assert all(len(line) <= (120 if line.startswith("    python -m ") else width) for line in lines)
    commands = [line.split()[2] for line in lines if line.startswith("    python -m ")]
    assert set(commands) == {f"pix2pix_lightning.{name}"}
    assert len(commands) == 3


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_have_keys_and_choices_that_there_are(name):
    keys = set(list_all_keys(name))
    for command in read_conf_file(CONF / f"{name}.yaml").examples.values():
        first, *words = re.sub(r"<[\w ]+>", "mine", command).split()
        assert first == name
        for key, value in (word.split("=", 1) for word in words):
            assert key in keys
            assert not (CONF / key).is_dir() or (CONF / key / f"{value}.yaml").is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_defaults_are_those_of_the_composition(name):
    entries = read_entries(name)
    cfg, choices = compose_once(name)
    own = {"data.root": "data/pairs", "data.direction": "a_to_b"} if name == "train" else {}  # of data=folder
    values = dict(flatten(cfg))
    presets = [choice for choice in entries if choice[0] == "experiment"][1:]
    for key, value, text in [entry for entry in entries if entry not in presets]:
        assert text
        default = own.get(key) or format_value(choices[key] if key in choices and name != "evaluate" else values[key])
        if key == "data" and name == "evaluate":
            default = "null"
        assert value == default, key
    names = {key for key, _, _ in entries}
    assert {key for key, value in cfg.items() if not isinstance(value, dict)} <= names or name in ("train", "benchmark")


def test_references_and_environment_variables_are_readable(monkeypatch):
    monkeypatch.setenv("PIX2PIX_DATA_DIR", "/scratch")
    assert format_value("${oc.env:PIX2PIX_DATA_DIR,data}/pairs") == "/scratch/pairs"
    assert format_value("${oc.select:speed.num_workers,2}") == "<speed.num_workers>"
    assert format_value(["${run_dir}/a", None, True, {"a": 0.5}]) == "[<run_dir>/a,null,true,{a:0.5}]"


@pytest.mark.parametrize("name", GROUPED)
def test_all_keys_and_choices_are_in_the_whole_help(name):
    text = format_help(name, "all", width=120)
    assert max(map(len, text.splitlines())) <= 120
    entries = read_entries(name, "all", 1000)
    shown = {key: (value, text) for key, value, text in entries if text}
    nodes = set(re.findall(r"(?m)^  ([\w.]+) +\S", format_help(name, "all", width=1000)))
    cfg, choices = compose_once(name)
    whole = tuple(f"{key}." for key in shown)
    for key, value in flatten(cfg):
        if not key.startswith(whole):
            assert key in nodes if isinstance(value, dict) and key not in shown else key in shown, key
            assert (
                key not in shown
                or shown[key][0] == format_value(value)
                or shown[key][0].endswith(",...}")
                or key in choices
            )
    given = {(key, value): text for key, value, text in entries}
    for path in GROUP_FILES:
        group = str(path.parent)
        if group in choices:
            lines = (CONF / path).read_text().splitlines()
            comment = next(line for line in lines if not line.startswith("# @package"))
            assert given[group, path.stem] == comment.removeprefix("# ")


def test_every_key_of_every_file_is_read_and_explained():
    comments = {}
    for name in COMMANDS:
        command = read_command(name)
        files = {entry.group: read_choices(entry.group, find_conf_dirs()) for entry in command.defaults}
        comments |= collect_comments(command, files)
    unexplained = set()
    for path in sorted(CONF.rglob("*.yaml")):
        group = str(path.parent.relative_to(CONF)).replace(".", "")
        file = read_conf_file(path, group)
        listed = list_file_keys(path)
        whole = tuple(f"{key}." for key, found in file.keys.items() if not found.is_node)
        assert {key for key in listed if not key.startswith(whole)} == file.keys.keys(), path
        assert file.title, path
        for key in listed:
            key = key.replace("optimizer.network", "module.optimizer_g")
            nodes = [key.rsplit(".", depth)[0] for depth in range(key.count(".") + 1)]
            explained = any(node in comments for node in nodes) or any(name.startswith(f"{key}.") for name in comments)
            if not explained and not key.rpartition(".")[2].startswith("_") and not key.startswith("hydra."):
                unexplained.add(key)
    assert not unexplained


def test_values_and_choices_that_are_given(capsys):
    assert run_command("train", lambda cfg: pytest.fail("it ran"), ["experiment=quickstart", "seed=7", "--help"]) == 0
    out = capsys.readouterr().out
    cfg, choices = compose_once("train", "experiment=quickstart")
    assert re.search(rf"data\.size={cfg['data']['size']} ", out)
    assert re.search(rf"generator={choices['generator']} ", out)
    assert "seed=7 " in out
    assert run_command("train", print, ["-h", "all", "generator=resnet_9", "loss=l1,l2"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"module\.generator\.num_blocks=9 +\w", out)
    assert re.search(r"module\.schedule\.hold_epochs=100 +\w", out)
    assert run_command("train", print, ["-h", "callbacks=[default,ema]", "ingredient=[hinge,ema]"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"callbacks=\[default,ema\] +\w", out)
    assert re.search(r"ingredient=\[hinge,ema\] +\w", out)
    assert run_command("train", print, ["data.sise=3", "--help"]) == 1
    assert "data.size" in capsys.readouterr().err


def test_one_group_or_one_key(capsys):
    assert run_command("train", print, ["--help", "adversarial"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [match[2] for line in lines if (match := ENTRY.match(line)) and match[1] == "adversarial"]
    assert set(names) == {path.stem for path in (CONF / "adversarial").iterdir()}
    assert run_command("predict", print, ["--help=tile"]) == 0
    assert [line.split("=")[0].strip() for line in capsys.readouterr().out.splitlines() if "=" in line] == ["tile"]


def test_keys_of_the_users_own_files(tmp_path, capsys):
    (tmp_path / "generator").mkdir()
    (tmp_path / "generator/mine.yaml").write_text(
        "# @package module.generator\n# a network of mine\n_target_: mine.Net\nwidth: 3 # of its layers\n"
    )
    (tmp_path / "generator/broken.yaml").write_text("# broken\na: [\n")
    words = ["--config-dir", str(tmp_path), "generator=mine", "--help", "generator"]
    assert run_command("train", print, words) == 0
    out = capsys.readouterr().out
    assert re.search(r"generator=mine +a network of mine\n", out)
    assert re.search(r"module\.generator\.width=3 +of its layers\n", out)


def test_a_list_of_commands_and_the_help_of_one(capsys):
    assert program([]) == program(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        title = (CONF / f"{name}.yaml").read_text().splitlines()[0].removeprefix("# ")
        assert any(line.split(maxsplit=1) == [name, title] for line in lines)
    assert program(["help", "report"]) == 0
    assert "runs=<required>" in capsys.readouterr().out
