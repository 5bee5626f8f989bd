"""Sweeps: the paper's ablations, what a failing job does, what the same command does again."""

import json
import math
import shlex
import shutil
from itertools import product
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.report.__main__ import main as report
from pix2pix_lightning.train import main
from pix2pix_lightning.training.monitor_choice import resolve_monitor
from tiny_training import NO_GALLERY, SMALLEST, StopAt, configure, use_probe

UNET, PATCH = "generator=unet", "discriminator=patch_16"
WORDS = [word for word in SMALLEST if not word.startswith(("generator=", "discriminator="))]
WORDS += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", NO_GALLERY, "name=s"]


@pytest.fixture
def command(small_pairs):
    return lambda *words: [*WORDS, f"data.root={small_pairs}", *words]


@pytest.fixture
def jobs(monkeypatch):
    """The configurations of all jobs, none of which is trained."""
    jobs = []

    def train(cfg):
        jobs.append(cfg)
        resolve_monitor(cfg)
        return {f"best/{cfg.saving.monitor.removeprefix('val/')}": cfg.module.optimizer_g.lr}

    monkeypatch.setattr("pix2pix_lightning.train.train", train)
    return jobs


@pytest.fixture(scope="module")
def trained(small_pairs, tmp_path_factory):
    """The folder with the ``runs/`` of a sweep over two losses; tests only read it."""
    words = [*WORDS, f"data.root={small_pairs}", "sweep=loss", "loss=l1,l1_cgan", UNET, PATCH]
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(words) == 0
    return folder, words


@pytest.fixture
def sweep(trained):
    """A copy of that sweep, and its command."""
    shutil.copytree(trained[0] / "runs", "runs")
    return Path("runs/s/sweep_loss"), trained[1]


def read_jobs(folder):
    return {path: path.read_bytes() for path in folder.glob("*/**/*") if path.is_file()}


def find_variants(jobs, *keys):
    return {tuple(str(OmegaConf.select(cfg, key)) for key in keys) for cfg in jobs}


# ---- the paper's ablations -----------------------------------------------------------------------------------------


def compose_sweep(name, *words):
    """The configurations of a sweep's jobs, by the choices in its file."""
    choices = OmegaConf.load(find_conf_dir() / f"sweep/{name}.yaml")
    options = [[f"{group}={name}" for name in names.split(",")] for group, names in choices.items()]
    return [configure(*words, *chosen) for chosen in product(*options)]


def test_the_losses_of_table_1():
    jobs = compose_sweep("loss")
    assert find_variants(jobs, "module.discriminator.num_layers", "module.conditional", "module.weights.l1") == {
        ("None", "None", "100.0"),  # L1
        ("1", "False", "None"),  # GAN
        ("1", "True", "None"),  # cGAN
        ("1", "False", "100.0"),  # L1 + GAN
        ("1", "True", "100.0"),  # L1 + cGAN
    }


def test_jobs_are_named_after_all_that_differs(command, jobs):
    assert main(command("sweep=loss", "loss=l1,l1_gan", PATCH, UNET, "seed=choice(1)")) == 0
    assert find_variants(jobs, "module.conditional", "module.weights.l1") == {("None", "100.0"), ("False", "100.0")}
    assert [cfg.run_dir for cfg in jobs] == [f"runs/s/sweep_loss/loss-{name}__seed-1" for name in ("l1", "l1_gan")]


def test_ingredients_are_swept_alone_and_in_lists(command, jobs):
    assert main(command("-m", "ingredient=none,two_rates,[ema,two_rates]")) == 0
    folders = {"ingredient-none": 2e-4, "ingredient-two_rates": 1e-4, "ingredient-_ema_two_rates_": 1e-4}
    assert {Path(cfg.run_dir).name: cfg.module.optimizer_g.lr for cfg in jobs} == folders
    assert ["ema" in cfg.callbacks for cfg in jobs] == [False, False, True]
    again = compose("train", shlex.split(jobs[2].command)[3:])
    assert (again.module, again.callbacks.ema) == (jobs[2].module, jobs[2].callbacks.ema)


def test_the_generators_of_table_2():
    jobs = compose_sweep("generator")
    networks = {f"pix2pix_lightning.networks.{name}Generator" for name in ("UNet", "EncoderDecoder")}
    assert len(jobs) == 4
    assert find_variants(jobs, "module.generator._target_", "module.weights.adversarial") == {
        (network, adversarial) for network in networks for adversarial in ("None", "1.0")
    }


def test_the_receptive_fields_of_table_3():
    jobs = compose_sweep("receptive_field")
    assert len(jobs) == 4
    assert find_variants(jobs, "module.discriminator._target_", "module.discriminator.num_layers") == {
        ("pix2pix_lightning.networks.PixelDiscriminator", "None"),
        *(("pix2pix_lightning.networks.PatchDiscriminator", str(layers)) for layers in (1, 3, 5)),
    }


@pytest.mark.parametrize("experiment", ["quickstart", "facades", "maps", "edges2shoes"])
def test_any_experiment_can_do_without_a_discriminator(experiment):
    words = ["loss=l1", "module.discriminator.base_channels=4", "module.diff_augment=[cutout]", "ingredient=r1"]
    cfg = compose("train", [f"experiment={experiment}", *words])
    assert cfg.module.discriminator is None
    assert (cfg.module.diff_augment, cfg.module.r1_weight) == (None, 0.0)
    assert cfg.module.weights == {"l1": 100.0}


# ---- jobs and their folders ----------------------------------------------------------------------------------------


def test_each_job_is_trained_in_its_folder(trained):
    sweep = trained[0] / "runs/s/sweep_loss"
    assert {path.name for path in sweep.glob("*/")} == {"loss-l1", "loss-l1_cgan"}
    for loss, has_discriminator in (("l1", False), ("l1_cgan", True)):
        job = sweep / f"loss-{loss}"
        assert OmegaConf.load(job / "config.yaml").run_dir == f"runs/s/sweep_loss/loss-{loss}"
        assert (job / "summary.json").is_file()
        state = read_checkpoint(job / "checkpoints/last.ckpt")["state_dict"]
        assert any(name.startswith("discriminator.") for name in state) == has_discriminator
    assert report([f"runs={sweep}"]) == 0


def test_a_jobs_command_repeats_it(trained):
    job, again = trained[0] / "runs/s/sweep_loss/loss-l1_cgan", Path("again")
    words = shlex.split(OmegaConf.load(job / "config.yaml").command)
    assert words[:3] == ["python", "-m", "pix2pix_lightning.train"]
    assert main([*words[3:], "run_dir=again"]) == 0
    placed = {"run_dir": None, "resume": None}
    settings = [OmegaConf.to_container(OmegaConf.load(path / "config.yaml")) | placed for path in (job, again)]
    assert settings[0] == settings[1]
    metrics = [json.loads((path / "summary.json").read_text())["metrics"] for path in (job, again)]
    assert metrics[0] == metrics[1]


def test_a_folder_with_an_odd_name_goes_into_a_sweep(jobs):
    name = "a=b, it's e(f)"
    Path(name).mkdir()
    assert main([*WORDS, f"data.root={name}", "-m", UNET, "seed=choice(3)"]) == 0
    assert [(job.data.root, job.seed) for job in jobs] == [(name, 3)]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["experiment=quickstart", "name=own"], "own"),
        (["experiment=quickstart", "name=null"], "quickstart"),
        ([], "default"),
    ],
)
def test_the_folder_of_a_sweep_is_named_as_that_of_a_run(jobs, words, name):
    assert main([*words, "-m", "seed=choice(3)"]) == 0
    assert [(job.name, job.run_dir) for job in jobs] == [(name, f"runs/{name}/sweep_seed/seed-3")]


class Unlucky(StopAt):
    """Fails with one seed."""

    def on_train_start(self, trainer, module):
        if module.seed == 0:
            raise ValueError("seed 0 is unlucky")


def test_a_job_that_fails_does_not_take_the_others_along(command, capfd):
    words = command("-m", UNET, "loss=l1", "seed=0,1")
    assert main([*words, f"+{use_probe(Unlucky(-1, None))}"]) == 1
    err = capfd.readouterr().err
    sweep = Path("runs/s/sweep_seed")
    assert (sweep / "seed-1/summary.json").is_file()
    assert not (sweep / "seed-0/summary.json").exists()
    assert "seed 0 is unlucky" in err
    assert err.splitlines()[-1].startswith("error: 1 ")
    assert "seed-0" in err.splitlines()[-1]

    before = (sweep / "seed-1/checkpoints/last.ckpt").stat().st_mtime_ns
    assert main([*words, f"+{use_probe(StopAt(-1, None))}"]) == 0
    assert (sweep / "seed-0/summary.json").is_file()
    assert (sweep / "seed-1/checkpoints/last.ckpt").stat().st_mtime_ns == before  # it was finished


def test_ctrl_c_ends_a_sweep(command, monkeypatch):
    seeds = []

    def stop(cfg):
        seeds.append(cfg.seed)
        raise KeyboardInterrupt

    monkeypatch.setattr("pix2pix_lightning.train.train", stop)
    assert main(command("-m", UNET, "seed=0,1")) == 130
    assert seeds == [0]


# ---- the same command again ----------------------------------------------------------------------------------------


def test_the_same_command_with_other_settings_is_refused(sweep, capfd):
    folder, words = sweep
    before = read_jobs(folder)
    assert main([*words, "module.generator.base_channels=8"]) == 1
    assert "module.generator.base_channels=2, not 8" in capfd.readouterr().err
    assert read_jobs(folder) == before


def test_the_same_command_with_more_epochs_goes_on(sweep):
    folder, words = sweep
    assert main([*words, "trainer.max_epochs=2"]) == 0
    for job in ("loss-l1", "loss-l1_cgan"):
        assert read_checkpoint(folder / job / "checkpoints/last.ckpt")["epoch"] == 1


def test_a_job_that_stopped_early_is_finished(command):
    words = command("-m", UNET, "loss=l1", "seed=choice(0)", "callbacks=[default,early_stopping]")
    words = [word for word in words if not word.startswith("trainer.max")]
    words += ["callbacks.early_stopping.patience=1", "module.optimizer_g.lr=0.0", "trainer.max_epochs=8"]
    assert main(words) == 0
    last = Path("runs/s/sweep_seed/seed-0/checkpoints/last.ckpt")
    epoch, written = read_checkpoint(last)["epoch"], last.stat().st_mtime_ns
    assert epoch < 7
    assert main(words) == 0
    assert last.stat().st_mtime_ns == written


# ---- searches ------------------------------------------------------------------------------------------------------

SEARCH = ["sweep=search", "hydra.sweeper.n_trials=2", UNET, PATCH]


def without_width(words):
    return [word for word in words if not word.startswith("module.generator.base_channels=")]  # it is searched


@pytest.mark.parametrize(
    ("words", "find_best"),
    [
        ([], min),
        (["callbacks=[default,judge]"], min),
        (["saving.monitor=val/ssim", "hydra.sweeper.direction=maximize"], max),
    ],
)
def test_a_search_tells_which_trial_was_best(command, jobs, capfd, words, find_best):
    assert main(without_width(command(*SEARCH, *words))) == 0
    rates = [cfg.module.optimizer_g.lr for cfg in jobs]
    assert len(set(rates)) == 2
    for cfg in jobs:
        assert 5e-5 <= cfg.module.optimizer_g.lr <= 1e-3
        assert 10 <= cfg.module.weights.l1 <= 300
    best = OmegaConf.load("runs/s/sweep_search/optimization_results.yaml")
    assert best.best_value == best.best_params["module.optimizer_g.lr"] == find_best(rates)
    assert "best_value" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("objective=best/ssim", ["objective=best/ssim", "best/l1"]),
        ("saving.monitor=val/ssim", ["direction=minimize", "best/ssim", "direction=maximize"]),
        ("hydra.sweeper.direction=maximize", ["direction=maximize", "best/l1", "direction=minimize"]),
    ],
)
def test_a_search_for_an_unknown_metric_or_the_worst_value_ends_after_one_trial(command, jobs, capfd, word, names):
    assert main(without_width(command(*SEARCH, word))) == 1
    err = capfd.readouterr().err
    assert all(name in err for name in names)
    assert len(jobs) == 1


@pytest.mark.parametrize(
    ("name", "direction", "status"),
    [("val/ssim", "minimize", 1), ("val/ssim", "maximize", 0), ("val/kid", "maximize", 1), ("train/l1", "maximize", 0)],
)
def test_a_search_for_the_worst_value_of_any_described_metric_is_refused(
    command, monkeypatch, capfd, name, direction, status
):
    described = {"val/ssim": {"direction": "higher"}, "val/kid": {"direction": "lower"}}

    def train(cfg):
        Path(cfg.run_dir).mkdir(parents=True)
        (Path(cfg.run_dir) / "summary.json").write_text(json.dumps({"metric_info": described}))
        return {"best/l1": 0.5, "val/ssim": 0.5, "val/kid": 0.5, "train/l1": 0.5}

    monkeypatch.setattr("pix2pix_lightning.train.train", train)
    words = command(*SEARCH, f"objective={name}", f"hydra.sweeper.direction={direction}")
    assert main(without_width(words)) == status
    assert (f"finds the worst {name}" in capfd.readouterr().err) == bool(status)


def test_a_search_for_a_value_that_is_not_known_is_refused(command, monkeypatch, capfd):
    monkeypatch.setattr("pix2pix_lightning.train.train", lambda cfg: {"best/l1": math.nan})
    assert main(without_width(command(*SEARCH, "objective=best/l1"))) == 1
    assert "best/l1 is nan" in capfd.readouterr().err


# ---- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["-m", "seed=choice(0)", "run_dir=x"], "run_dir=x"),
        (["-m", "seed=choice(0)", "resume=x"], "resume=x"),
        (["-m", "seed=choice(0)", "experiment=null"], "experiment=null"),
        (["sweep=generator", UNET], "sweep=generator"),
        (["sweep=losses"], "loss"),
        (["sweep=loss,generator"], "sweep"),
        (["sweep=loss", "--cfg", "job"], "--cfg"),
        (["-m", "seed=0,1", "-i=config"], "-i"),
    ],
)
def test_what_a_sweep_cannot_have_is_named(command, jobs, capfd, words, names):
    assert main(command(*words)) == 1
    err = capfd.readouterr().err
    assert names in err
    assert err.count("error") == 1
    assert jobs == []
    assert not Path("x").exists()


def test_a_sweep_is_no_single_configuration():
    with pytest.raises(ValueError, match="sweep=loss"):
        compose("train", ["sweep=loss"])
