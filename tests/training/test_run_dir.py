"""Which folder a run gets, and which it never takes."""

from datetime import datetime
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning.training import run_dir
from pix2pix_lightning.training.run_dir import remove_if_empty, resolve_run_dir
from pix2pix_lightning.utils.errors import UserError
from tiny_training import configure

AUTO = ["run_dir=run", "resume=auto"]


def leave(*names, cfg=None):
    """The folder ``run`` with these files, and the config.yaml of a configuration."""
    for name in names:
        Path("run", name).parent.mkdir(parents=True, exist_ok=True)
        Path("run", name).touch()
    if cfg is not None:
        write_config(cfg, Path("run"))


def write_config(cfg, folder):
    """As a run writes it, with references to its folder."""
    text = OmegaConf.to_yaml(OmegaConf.merge(cfg, {"run_dir": "PLACE"}), resolve=True)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(
        text.replace("run_dir: PLACE\n", "run_dir: x\n", 1).replace("PLACE", "${run_dir}")
    )


@pytest.mark.parametrize(
    "names", [[], [".lock"], [".lock", "config.yaml.part"], [".lock", ".config.yaml.3f2a.part", "train.log"]]
)
def test_a_folder_without_config_yaml_is_used_again(names):
    Path("run").mkdir()
    leave(*names)
    run = resolve_run_dir(configure(*AUTO))
    assert (run.folder, run.checkpoint, run.created) == (Path("run"), None, ())


@pytest.mark.parametrize("names", [["photo.jpg"], [".lock", "notes.txt"], ["wandb/run.txt"], [".lock", "a.part"]])
def test_a_folder_with_files_of_others_is_never_taken(names):
    leave(*names)
    with pytest.raises(FileExistsError, match="run_dir=run"):
        resolve_run_dir(configure(*AUTO))


def test_a_run_that_has_trained_nothing_may_be_started_with_other_settings():
    leave(".lock", "train.log", "tensorboard/events", cfg=configure("data.size=32"))
    assert resolve_run_dir(configure(*AUTO)).created == ()
    with pytest.raises(FileExistsError, match="resume=auto"):
        resolve_run_dir(configure("run_dir=run"))


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again_with_its_data_alone():
    leave("metrics.csv", cfg=configure())
    assert resolve_run_dir(configure(*AUTO, "trainer.max_epochs=7")).folder == Path("run")
    with pytest.raises(UserError, match=r"data\.size=16"):
        resolve_run_dir(configure(*AUTO, "data.size=32"))


def test_a_finished_run_without_a_checkpoint_is_not_trained_over():
    leave("summary.json", "metrics.csv", cfg=configure())
    assert resolve_run_dir(configure(*AUTO)).folder == Path("run")  # where it is found to be finished
    with pytest.raises(FileExistsError):
        resolve_run_dir(configure(*AUTO, "trainer.max_epochs=7"))


def test_a_finished_run_of_the_same_second_is_another_run(monkeypatch):
    class Noon(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 12, 0, 0)

    monkeypatch.setattr(run_dir, "datetime", Noon)
    cfg = configure("name=same", "resume=auto")
    first = resolve_run_dir(cfg.copy()).folder
    write_config(cfg, first)
    (first / "summary.json").touch()
    assert resolve_run_dir(cfg.copy()).folder != first


def test_only_folders_that_were_made_are_removed():
    Path("run").mkdir()
    for words in (["run_dir=new/one"], AUTO):
        run = resolve_run_dir(configure(*words))
        (run.folder / ".lock").touch()
        with pytest.raises(KeyboardInterrupt), remove_if_empty(run):
            raise KeyboardInterrupt
    assert Path("run/.lock").exists()
    assert not Path("new").exists()
