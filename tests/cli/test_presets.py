"""A choice of the command line replaces that of an experiment, with the keys that the experiment sets for its own."""

import pytest

from pix2pix_lightning import compose
from pix2pix_lightning.cli.choices import complete_choices, find_conf_dirs, list_choices, read_choice
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError

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


FOLDERS = find_conf_dirs()
EXPERIMENTS, INGREDIENTS = (list_choices(group, FOLDERS) for group in ("experiment", "ingredient"))
APART = ("projected", "oasis", "high_rate")  # other networks, and another rate than that of two_rates
TOGETHER = [name for name in INGREDIENTS if name not in APART]


def test_the_recipe_of_the_paper_changes_nothing():
    for group, name in (("recipe", "paper"), ("ingredient", "none")):
        file = read_choice(group, name, FOLDERS)
        assert not file.keys
        assert not file.defaults
    one, other = (compose("train", words) for words in ([], ["recipe=paper", "ingredient=none"]))
    one.command = other.command = None
    assert one == other


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name != "facades_segmenter"])  # has no D
def test_recipe_and_ingredients_go_with_each_experiment(experiment):
    words = [f"experiment={experiment}", "recipe=modern", f"ingredient=[{','.join(TOGETHER)}]"]
    usual, cfg = compose("train", words[:1]), compose("train", words)
    assert (cfg.data, cfg.trainer, cfg.name) == (usual.data, usual.trainer, usual.name)
    check_modern(usual, cfg, {"norm": "instance", "noise_channels": 8}, feature_matching=10.0, mode_seeking=1.0)
    assert (cfg.module.optimizer_g.lr, cfg.module.optimizer_d.lr) == (1e-4, 4e-4)
    assert cfg.module.discriminator._target_.endswith(".MultiScaleDiscriminator")
    assert cfg.module.discriminator.base_channels == usual.module.discriminator.base_channels
    assert cfg.module.discriminator.spectral_norm is True
    assert (cfg.module.discriminator.norm, cfg.module.r1_weight) == ("instance", 10.0)
    assert cfg.module.adversarial._target_.endswith(".HingeAdversarial")
    assert cfg.module.diff_augment == ["color", "translation", "cutout"]


def check_modern(usual, cfg, generator=(), **weights):
    assert (cfg.callbacks.ema.decay, cfg.callbacks.ema.validate) == (0.999, True)
    assert cfg.module.weights == {**usual.module.weights, "perceptual": 100.0, **weights}
    assert cfg.module.reconstruction.keys() == {*usual.module.reconstruction, "perceptual"}
    assert cfg.module.reconstruction.perceptual.pretrained == "lite0"
    assert cfg.module.generator == {**usual.module.generator, "upsample": "resize", **dict(generator)}


@pytest.mark.parametrize(("name", "loss"), [("projected", "HingeAdversarial"), ("oasis", "SegmentationAdversarial")])
def test_another_discriminator_comes_with_its_loss(name, loss):
    for recipe in ("paper", "modern"):
        cfg = compose("train", ["experiment=facades", f"recipe={recipe}", f"ingredient={name}"])
        assert cfg.module.adversarial._target_.endswith(loss)
        assert cfg.module.conditional == (name == "projected")
        assert "num_layers" not in cfg.module.discriminator


def test_the_modern_recipe_sets_nothing_else():
    usual, cfg = (
        compose("train", ["experiment=quickstart"]),
        compose("train", ["experiment=quickstart", "recipe=modern"]),
    )
    check_modern(usual, cfg)
    for node in ("optimizer_g", "optimizer_d"):
        assert cfg.module[node] == {**usual.module[node], "lr": 8e-4}
    for node in ("discriminator", "adversarial", "schedule", "diff_augment"):
        assert cfg.module[node] == usual.module[node]


def test_words_go_before_ingredients_and_ingredients_before_experiments():
    words = ["experiment=quickstart", "ingredient=two_rates"]
    assert compose("train", words).module.optimizer_g.lr == 1e-4
    assert compose("train", [*words, "module.optimizer_g.lr=5e-4"]).module.optimizer_g.lr == 5e-4
    words = ["callbacks=[default,early_stopping]", "ingredient=ema", "callbacks.ema.decay=0.9"]
    cfg = compose("train", words)
    assert cfg.callbacks.ema.decay == 0.9
    assert cfg.callbacks.early_stopping.patience == 20
    with pytest.raises(UserError, match="perceptual"):
        compose("train", ["ingredient=[perceptual,ema]", "module.weights.perceptual=much"])


@pytest.fixture
def own(tmp_path):
    """A folder with a recipe and ingredients of the user's."""
    files = {
        "ingredient/pixels": "defaults:\n  - override /discriminator: pixel\n",
        "ingredient/slow": "module: {optimizer_g: {lr: 1.0e-5}}\n",
        "recipe/mine": "defaults:\n  - /ingredient/multi_scale\n  - /ingredient/slow\n"
        "module: {discriminator: {num_scales: 2}}\n",
    }
    for name, text in files.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# @package _global_\n# mine\n{text}")
    return tmp_path


def test_an_ingredient_replaces_that_of_a_recipe(own):
    cfg = compose("train", ["recipe=mine"], config_dir=own)
    assert (cfg.module.discriminator.num_scales, cfg.module.optimizer_g.lr) == (2, 1e-5)
    cfg = compose("train", ["recipe=mine", "ingredient=[pixels,two_rates]"], config_dir=own)
    assert cfg.module.discriminator._target_.endswith(".PixelDiscriminator")
    assert "num_scales" not in cfg.module.discriminator
    assert cfg.module.optimizer_g.lr == 1e-4
    assert "num_scales" not in compose("train", ["recipe=mine", "discriminator=pixel"], config_dir=own)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["ingredient=[multi_scale,pixels]"], ["multi_scale", "pixels", "discriminator="]),
        (["ingredient=[slow,ema,two_rates]"], ["[slow,two_rates]", "module.optimizer_g.lr=1e-05", "0.0001"]),
        (["ingredient=multi_scale", "discriminator=patch_16"], ["ingredient=multi_scale", "discriminator=patch_16"]),
        (["recipe=[modern,paper]"], ["recipe=[modern,paper]"]),
        (["loss=[l1,gan]"], ["loss=[l1,gan]"]),
        (["loss=[]"], ["loss=[]"]),
        (["experiment=builtin_facades", "recipe=paper"], ["recipe=modern", "recipe=paper"]),
        (["ingredient=ema", "ingredient=[ema,pixels]", "discriminator=patch_16"], ["discriminator=pixel,"]),
    ],
)
def test_what_would_be_without_effect_is_refused(words, named, own):
    with pytest.raises(UserError) as caught:
        compose("train", words, config_dir=own)
    assert all(each in str(caught.value) for each in named)


def test_a_command_refuses_it_with_the_same_words(own, capsys):
    words = ["ingredient=[multi_scale,pixels]"]
    with pytest.raises(UserError) as caught:
        compose("train", words, config_dir=own)
    assert run_command("train", lambda cfg: pytest.fail("it ran"), ["--config-dir", str(own), *words]) == 1
    assert capsys.readouterr().err == f"error: {caught.value}\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["ingredient=[projected,ema,two_rates]", "loss=l1,l1_cgan"], ["ingredient=projected"]),
        (["loss=l1,gan", "module.discriminator.num_layers=2", "seed=1"], ["module.discriminator.num_layers=2"]),
        (["module.r1_every=8", "module.r1_weight=0,1", "module.discriminator.norm=none"], ["module.r1_every=8"]),
        (["ingredient=[r1,hinge]", "loss=gan,l1_cgan", "module.r1_every=8"], []),
        (["loss=l1", "module.discriminator=null", "seed=1,2"], []),
    ],
)
def test_the_jobs_of_a_sweep_tell_what_they_do_not_use(words, named, caplog):
    configs = []
    assert run_command("train", configs.append, ["-m", *words]) == 0
    assert len(configs) == 2
    assert [record.message.partition(":")[0] for record in caplog.records] == named


def test_choices_of_several_names_are_known(tmp_path):
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - override /callbacks: [default, ema]\n")
    words = ["experiment=mine", "ingredient=[ema,hinge]", "logger=[csv]", "logger=tensorboard"]
    choices = complete_choices({"experiment": "mine", "logger": "tensorboard"}, words, tmp_path)
    assert choices == {
        "experiment": "mine",
        "ingredient": "[ema,hinge]",
        "logger": "tensorboard",
        "callbacks": "[default,ema]",
    }
