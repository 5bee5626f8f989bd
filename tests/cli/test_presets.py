"""A choice of the command line replaces that of an experiment, with the keys that the experiment sets for its own."""

import pytest

from pix2pix_lightning import compose
from pix2pix_lightning.cli.main import run_command

OVERFIT = {"max_pairs": 1, "jitter": False, "val_split": "train"}


@pytest.mark.parametrize(
    ("words", "node", "gone", "kept"),
    [
        ("schedule=cosine", "module.schedule", {"hold_epochs", "decay_epochs"}, {"warmup_epochs": 5}),
        ("experiment=builtin_facades generator=resnet_6", "module.generator", {"num_downs"}, {"base_channels": 16}),
        ("data=folder", "data", {"num_train", "num_val", "num_looks"}, {"size": 128, "batch_size": 2, "root": "x"}),
        ("data=folder debug=overfit", "data", {"num_train"}, {"size": 128} | OVERFIT),
        ("data=procedural", "data", set(), {"num_train": 4000, "num_looks": 1}),
    ],
)
def test_keys_that_the_new_choice_does_not_have_go(words, node, gone, kept):
    root = ["data.root=x"] if "folder" in words else []
    cfg = compose("train", ["experiment=quickstart", *words.split(), *root])
    for name in node.split("."):
        cfg = cfg[name]
    assert not gone & cfg.keys()
    assert {key: cfg[key] for key in kept} == kept


def test_no_schedule_is_null_and_given_keys_stay():
    cfg = compose("train", ["experiment=quickstart", "schedule=constant"])
    assert cfg.module.schedule is None
    assert cfg.about is None
    words = ["experiment=quickstart", "schedule=cosine", "module.schedule.hold_epochs=3"]
    assert compose("train", words).module.schedule.hold_epochs == 3  # which the class refuses
    cfg = compose("train", ["experiment=quickstart", "module.schedule.hold_epochs=3"])
    usual = compose("train", ["experiment=quickstart"])
    assert cfg.module.schedule == {**usual.module.schedule, "hold_epochs": 3}
    assert cfg.about == usual.about


def test_each_job_of_a_sweep_has_the_keys_of_its_choice():
    configs = []
    assert run_command("train", configs.append, ["-m", "experiment=quickstart", "schedule=linear_decay,constant"]) == 0
    usual = compose("train", ["experiment=quickstart"]).module.schedule
    assert [cfg.module.schedule for cfg in configs] == [usual, None]


def test_the_users_own_experiments_count(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nmodule:\n  generator: {num_downs: 3}\n  weights: {l1: 10.0}\n"
    (tmp_path / "experiment/mine.yaml").write_text(text)
    words = ["experiment=mine", "generator=resnet_9", "loss=cgan"]
    module = compose("train", words, config_dir=tmp_path).module
    assert "num_downs" not in module.generator
    assert module.weights == {"adversarial": 1.0, "feature_matching": 0.0}
