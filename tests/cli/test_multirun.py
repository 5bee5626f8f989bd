"""Sweeps: the paper's ablations, what a failing job does, what the same command does again."""

import json
import shlex
import sys

import pytest
from lightning.pytorch import Callback
from omegaconf import OmegaConf

from helpers import TINY, make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.report import main as report
from pix2pix_lightning.train import main

SMALL = [word for word in TINY if not word.startswith(("generator=", "discriminator="))]
SMALL += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "callbacks.gallery.num_images=1", "name=s"]


@pytest.fixture(scope="module")
def strips(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs"), train=2, val=1)


def command(strips, *words):
    return [*SMALL, f"data.root={strips}", *words]


def variants(sweep, *keys):
    """What the jobs' own configurations say, not the folders' names."""
    found = set()
    for config in sweep.glob("*/config.yaml"):
        cfg = OmegaConf.load(config)
        found.add(tuple(str(OmegaConf.select(cfg, key)) for key in keys))
        assert (config.parent / "summary.json").is_file()
    return found


def test_the_losses_of_table_1(strips, tmp_path):
    words = command(
        strips, "sweep=loss", "discriminator=patch_16", "generator=unet", "module.discriminator.base_channels=4"
    )
    assert main(words) == 0
    sweep = tmp_path / "runs/s/sweep_loss"
    assert variants(sweep, "module.discriminator.num_layers", "module.conditional", "module.weights.l1") == {
        ("None", "None", "100.0"),  # L1
        ("1", "False", "None"),  # GAN
        ("1", "True", "None"),  # cGAN
        ("1", "False", "100.0"),  # L1 + GAN
        ("1", "True", "100.0"),  # L1 + cGAN
    }
    assert {path.name for path in sweep.glob("*/")} == {f"loss-{x}" for x in ("l1", "gan", "cgan", "l1_gan", "l1_cgan")}
    assert report([f"runs={sweep}"]) == 0


def test_the_generators_of_table_2(strips, tmp_path):
    words = command(strips, "sweep=generator", "discriminator=patch_16", "seed=choice(1)")
    assert main(words) == 0
    sweep = tmp_path / "runs/s/sweep_generator"
    networks = {f"pix2pix_lightning.networks.{name}Generator" for name in ("UNet", "EncoderDecoder")}
    assert variants(sweep, "module.generator._target_", "module.weights.adversarial", "seed") == {
        (network, adversarial, seed) for network in networks for adversarial in ("None", "1.0") for seed in "1"
    }
    assert len(list(sweep.glob("generator-unet__loss-l1_cgan__seed-1"))) == 1


def test_the_receptive_fields_of_table_3(strips, tmp_path):
    words = command(strips, "sweep=receptive_field", "generator=unet", "module.discriminator.base_channels=4")
    words = [word for word in words if word != "data.size=32"] + ["data.size=96"]
    assert main(words) == 0
    sweep = tmp_path / "runs/s/sweep_receptive_field"
    assert variants(sweep, "module.discriminator._target_", "module.discriminator.num_layers") == {
        ("pix2pix_lightning.networks.PixelDiscriminator", "None"),
        *(("pix2pix_lightning.networks.PatchDiscriminator", str(layers)) for layers in (1, 3, 5)),
    }


@pytest.mark.parametrize("experiment", ["quickstart", "facades", "maps", "edges2shoes"])
def test_any_experiment_can_do_without_a_discriminator(experiment):
    cfg = compose("train", [f"experiment={experiment}", "loss=l1", "module.discriminator.base_channels=4"])
    assert cfg.module.discriminator is None
    assert cfg.module.weights == {"l1": 100.0}


class Fails(Callback):
    """For one seed."""

    def on_train_start(self, trainer, pl_module):
        if pl_module.seed == 0:
            raise ValueError("seed 0 is unlucky")


FAILING = []


def failing():
    return FAILING[0]


def test_a_job_that_fails_does_not_take_the_others_along(strips, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "FAILING", [Fails()])
    words = command(strips, "-m", "generator=unet", "loss=l1", f"+callbacks.fails._target_={__name__}.failing")
    assert main([*words, "seed=0,1", "data.batch_size=1"]) == 1
    said = capfd.readouterr().err
    sweep = tmp_path / "runs/s/sweep_seed"
    assert (sweep / "seed-1/summary.json").is_file()
    assert not (sweep / "seed-0/summary.json").exists()
    assert "seed 0 is unlucky" in said
    assert said.splitlines()[-1].startswith("error: 1 jobs failed: seed-0;")

    before = (sweep / "seed-1/checkpoints/last.ckpt").stat().st_mtime_ns
    monkeypatch.setattr(sys.modules[__name__], "FAILING", [Callback()])
    assert main([*words, "seed=0,1", "data.batch_size=1"]) == 0
    assert (sweep / "seed-0/summary.json").is_file()
    assert (sweep / "seed-1/checkpoints/last.ckpt").stat().st_mtime_ns == before  # it was finished


def test_the_same_command_with_other_settings_does_not_go_on(strips, tmp_path, capfd):
    words = command(strips, "-m", "generator=unet", "loss=l1", "seed=0,1")
    assert main(words) == 0
    folder = tmp_path / "runs/s/sweep_seed/seed-0"
    before = (folder / "checkpoints/last.ckpt").read_bytes()
    assert main([*words, "module.generator.base_channels=8"]) == 1
    said = capfd.readouterr().err
    assert "module.generator.base_channels=4, not 8" in said
    assert (folder / "checkpoints/last.ckpt").read_bytes() == before
    assert main([*words, "trainer.max_epochs=2"]) == 0  # longer is what going on means
    assert read_checkpoint(folder / "checkpoints/last.ckpt")["epoch"] == 1


def test_a_sweep_whose_key_is_fixed_is_refused(strips, capfd):
    assert main(command(strips, "sweep=generator", "generator=unet")) == 1
    assert "sweep=generator goes through generator" in capfd.readouterr().err


def test_an_unknown_sweep_names_the_others(strips, capfd):
    assert main(command(strips, "sweep=losses")) == 1
    assert "did you mean loss" in capfd.readouterr().err
    assert main(command(strips, "sweep=loss,generator")) == 1
    assert "one sweep at a time" in capfd.readouterr().err


def test_a_jobs_command_repeats_it(strips, tmp_path):
    assert main(command(strips, "sweep=loss", "loss=l1,l1_cgan", "discriminator=patch_16", "generator=unet")) == 0
    job = tmp_path / "runs/s/sweep_loss/loss-l1_cgan"
    saved, again = OmegaConf.load(job / "config.yaml"), tmp_path / "again"
    words = shlex.split(saved.command)
    assert words[:3] == ["python", "-m", "pix2pix_lightning.train"]
    assert main([*words[3:], "run_dir=again"]) == 0
    placed = {"run_dir": None, "resume": None}
    settings = [OmegaConf.to_container(OmegaConf.load(path / "config.yaml")) | placed for path in (job, again)]
    assert settings[0] == settings[1]
    metrics = [json.loads((path / "summary.json").read_text())["metrics"] for path in (job, again)]
    assert metrics[0] == metrics[1]


def test_a_finished_job_is_not_taken_for_one_with_other_settings(strips, tmp_path, capfd):
    words = command(strips, "-m", "generator=unet", "loss=l1", "seed=0,1")
    assert main(words) == 0
    assert main([*words, "trainer.limit_train_batches=2"]) == 1
    assert "is finished, with trainer.limit_train_batches=1, not 2" in capfd.readouterr().err


def test_a_job_that_stopped_early_is_finished(strips, tmp_path):
    words = command(strips, "-m", "generator=unet", "loss=l1", "seed=0,1", "callbacks=[default,early_stopping]")
    words = [word for word in words if not word.startswith(("callbacks.gallery", "trainer.max"))]
    words += ["callbacks.early_stopping.patience=1", "module.optimizer_g.lr=0.0", "trainer.max_epochs=8"]
    assert main(words) == 0
    last = tmp_path / "runs/s/sweep_seed/seed-0/checkpoints/last.ckpt"
    epoch, written = read_checkpoint(last)["epoch"], last.stat().st_mtime_ns
    assert epoch < 7
    assert main(words) == 0
    assert last.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", ["a=b", "e(f)", "it's", "a, b"])
def test_folders_with_odd_names_go_into_a_sweep(tmp_path, name):
    make_strips(tmp_path / name, train=2, val=1)
    words = [*SMALL, f"data.root={name}", "-m", "generator=unet", "loss=l1", "seed=0,1"]
    assert main(words) == 0
    assert variants(tmp_path / "runs/s/sweep_seed", "data.root", "seed") == {(name, "0"), (name, "1")}


SEARCH = ["sweep=search", "hydra.sweeper.n_trials=2", "module.generator.base_channels=4,8"]


def test_a_search_says_which_trial_was_best(strips, tmp_path, capfd):
    words = command(strips, *SEARCH, "generator=unet", "discriminator=patch_16")
    assert main([word for word in words if word != "module.generator.base_channels=4"]) == 0
    sweep = tmp_path / "runs/s/sweep_search"
    tried = {}
    for job in sweep.glob("*/"):
        module = OmegaConf.load(job / "config.yaml").module
        assert 5e-5 <= module.optimizer_g.lr <= 1e-3
        assert 10 <= module.weights.l1 <= 300
        tried[module.optimizer_g.lr] = json.loads((job / "summary.json").read_text())["metrics"]["best/l1"]
    assert len(tried) == 2
    best = OmegaConf.load(sweep / "optimization_results.yaml")
    assert best.best_value == pytest.approx(min(tried.values()))
    assert tried[best.best_params["module.optimizer_g.lr"]] == min(tried.values())
    assert "best_value" in capfd.readouterr().out


def test_a_search_for_a_metric_that_is_not_there_ends_after_one_trial(strips, tmp_path, capfd):
    words = command(strips, *SEARCH, "generator=unet", "discriminator=patch_16", "objective=best/ssim")
    assert main([word for word in words if word != "module.generator.base_channels=4"]) == 1
    said = capfd.readouterr().err
    assert "objective=best/ssim is no metric of a run: one of best/l1" in said
    assert len(list((tmp_path / "runs/s/sweep_search").glob("*/"))) == 1


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("run_dir=x", "run_dir=x is one folder"),
        ("resume=x", "goes on with its own jobs"),
        ("experiment=null", "by a name"),
    ],
)
def test_what_a_sweep_cannot_have(strips, tmp_path, capfd, word, says):
    assert main(command(strips, "-m", "seed=0,1", word)) == 1
    said = capfd.readouterr().err
    assert says in said
    assert said.count("error") == 1
    assert not (tmp_path / "x").exists()


def test_a_sweep_is_no_single_configuration():
    with pytest.raises(ValueError, match="several configurations"):
        compose("train", ["sweep=loss"])
