"""The command prepare, and the guide that documents the same flags."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.junyanz.options import OLD_NAMES
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.prepare import __main__ as prepare
from pix2pix_lightning.prepare.junyanz_options import DEFAULTS

GUIDE = Path(__file__).parents[2] / "docs/from_junyanz.md"
OPTIONS = """----------------- Options ---------------
                 dataroot: ./my pairs                    \t[default: None]
                direction: BtoA                          \t[default: AtoB]
               display_id: -1                            \t[default: 1]
                    model: pix2pix                       \t[default: cycle_gan]
                     name: facades_pix2pix               \t[default: experiment_name]
                  n_epochs: 150
----------------- End -------------------
"""


def test_command_and_notes_are_printed(tmp_path, capsys):
    (tmp_path / "train_opt.txt").write_text(OPTIONS)
    assert prepare.main(["task=from_junyanz", "input=train_opt.txt"]) == 0
    printed = capsys.readouterr()
    command, *notes = printed.out.splitlines()
    assert command.startswith("python -m pix2pix_lightning.train data=folder ")
    assert "data.direction=b_to_a" in command.split()
    assert "trainer.max_epochs=250" in command.split()
    assert all(note.startswith("# ") for note in notes)
    assert any("display_id=-1" in note for note in notes)
    assert printed.err == ""


def test_user_error_is_one_line(tmp_path, capsys):
    (tmp_path / "letter.txt").write_bytes(b"\xff\xfeDear\x00")
    assert prepare.main(["task=from_junyanz", "input=letter.txt"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "input=letter.txt" in printed.err


@pytest.mark.parametrize(
    ("task", "path", "error"),
    [("from_junyan", "a.txt", ValueError), ("from_junyanz", ".", ValueError), ("from_junyanz", "a.txt", OSError)],
)
def test_unknown_tasks_and_missing_files_are_refused(task, path, error):
    with pytest.raises(error):
        prepare.prepare(OmegaConf.create({"task": task, "input": path}))


def read_guide():
    """Yield the rows of the guide's table of flags: names, default, equivalent."""
    text = GUIDE.read_text().partition("| flag, older names |")[2].partition("\n\n")[0]
    for line in text.splitlines()[2:]:
        names, default, here = (cell.strip() for cell in line.strip("|").split("|"))
        yield re.findall("`([^`]+)`", names), default.strip("`"), here


def test_guide_has_all_flags_with_their_defaults():
    table = list(read_guide())
    assert {names[0]: default for names, default, _ in table} == DEFAULTS
    assert {old: names[0] for names, _, _ in table for old in names[1:]} == OLD_NAMES
    assert all(len(here) > 5 for _, _, here in table)


def test_keys_in_the_guide_exist():
    groups = ["data=folder", "schedule=linear_decay", "logger=[csv,wandb]", "adversarial=wgan_gp"]
    cfg = compose("train", groups)
    named = {key for _, _, here in read_guide() for key in re.findall(r"`([\w.]+=[^` ]*)`", here)}
    assert len(named) > 40
    values = []
    for assignment in sorted(named):
        key, _, value = assignment.partition("=")
        folder = find_conf_dir() / key
        if folder.is_dir():
            for choice in value.strip("[]").split(","):
                assert (folder / f"{choice}.yaml").is_file(), assignment
            continue
        node, _, leaf = key.rpartition(".")
        parent = OmegaConf.select(cfg, node) if node else cfg
        assert parent is not None, assignment
        assert leaf in parent, assignment
        if value and "<" not in value:
            values.append(assignment)
    assert compose("train", [*groups, *values])
