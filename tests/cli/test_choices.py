"""A key that only one choice of a group has chooses it, on the command line, in a sweep and from Python."""

import shlex

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.cli.choices import choose_by_keys, find_choices_with
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ("data.root=pairs", {"data=folder": "data.root"}),
        ("seed=1 data.val_split=test data.root=pairs", {"data=folder": "data.val_split"}),
        ("data.root=pairs debug=overfit", {"data=folder": "data.root"}),
        ("data.b.alpha=error data.b.kind=label", {"data=folder": "data.b.alpha"}),
        ("module.discriminator.num_scales=2", {"discriminator=multi_scale": "module.discriminator.num_scales"}),
        ("module.schedule.hold_epochs=3", {"schedule=linear_decay": "module.schedule.hold_epochs"}),
        ("module.schedule.total_epochs=3", {"schedule=cosine": "module.schedule.total_epochs"}),
        ("trainer.strategy.bucket_mb=3", {"trainer=ddp": "trainer.strategy.bucket_mb"}),
        (
            "callbacks.ema.decay=0.9 callbacks.early_stopping.patience=3",
            {"callbacks=[default,ema,early_stopping]": "callbacks.ema.decay"},
        ),
        ("logger.wandb.offline=true", {"logger=[csv,wandb]": "logger.wandb.offline"}),
        # nothing is missing, nothing is sure, or the user has chosen
        ("data.size=64 data.a.kind=label module.generator.num_downs=3 trainer.devices=2", {}),
        ("data=procedural data.root=pairs", {}),
        ("experiment=facades data.root=pairs", {}),
        ("debug=overfit data.val_split=val", {}),
        ("experiment='facades' data.root=pairs", {}),
        ("experiment=facades,maps data.size=64 ++data.root=pairs", {}),
        ("module.generator.num_blocks=3", {}),
        ("module.weights.l2=3", {}),
        ("+data.val_split=train", {}),
        ("data.nothing=1 nothing=2", {}),
        ("ingredient=ema callbacks.ema.decay=0.9", {}),
        ("ingredient=[two_rates,multi_scale] module.discriminator.num_scales=2", {}),
        ("recipe=modern callbacks.ema.decay=0.9", {}),
        ("experiment=facades,maps ingredient=[ema,two_rates] callbacks.ema.decay=0.9", {}),
    ],
)
def test_what_keys_ask_for(words, chosen):
    assert choose_by_keys(words.split(), "train") == chosen


@pytest.mark.parametrize(
    "words",
    [
        "experiment=quickstart data.root=pairs",
        "sweep=receptive_field module.discriminator.num_scales=2",
    ],
)
def test_a_preset_that_chose_otherwise_is_named(words):
    preset, key = words.partition("=2")[0].split()
    with pytest.raises(UserError, match=f"{key.partition('=')[0]}.*{preset}"):
        choose_by_keys(words.split(), "train")


def test_several_presets_take_a_key_that_is_added(capsys):
    """A choice in their place would be one for all, with the direction of none of them."""
    configs = []
    words = ["-m", "experiment=facades,maps", "data.root=x"]
    assert run_command("train", configs.append, words) == 1
    assert "++data.root=" in capsys.readouterr().err
    assert run_command("train", configs.append, [*words[:2], "++data.root=x"]) == 0
    assert [(cfg.data.root, cfg.data.direction) for cfg in configs] == [("x", "b_to_a"), ("x", "a_to_b")]


def test_the_users_own_files_count(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\ndefaults:\n  - override /data: folder\n")
    assert choose_by_keys(["experiment=mine", "data.root=pairs"], "train", tmp_path) == {}
    assert choose_by_keys(["data.root=pairs"], "train", tmp_path) == {"data=folder": "data.root"}
    (tmp_path / "experiment/longer.yaml").write_text("# @package _global_\ndefaults: [facades, _self_]\n")
    assert choose_by_keys(["experiment=longer", "data.root=pairs"], "train", tmp_path) == {}


def test_commands_of_other_groups_choose_nothing():
    assert choose_by_keys(["checkpoint=run", "data.root=pairs", "data.seed=1"], "evaluate") == {}
    assert choose_by_keys(["pair.size=256"], "predict") == {}


def test_the_command_line_and_python_give_the_same(capsys, tmp_path):
    configs = []
    assert run_command("train", configs.append, ["data.root=my pairs", "seed=3"]) == 0
    assert "data=folder" in capsys.readouterr().err
    (cfg,) = configs
    assert cfg.data._target_ == "pix2pix_lightning.data.PairedDataModule"
    assert cfg.data.root == "my pairs"
    assert cfg == compose("train", ["data.root=my pairs", "seed=3"])
    again = shlex.split(cfg.command)[3:]
    assert again == ["data=folder", "data.root=my pairs", "seed=3"]
    # single keys of a run that is resumed are those of the run
    OmegaConf.save(cfg, tmp_path / "config.yaml", resolve=True)
    assert run_command("train", configs.append, [f"resume={tmp_path}", "data.root=others"]) == 0
    assert "chosen" not in capsys.readouterr().err
    assert configs[-1].data.root == "others"


def test_the_jobs_of_a_sweep_have_it_too(capsys):
    configs = []
    assert run_command("train", configs.append, ["-m", "data.root=a,b", "seed=3"]) == 0
    assert capsys.readouterr().err.count("data=folder") == 1
    assert [cfg.data.root for cfg in configs] == ["a", "b"]
    assert {cfg.run_dir for cfg in configs} == {f"runs/default/sweep_root/data.root-{root}" for root in "ab"}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["data=procedural", "data.root=x"], ["data.root", "data=folder"]),
        (["module.generator.num_blocks=9"], ["generator=resnet_6 or resnet_9"]),
        (["schedule=constant", "module.schedule.hold_epochs=9"], ["schedule=linear_decay"]),
        (["callbacks.overfit.below=0.1"], ["debug=overfit"]),
        (["data=folder", "data.num_looks=2"], ["data=procedural"]),
    ],
)
def test_a_key_of_what_is_not_chosen_names_the_choices(words, names):
    with pytest.raises(HydraException) as caught:
        compose("train", words)
    line = format_error(caught.value, "train")
    assert "\n" not in line
    assert all(name in line for name in names)


def test_choices_with_a_key():
    assert find_choices_with("data.root", "train") == ("data", ["folder"])  # others are built on it
    assert find_choices_with("data.rot", "train") is None
