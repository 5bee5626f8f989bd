"""Which checkpoint a run continues from, and whether a finished run has anything left to do."""

import errno
import json
import logging
import math
import os
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import tiny_training
from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import write_checkpoint
from pix2pix_lightning.cli.resume import load_resumed_config
from pix2pix_lightning.training import resuming
from pix2pix_lightning.training.resume_checks import check_resumable_config, configs_match
from pix2pix_lightning.training.resuming import find_resumed_checkpoint, read_finished_metrics
from pix2pix_lightning.training.side_choice import restore_saved_sides, restore_sides
from pix2pix_lightning.utils.errors import UserError


@pytest.mark.parametrize(
    ("before", "asked", "is_finished"),
    [(2, 2, True), (3, 2, True), (2, 3, False), (None, None, True), (None, 2, True), (2, None, False), (2, -1, False)],
)
def test_more_epochs_or_an_open_number_of_them_continue(tmp_path, before, asked, is_finished):
    saved, cfg = (
        {"trainer": {"max_epochs": epochs, "precision": "32-true"}, "data": {}, "module": {}}
        for epochs in (before, asked)
    )
    OmegaConf.save(OmegaConf.create(saved), tmp_path / "config.yaml")
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {"val/l1": 0.5}}))
    expected = {"val/l1": 0.5} if is_finished else None
    assert read_finished_metrics(OmegaConf.create(cfg), tmp_path) == expected


# ---- the newest sound checkpoint -----------------------------------------------------------------------------------

CONFIG = {"trainer": {"max_epochs": 4, "precision": "32-true"}, "data": {"root": "d"}, "module": {}, "name": "run"}


def configure(**values):
    return OmegaConf.create({**CONFIG, "run_dir": None, "resume": "auto", **values})


def write_run(folder, *, first=0.0, **batches_seen):
    """A run's folder with checkpoints by their names, each of so many batches; ``first`` is a weight."""
    folder = Path(folder)
    for name, batches in batches_seen.items():
        own = {"module": "pix2pix_lightning.models.pix2pix.Pix2PixModule", "live": [], "batches_seen": batches}
        state = {"a": torch.arange(300.0), "b": torch.tensor([first, 1.0])}
        data = {"hyper_parameters": {}, "state_dict": state, "pix2pix_lightning": own}
        write_checkpoint(data, folder / f"checkpoints/{name}.ckpt")
    OmegaConf.save(OmegaConf.create({**CONFIG, "run_dir": str(folder)}), folder / "config.yaml")
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(300.0).numpy().tobytes()) + 50] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:900]),
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("not found"),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_sound_checkpoint_is_taken(damage, caplog):
    run = write_run("run", last=40, best=10, epoch_2=20)
    assert find_resumed_checkpoint(configure(run_dir="run")) == run / "checkpoints/last.ckpt"
    assert not caplog.records
    DAMAGES[damage](run / "checkpoints/last.ckpt")
    for cfg in (configure(run_dir="run"), configure(resume="run")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert find_resumed_checkpoint(cfg) == run / "checkpoints/epoch_2.ckpt"
        (record,) = caplog.records
        assert "last.ckpt" in record.getMessage()
    flip(run / "checkpoints/epoch_2.ckpt")
    assert find_resumed_checkpoint(configure(run_dir="run")) == run / "checkpoints/best.ckpt"
    assert "epoch_2.ckpt" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_checkpoint_that_is_not_finite_is_passed_over(value, caplog):
    run = write_run("run", best=10)
    write_run(run, first=value, last=40, epoch_2=20)
    assert find_resumed_checkpoint(configure(run_dir="run")) == run / "checkpoints/best.ckpt"
    assert str(run / "checkpoints/last.ckpt") in caplog.text
    write_run(run, first=value, best=10)
    if math.isinf(value):  # a constant, as far as can be seen
        assert find_resumed_checkpoint(configure(run_dir="run")) == run / "checkpoints/last.ckpt"
    else:
        with pytest.raises(UserError, match=r"last\.ckpt"):
            find_resumed_checkpoint(configure(run_dir="run"))


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "a text"])
def test_a_run_without_a_sound_checkpoint_is_an_error(damage):
    run = write_run("run", last=40, best=10)
    for name in ("last", "best"):
        DAMAGES[damage](run / f"checkpoints/{name}.ckpt")
    for cfg in (configure(run_dir="run"), configure(resume="run"), configure(resume="run/checkpoints/last.ckpt")):
        with pytest.raises(UserError, match=r"last\.ckpt") as error:
            find_resumed_checkpoint(cfg)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("number", "is_passed_over"), [(errno.EACCES, False), (errno.ESTALE, False), (errno.EIO, True)]
)
def test_only_a_checkpoint_that_is_damaged_is_passed_over(number, is_passed_over, monkeypatch):
    """Going on from an older one replaces the newest, which may be sound where it cannot be read now."""
    run = write_run("run", last=40, best=10, other=20)

    def fail(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(
        resuming, "read_checkpoint", lambda path: fail(path) if path.name == "last.ckpt" else {"state_dict": {}}
    )
    monkeypatch.setattr(resuming, "read_batches_seen", lambda path: fail(path) if path.name == "other.ckpt" else 10)
    if is_passed_over:
        assert find_resumed_checkpoint(configure(run_dir="run")) == run / "checkpoints/best.ckpt"
    else:
        with pytest.raises(OSError, match=r"last\.ckpt"):
            find_resumed_checkpoint(configure(run_dir="run"))


def test_of_several_runs_the_latest_with_a_sound_checkpoint_is_taken(caplog):
    older, newer = write_run("runs/run/1", last=40), write_run("runs/run/2", last=5)
    os.utime(older / "checkpoints/last.ckpt", (1, 1))
    assert find_resumed_checkpoint(configure()) == newer / "checkpoints/last.ckpt"
    flip(newer / "checkpoints/last.ckpt")
    assert find_resumed_checkpoint(configure()) == older / "checkpoints/last.ckpt"
    assert str(newer) in caplog.text
    flip(older / "checkpoints/last.ckpt")
    with pytest.raises(UserError, match=r"checkpoints/last\.ckpt"):
        find_resumed_checkpoint(configure())


def test_a_finished_run_is_found_whatever_its_checkpoint():
    run = write_run("run", last=40)
    (run / "summary.json").write_text(json.dumps({"metrics": {}}))
    DAMAGES["empty"](run / "checkpoints/last.ckpt")
    assert find_resumed_checkpoint(configure(run_dir="run")) == run / "checkpoints/last.ckpt"
    with pytest.raises(UserError):
        find_resumed_checkpoint(configure(run_dir="run", trainer={**CONFIG["trainer"], "max_epochs": 5}))


def test_how_often_a_run_is_saved_does_not_make_it_another():
    run = write_run("runs/run/1", last=40)
    assert find_resumed_checkpoint(configure(saving={"every_minutes": 3})) == run / "checkpoints/last.ckpt"


def test_a_run_of_an_earlier_version_is_the_same_without_the_keys_that_were_added_since(tmp_path):
    cfg = tiny_training.configure("data.root=pairs", f"run_dir={tmp_path}", "resume=auto")
    before = OmegaConf.to_container(OmegaConf.merge(cfg, {"run_dir": "HERE"}), resolve=True)
    del before["saving"], before["callbacks"]["watch"], before["callbacks"]["warn"]
    for key in ("check", "layout", "on_error", "archive"):
        before["data"].pop(key, None)
    for side in ("a", "b"):
        del before["data"][side]["alpha"], before["data"][side]["background"]
    saved = tmp_path / "config.yaml"
    before["run_dir"] = str(tmp_path)
    saved.write_text(OmegaConf.to_yaml(OmegaConf.create(before)).replace("HERE", "${run_dir}"))
    assert configs_match(saved, cfg)
    check_resumable_config(saved, cfg)
    cfg.data.layout = "strip"
    assert not configs_match(saved, cfg)
    with pytest.raises(UserError, match=r"data\.layout"):
        check_resumable_config(saved, cfg)


@pytest.mark.parametrize(
    ("given", "known", "is_kept"),
    [
        ("[[p1,p99]]", [[0, 2], [0, 3]], True),
        ("[p1,p99]", [0, 2], True),
        ("[[p1,p99],[0,3]]", [[0, 2], [0, 3]], True),
        ("[[p1,p99]]", [0, 2], False),
        ("[p1,p99]", [[0, 2], [0, 3]], False),
        ("auto", [[0, 2], [0, 3]], False),
        ("[[p1,p99],[0,4]]", [[0, 2], [0, 3]], False),
        ("[[p1,p99],[0,3],[0,3]]", [[0, 2], [0, 3]], False),
    ],
)
def test_a_range_that_cannot_be_that_of_the_run_is_not_taken_for_it(tmp_path, caplog, given, known, is_kept):
    words = ["data.root=pairs", f"run_dir={tmp_path}", "data.a.kind=raw", f"data.a.value_range={given}"]
    cfg = tiny_training.configure(*words)
    before = cfg.copy()
    before.data.a.value_range = known
    assert restore_sides(cfg, before).data.a.value_range == (known if is_kept else cfg.data.a.value_range)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(before, resolve=True))
    with caplog.at_level("INFO"):
        restore_saved_sides(cfg, tmp_path / "config.yaml")
    assert bool(caplog.records) == is_kept


def test_minutes_are_changed_to_a_fraction_also_where_the_run_has_a_whole_number(tmp_path):
    words = ["data.size=32", "trainer=cpu"]
    cfg = compose("train", [*words, "data=procedural", "saving.every_minutes=3"])
    cfg.run_dir = str(tmp_path)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    resumed = load_resumed_config([f"resume={tmp_path}", "saving.every_minutes=0.5"])
    assert resumed.saving.every_minutes == 0.5
    assert load_resumed_config([f"resume={tmp_path}", "saving.every_minutes=null"]).saving.every_minutes is None
    with pytest.raises(UserError, match=r"saving\.every_minutes"):
        load_resumed_config([f"resume={tmp_path}", "saving.every_minutes=often"])
    assert isinstance(compose("train", words).saving.every_minutes, float)  # so that a command takes a fraction


@pytest.mark.parametrize("name", ["data", "module", "trainer"])
def test_a_part_of_a_run_that_is_no_mapping_is_damage(tmp_path, name):
    saved = tmp_path / "config.yaml"
    saved.write_text(json.dumps({**OmegaConf.to_container(configure()), name: []}))
    assert not configs_match(saved, configure())
    with pytest.raises(UserError, match=name):
        check_resumable_config(saved, configure())
