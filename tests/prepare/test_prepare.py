"""The door prepare, and the guide that says the same as it."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.cli.conf import conf_dir
from pix2pix_lightning.prepare import __main__ as prepare
from pix2pix_lightning.prepare.junyanz_options import DEFAULTS, OLD_NAMES

GUIDE = Path(__file__).parents[1] / "docs/from_junyanz.md"
OPTIONS = """----------------- Options ---------------
                 dataroot: ./my pairs                    \t[default: None]
                direction: BtoA                          \t[default: AtoB]
               display_id: -1                            \t[default: 1]
                    model: pix2pix                       \t[default: cycle_gan]
                     name: facades_pix2pix               \t[default: experiment_name]
                  n_epochs: {n_epochs}
----------------- End -------------------
"""


def test_the_command_and_what_it_leaves_out(tmp_path, capsys):
    (tmp_path / "train_opt.txt").write_text(OPTIONS.format(n_epochs=150))
    assert prepare.main(["task=from_junyanz", "input=train_opt.txt"]) == 0
    printed = capsys.readouterr()
    command, *notes = printed.out.splitlines()
    assert command.startswith("python -m pix2pix_lightning.train data=folder ")
    assert "data.direction=b_to_a" in command.split()
    assert "trainer.max_epochs=250" in command.split()
    assert all(note.startswith("# ") for note in notes)
    assert any("display_id=-1" in note for note in notes)
    assert printed.err == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["input=a.txt"], "task is not given"),
        (["task=from_junyanz"], "input is not given"),
        (["task=from_junyan", "input=a.txt"], "task=from_junyan is unknown: one of from_junyanz"),
        (["task=from_junyanz", "input=none.txt"], "none.txt: No such file"),
        (["task=from_junyanz", "input=."], "input=. is a folder: give the train_opt.txt"),
        (["task=from_junyanz", "input=a.txt"], "n_epochs=soon: a whole number is expected"),
        (["task=from_junyanz", "input=letter.txt"], "input=letter.txt says no model"),
        (["task=from_junyanz", "input=a.txt", "output=b"], "output"),
    ],
)
def test_mistakes_get_one_line(tmp_path, capsys, words, says):
    (tmp_path / "a.txt").write_text(OPTIONS.format(n_epochs="soon"))
    (tmp_path / "letter.txt").write_bytes(b"\xff\xfeDear\x00")
    assert prepare.main(words) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err
    assert printed.out == ""


def rows():
    """The guide's table of flags: names, default, what is here."""
    text = GUIDE.read_text().partition("| flag, older names |")[2].partition("\n\n")[0]
    for line in text.splitlines()[2:]:
        names, default, here = (cell.strip() for cell in line.strip("|").split("|"))
        yield re.findall("`([^`]+)`", names), default.strip("`"), here


def test_the_guide_has_the_flags_that_are_known_and_their_defaults():
    table = list(rows())
    assert {names[0]: default for names, default, _ in table} == DEFAULTS
    assert {old: names[0] for names, _, _ in table for old in names[1:]} == OLD_NAMES
    assert all(len(here) > 5 for _, _, here in table)


def test_the_keys_that_the_guide_names_exist():
    groups = ["data=folder", "schedule=linear_decay", "logger=[csv,wandb]", "adversarial=wgan_gp"]
    cfg = compose("train", groups)
    named = {key for _, _, here in rows() for key in re.findall(r"`([\w.]+=[^` ]*)`", here)}
    assert len(named) > 40
    values = []
    for word in sorted(named):
        key, _, value = word.partition("=")
        folder = conf_dir() / key
        if folder.is_dir():
            for choice in value.strip("[]").split(","):
                assert (folder / f"{choice}.yaml").is_file(), word
            continue
        node, _, leaf = key.rpartition(".")
        parent = OmegaConf.select(cfg, node) if node else cfg
        assert parent is not None, word
        assert leaf in parent, word
        if value and "<" not in value:
            values.append(word)
    assert compose("train", [*groups, *values])
