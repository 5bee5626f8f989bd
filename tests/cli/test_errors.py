"""A user error is answered by one line that names the value and the fix, and by exit status 1."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from helpers import TINY, make_strips
from pix2pix_lightning import Pix2PixModule, Translator, compose, evaluate, predict
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.cli.overrides import set_hydra_argv
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.networks import PatchDiscriminator, ProjectedDiscriminator, UNetGenerator
from pix2pix_lightning.report import __main__ as report
from pix2pix_lightning.train import main, train
from pix2pix_lightning.training.config_checks import check_built_module
from tiny_training import NO_GALLERY, configure


def run_command(capfd, *words, status=1, command=main):
    """The error line of a command line."""
    assert command(list(words)) == status
    out, err = capfd.readouterr()
    assert "error: " not in out
    lines = [line for line in err.splitlines() if line]
    assert "Traceback" not in err
    # progress may stand before it, but the error itself is one line, the last
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


def describe(call, *args):
    """The line that a command would answer for the error of ``call``."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call(*args)
    line = format_error(caught.value, "train")
    assert line is not None, f"taken for a bug: {caught.value!r}"
    assert "\n" not in line
    return line


def describe_training(*words):
    return describe(train, configure(*words))


# ---- the command line ----------------------------------------------------------------------------------------------


def test_a_missing_folder_is_named_with_the_command_that_downloads_it(capfd):
    line = run_command(capfd, "experiment=edges2shoes", "data.root=nowhere/shoes")
    assert "data.root=nowhere/shoes" in line
    assert "pix2pix_lightning.download data=edges2shoes data.root=nowhere/shoes" in line


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("data.sise=3", "data.size"),
        ("trainer.max_epoch=3", "trainer.max_epochs"),
        ("optimiser=adam", "optimiser"),
        ("epochs=3", "trainer.max_epochs"),
        ("lr=0.1", "module.optimizer_g.lr"),
        ("data=/", "data.root=/"),
        ("data=no/folder", "data=no/folder"),
        ("generator=unet_512", "unet_256"),
        ("experiment=facade", "facades"),
    ],
)
def test_an_unknown_name_is_named_with_one_that_is_close(word, names):
    assert names in describe(compose, "train", [word])


@pytest.mark.parametrize(
    "word",
    ["data.batch_size=many", "data.batch_size=2.5", "trainer.max_epochs=soon", "data.jitter=3", "module.weights.l1=x"],
)
def test_a_value_of_another_type_is_named(capfd, tmp_path, small_pairs, word):
    assert word in run_command(capfd, *TINY, f"data.root={small_pairs}", word)
    assert not (tmp_path / "runs").exists()


def test_a_line_that_cannot_be_read_has_status_2(capfd):
    run_command(capfd, "data.a={kind", status=2)


def test_a_bug_keeps_its_traceback(monkeypatch):
    for bug, error in ((lambda cfg: {}["a bug"], KeyError), (lambda cfg: json.loads("}"), json.JSONDecodeError)):
        monkeypatch.setattr("pix2pix_lightning.train.train", bug)
        with pytest.raises(error):
            main([])


@pytest.mark.parametrize(("code", "status", "printed"), [(None, 0, ""), (3, 3, ""), ("stop here", 1, "stop here\n")])
def test_a_program_that_ends_itself_has_its_own_status(monkeypatch, capfd, code, status, printed):
    monkeypatch.setattr("pix2pix_lightning.train.train", lambda cfg: sys.exit(code))
    assert main([]) == status
    assert capfd.readouterr().err == printed


def test_the_environment_is_given_back(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with set_hydra_argv(["seed=1"]):
        assert (os.environ["HYDRA_FULL_ERROR"], sys.argv[1:]) == ("1", ["seed=1"])
    assert os.environ["HYDRA_FULL_ERROR"] == "0"


def test_as_a_real_command(tmp_path):
    command = [sys.executable, "-m", "pix2pix_lightning.train", "data.sise=3"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    assert "data.size" in process.stderr


# ---- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("data.batch_size=0", ["data.batch_size=0"]),
        ("trainer.check_val_every_n_epoch=0", ["trainer.check_val_every_n_epoch=0"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs=0", "-1"]),
        ("trainer.limit_train_batches=0", ["trainer.limit_train_batches=0"]),
        ("trainer.limit_train_batches=-1", ["trainer: ", "limit_train_batches"]),
        ("trainer.val_check_interval=100", ["trainer: ", "val_check_interval"]),
        ("trainer.precision=half", ["trainer.precision=half"]),
        ("trainer.gradient_clip_val=1", ["module.gradient_clip=1"]),
        ("trainer.accumulate_grad_batches=2", ["module.accumulate=2"]),
        ("name=../elsewhere", ["name=../elsewhere"]),
        ("module.optimizer_g.lr=.nan", ["module.optimizer_g.lr=nan"]),
        ("module.optimizer_d.lr=.inf", ["module.optimizer_d.lr=inf"]),
        ("module.optimizer_d.betas=[0.5]", ["module.optimizer_d.betas=[0.5]", "0.999"]),
        ("module.optimizer_g.betas=[1.5,0.9]", ["module.optimizer_g.betas=[1.5, 0.9]"]),
        ("module.optimizer_g._target_=torch.optim.LBFGS", ["module.optimizer_g._target_=torch.optim.LBFGS", "Adam"]),
        ("module.optimizer_d._target_=torch.optim.SparseAdam", ["module.optimizer_d", "SparseAdam", "Adam"]),
        ("module.weights.l1=-100", ["module.weights.l1=-100"]),
        ("module.weights.l1=.inf", ["module.weights.l1=inf"]),
        ("module.generator.base_channels=0", ["module.generator.base_channels=0"]),
        ("module.discriminator.norm=layer", ["module.discriminator.norm='layer'"]),
        ("module.discriminator.num_layers=9", ["data.size=16", "module.discriminator.num_layers"]),
        ("module.metrics=psnr", ["saving.monitor=val/l1", "val/psnr"]),
        ("saving.monitor=val/foo", ["saving.monitor=val/foo", "val/l1, val/psnr, val/ssim"]),
        ("callbacks.best.mode=max", ["callbacks.best.mode=max", "val/l1", "lower"]),
        ("callbacks.best.monitor=val/foo", ["callbacks.best.monitor=val/foo", "val/ssim"]),
        ("callbacks.best.mode=biggest", ["callbacks.best: ", "biggest"]),
        ("data.root=a_file", ["data.root=a_file"]),
        ("trainer.limit_val_batches=0", ["callbacks.early_stopping=null", "trainer.limit_val_batches=0"]),
        ("callbacks.watch.on_nan=skip_batch", ["callbacks.watch.on_nan=skip_batch", "speed.cuda_graph=false"]),
        ("run_dir=a_file", ["run_dir=a_file", "file"]),
        ("run_dir=a_file/below", ["run_dir=a_file/below", "file"]),
        ("seed=99999999999", ["seed=99999999999"]),
        ("module.optimizer_g=null", ["module.optimizer_g=null", "Adam"]),
        ("module.schedule={a: 1}", ["module.schedule={", "LinearDecay"]),
        ("callbacks.mine=3", ["callbacks.mine=3", "_target_"]),
        ("data.direction=sideways", ["a_to_b, b_to_a"]),
        ("data.size=20", ["data.size=20", "data.size=24", "module.generator"]),
        ("trainer.accelerator=abacus", ["abacus"]),
        ("trainer.accelerator=tpu", ["trainer.accelerator=tpu"]),
        ("resume=nothing_here", ["nothing_here"]),
        ("data.b.kind=depth", ["data.b.kind='depth'", "rgb, gr"]),
        ("data.a.interpolation=cubic", ["data.a.interpolation='cubic'", "bicubic"]),
        ("data.b.kind=label", ["data.b: ", "palette"]),
        ("data.num_workers=5000", ["data.num_workers=5000"]),
        ("data.max_pairs=abc", ["data.max_pairs=abc"]),
        ("data.max_pairs=1.5", ["data.max_pairs=1.5"]),
        ("data.val_split=5", ["/5"]),
        ("data.root=null", ["data.root=null"]),
        ("module.generator.norm=layer", ["layer"]),
        ("module.generator.num_downs=abc", ["num_downs", "abc"]),
        ("module.generator._target_=os.system", ["os.system"]),
        ("module.generator.in_channels=1", ["generator.in_channels=1", "3"]),
        ("module.generator.out_channels=2", ["generator.out_channels=2", "3"]),
        ("module.discriminator.in_channels=3", ["discriminator.in_channels=3", "6"]),
        ("module.optimizer_g._target_=torch.optim.Adamm", ["Adamm"]),
        ("module.optimizer_g.lr=-1.0", ["module.optimizer_g.lr=-1.0"]),
        ("module.gradient_clip=-1", ["module.gradient_clip=-1"]),
        ("module.gradient_clip=some", ["module.gradient_clip=some"]),
        ("adversarial=wgan_gp", ["module.discriminator.norm=instance"]),
        ("module.generator.depth=3", ["depth"]),
        ("module.loss_weight=3", ["loss_weight"]),
        ("trainer.epochs=3", ["trainer: ", "epochs"]),
        ("logger.tb._target_=lightning.pytorch.loggers.TensorBoardLogger", ["save_dir"]),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, small_pairs, word, names):
    (tmp_path / "a_file").write_text("mine")
    cfg = configure(f"data.root={small_pairs}", "run_dir=deep/er/run", NO_GALLERY)
    key, _, value = word.partition("=")
    if key == "adversarial":
        cfg = configure(f"data.root={small_pairs}", "run_dir=deep/er/run", NO_GALLERY, word)
    else:
        if key == "trainer.limit_val_batches":
            cfg = configure(f"data.root={small_pairs}", "run_dir=deep/er/run", "callbacks=[default,early_stopping]")
        if key == "callbacks.watch.on_nan":
            cfg.speed.cuda_graph = True
        OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"value={value}"]).value, force_add=True)
    line = describe(train, cfg)
    assert all(name in line for name in names), line
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def test_a_split_that_is_not_drawn_is_named():
    line = describe(train, compose("train", ["data=procedural", "data.size=32", "+data.val_split=night"]))
    assert "data.val_split='night'" in line


def test_drawn_pairs_that_are_too_small_name_the_size_that_was_given():
    line = describe(train, compose("train", ["data=procedural", "data.size=16"]))
    assert "data.size=16" in line
    assert "data.size=32" in line


@pytest.mark.parametrize(
    ("network", "options", "num_downs"), [(PatchDiscriminator, {"num_layers": 3}, 4), (ProjectedDiscriminator, {}, 3)]
)
def test_the_advice_for_a_size_suits_both_networks(network, options, num_downs):
    generator = UNetGenerator(num_downs=num_downs, base_channels=2)
    module = Pix2PixModule(generator, network(in_channels=6, base_channels=2, **options))
    step = generator.side_multiple
    with pytest.raises(ValueError, match=rf"data\.size={step}") as caught:
        check_built_module(module, PairSpec(size=step))
    assert set(re.findall(r"module\.discriminator\.(\w+)", str(caught.value))) == set(options)
    advised = int(re.search(r"set data.size=(\d+)", str(caught.value))[1])
    check_built_module(module, PairSpec(size=advised))
    with pytest.raises(ValueError, match=r"data\.size"):
        check_built_module(module, PairSpec(size=advised - step))


def test_a_number_of_procedural_pictures_is_whole():
    line = describe(train, compose("train", ["data=procedural", "data.size=32", "data.num_looks=1.5"]))
    assert "data.num_looks=1.5" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["trainer=gpu"], "trainer.accelerator=gpu trainer.devices=1"),
        (["trainer=gpu", "trainer.devices=4"], "trainer.accelerator=gpu trainer.devices=4"),
        (["trainer.accelerator=cuda"], "trainer.accelerator=cuda"),
        (["trainer=ddp", "trainer.devices=4"], "trainer.devices=4"),
    ],
)
def test_a_gpu_where_there_is_none(tmp_path, small_pairs, words, names):
    line = describe_training(f"data.root={small_pairs}", *words)
    assert names in line
    assert torch.__version__ in line
    assert re.search(r"trainer\.(accelerator=auto|devices=1)", line)
    assert not (tmp_path / "runs").exists()


def test_more_gpus_than_there_are(monkeypatch, small_pairs):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Accelerator {number}")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    line = describe_training(f"data.root={small_pairs}", "trainer=gpu", "trainer.devices=4")
    assert "trainer.devices=4" in line
    assert "Accelerator 0" in line


# ---- pairs ---------------------------------------------------------------------------------------------------------


def test_a_folder_without_images(tmp_path):
    (tmp_path / "pairs").mkdir()
    assert "pairs/train" in describe_training("data.root=pairs")
    make_strips(tmp_path / "some", train=1, val=1)
    (tmp_path / "some/val/val_0.png").rename(tmp_path / "some/val/val_0.txt")
    assert "some/val" in describe_training("data.root=some")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "names", "workers"),
    [
        ("odd.png", "41", [0]),
        ("cut.jpg", "cut.jpg", [0, 1]),
        ("text.png", "text.png", [0, 1]),
        ("none.png", "none.png", [0]),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, names, workers):
    root = make_strips(tmp_path / "pairs", train=1, val=1, side=16)
    path = root / "train" / name
    if name == "odd.png":
        cv2.imwrite(str(path), np.zeros((20, 41, 3), np.uint8))
    else:
        _, encoded = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8))
        content = {"cut.jpg": encoded.tobytes()[: len(encoded) // 2], "text.png": b"no image at all", "none.png": b""}
        path.write_bytes(content[name])
    for number in workers:
        line = describe_training("data.root=pairs", f"data.num_workers={number}", NO_GALLERY)
        assert name in line
        assert names in line


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Photos (A) and label maps of four colours (B)."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    colours = np.array([[0, 0, 0], [255, 255, 255], [0, 0, 255], [255, 0, 0]], np.uint8)
    for split in ("train", "val"):
        (root / split).mkdir()
        photo = cv2.resize(rng.integers(60, 200, (5, 5, 3), np.uint8), (40, 40), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / split / "facade.png"), np.concatenate([photo, colours[rng.integers(0, 4, (40, 40))]], 1))
    return root


PALETTE = "[[0,0,0],[255,255,255],[255,0,0],[0,0,255]]"


@pytest.mark.parametrize(
    ("words", "names", "workers"),
    [
        (["data.a.kind=label", f"data.a.palette={PALETTE}"], ["data.a", "data.direction"], [0, 1]),
        (
            ["data.b.kind=label", "data.b.palette=[[0,90,0],[90,90,0],[0,90,90],[90,0,90]]"],
            ["data.b", "data.direction"],
            [0],
        ),
        (["data.b.kind=label", "data.b.num_classes=4"], ["data.b", "palette"], [0]),
    ],
)
def test_labels_that_do_not_fit_are_named(labelled, words, names, workers):
    for number in workers:
        line = describe_training(f"data.root={labelled}", *words, f"data.num_workers={number}", NO_GALLERY)
        assert all(name in line for name in ["facade", *names]), line
        if "data.direction" in names:
            assert re.search(r"\d+% .* 4 .*\[\d+, \d+, \d+\]", line)


def test_class_numbers_beyond_the_last(tmp_path):
    for split in ("train", "val"):
        for side in "AB":
            (tmp_path / "pairs" / split / side).mkdir(parents=True)
            cv2.imwrite(f"pairs/{split}/{side}/one.png", np.full((16, 16), 7, np.uint8))
    line = describe_training("data.root=pairs", "data.b.kind=label", "data.b.num_classes=5", NO_GALLERY)
    assert all(name in line for name in ("one", "data.b", "7", "5", "num_classes")), line


# ---- runs and checkpoints ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(small_pairs, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    words = ["trainer.max_epochs=1", NO_GALLERY, "data.b.kind=grayscale"]
    train(configure(*words, f"data.root={small_pairs}", f"run_dir={run}"))
    return run


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["data.a.kind=grayscale"], ["data.a.kind=grayscale", "1", "kind=rgb", "3"]),
        (["data.b.kind=label", "data.b.num_classes=5"], ["data.b.kind=label", "5", "kind=grayscale", "1"]),
        (["data.b.kind=rgb"], ["data.b.kind=rgb", "3", "kind=grayscale", "1"]),
        (["data.direction=b_to_a"], ["data.direction=b_to_a", "a_to_b"]),
    ],
)
def test_a_run_is_not_resumed_with_pairs_that_mean_something_else(trained, words, names):
    shutil.copytree(trained, "run")
    before = read_files()
    line = describe(lambda: train(compose("train", ["resume=run", "trainer.max_epochs=2", *words])))
    assert all(name in line for name in [*names, "resume="]), line
    assert read_files() == before
    assert "summary.json" in {path.name for path in before}


def read_files():
    return {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file() and path.name != "train.log"}


def test_evaluate_and_predict_refuse_what_the_checkpoint_was_not_trained_on(capfd, trained, tmp_path):
    words = [f"checkpoint={trained}", "+data.a.kind=grayscale", "output=out"]
    line = run_command(capfd, *words, command=evaluate.main)
    assert "data.a.kind=grayscale" in line
    assert "data.a.kind=rgb" in line
    assert "input=." in run_command(capfd, "checkpoint=no.ckpt", "input=.", "output=out", command=predict.main)
    if not torch.cuda.is_available():
        cv2.imwrite("image.png", np.zeros((16, 16, 3), np.uint8))
        words = [f"checkpoint={trained}", "input=image.png", "output=out", "device=cuda"]
        assert "device=cuda" in run_command(capfd, *words, command=predict.main)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"5 channels.* 3"):
        Translator(trained)(torch.zeros(1, 5, 16, 16))


def test_an_existing_run_dir_is_refused_and_left_alone(tmp_path, small_pairs):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    for words in ([], ["resume=auto"]):
        assert "run_dir=run" in describe_training(f"data.root={small_pairs}", "run_dir=run", *words)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("content", ["text", "foreign", "cut"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, small_pairs, content):
    path = tmp_path / "a.ckpt"
    if content == "text":
        path.write_text("<html>not found</html>")
    else:
        torch.save({"state_dict": {"weight": torch.zeros(100)}}, path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    assert "a.ckpt" in describe_training(f"data.root={small_pairs}", "resume=a.ckpt")
    assert not (tmp_path / "runs").exists()


def test_control_characters_of_a_name_are_shown(capfd):
    assert report.main(["runs=a\x1b[2J\x07b"]) == 1
    assert "runs=a\\x1b[2J\\x07b is not a folder" in capfd.readouterr().err


def test_a_name_that_is_wrong_in_a_list_and_null_among_several(capfd):
    line = run_command(capfd, "ingredient=[hinge,emaa]")
    assert "ingredient=emaa is unknown: did you mean ema?" in line
    assert "two_rates" in line
    for words in (["-m", "ingredient=null,ema"], ["ingredient=[ema,null]"], ["ingredient=[0]"]):
        line = run_command(capfd, *words)
        assert words[-1] in line
        assert "none" in line
