"""A mistake is answered by one line that names the value and the mend, and by exit status 1."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from helpers import TINY, make_strips
from pix2pix_lightning.train import main


@pytest.fixture(scope="session")
def strips(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs"))


def answer(capfd, *overrides, status=1, start=main, common=TINY):
    assert start([*common, *overrides]) == status
    lines = [line for line in capfd.readouterr().err.splitlines() if line]
    assert lines, "nothing was said"
    assert lines[-1].startswith("error: ")
    assert not any("Traceback" in line for line in lines)
    # progress may stand before it, but the mistake itself is one line
    assert sum(line.startswith("error: ") for line in lines) == 1
    return lines[-1]


def test_a_missing_folder_is_named_with_the_archives_address(capfd):
    line = answer(capfd, "experiment=edges2shoes", "data.root=nowhere/shoes", common=[])
    assert "data.root=nowhere/shoes" in line
    assert "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/edges2shoes.tar.gz" in line


def test_an_empty_folder(capfd, tmp_path):
    (tmp_path / "pairs").mkdir()
    assert "pairs/train" in answer(capfd, "data.root=pairs")


def test_a_split_without_images(capfd, tmp_path):
    root = make_strips(tmp_path / "pairs")
    for image in (root / "val").iterdir():
        image.rename(image.with_suffix(".txt"))
    line = answer(capfd, "data.root=pairs")
    assert "pairs/val: no image" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("odd.png", "odd", "41 pixels wide"),
        ("cut.jpg", "cut", "truncated"),
        ("text.png", "text", "cannot be decoded"),
        ("none.png", "none", "none.png"),
    ],
)
def test_a_bad_file_is_named(capfd, tmp_path, workers, name, content, says):
    root = make_strips(tmp_path / "pairs", train=1)
    path = root / "train" / name
    if content == "odd":
        cv2.imwrite(str(path), np.zeros((20, 41, 3), np.uint8))
    else:
        cv2.imwrite(str(tmp_path / "whole.jpg"), np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8))
        whole = (tmp_path / "whole.jpg").read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no image at all", "none": b""}[content])
    line = answer(capfd, "data.root=pairs", f"data.num_workers={workers}")
    assert name in line
    assert says in line


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.sise=3", "did you mean data.size"),
        ("trainer.max_epoch=3", "did you mean trainer.max_epochs"),
        ("optimiser=adam", "optimiser"),
        ("generator=unet_512", "unet_256"),
        ("experiment=facade", "did you mean facades"),
        ("data.batch_size=many", "data.batch_size=many"),
        ("data.batch_size=2.5", "data.batch_size=2.5"),
        ("data.batch_size=0", "data.batch_size=0"),
        ("trainer.max_epochs=soon", "trainer.max_epochs=soon"),
        ("data.jitter=3", "data.jitter=3"),
        ("seed=-1", "seed=-1"),
        ("data.direction=sideways", "a_to_b, b_to_a"),
        ("data.size=40", "32"),
        ("trainer.accelerator=abacus", "abacus"),
        ("+module.generator.depth=3", "depth"),
        ("+module.loss_weight=3", "loss_weight"),
        ("+trainer.epochs=3", "epochs"),
        ("module.generator.norm=layer", "layer"),
        ("module.weights.l1=heavy", "module.weights.l1=heavy"),
        ("resume=nothing_here", "nothing_here"),
        ("data.b.kind=depth", "rgb, grey, label"),
        ("data.b.kind=label", "palette"),
        ("module.generator._target_=os.system", "os.system"),
        ("module.optimizer_g._target_=torch.optim.Adamm", "Adamm"),
        ("adversarial=wgan_gp", "module.discriminator.norm=instance"),
        ("module.gradient_clip=-1", "gradient_clip=-1"),
        ("module.gradient_clip=some", "gradient_clip=some"),
        ("module.optimizer_g.lr=-1.0", "optimizer_g"),
        ("+logger.tb._target_=lightning.pytorch.loggers.TensorBoardLogger", "tensorboard"),
    ],
)
def test_a_wrong_setting_is_named(capfd, tmp_path, strips, override, says):
    line = answer(capfd, f"data.root={strips}", override)
    assert says in line
    assert not (tmp_path / "runs").exists()


def test_a_line_that_cannot_be_read_has_status_2(capfd):
    answer(capfd, "data.a={kind", status=2)
    with pytest.raises(AssertionError):  # argparse speaks for itself
        answer(capfd, "--nonsense", status=2)


def test_a_run_that_fails_before_its_first_checkpoint_leaves_its_name_free(capfd, tmp_path, strips):
    line = answer(capfd, f"data.root={strips}", "data.size=40", "run_dir=deep/er/run")
    assert "40" in line
    assert not (tmp_path / "deep").exists()


def test_an_existing_run_dir_is_refused_and_left_alone(capfd, tmp_path, strips):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    line = answer(capfd, f"data.root={strips}", "run_dir=run")
    assert "run_dir=run exists" in line
    assert "resume=run" in line
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("content", ["text", "zip", "foreign", "cut"])
def test_a_checkpoint_that_is_none(capfd, tmp_path, strips, content):
    path = tmp_path / "a.ckpt"
    if content == "text":
        path.write_text("<html>not found</html>")
    else:
        torch.save({"state_dict": {"weight": torch.zeros(100)}}, path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    line = answer(capfd, f"data.root={strips}", "resume=a.ckpt")
    assert "a.ckpt" in line
    assert not (tmp_path / "runs").exists()


def test_a_bug_keeps_its_traceback(strips, monkeypatch):
    def broken(*args, **kwargs):
        return {}["a bug"]

    monkeypatch.setattr("pix2pix_lightning.runs.place", broken)
    with pytest.raises(KeyError):
        main([*TINY, f"data.root={strips}"])


@pytest.mark.parametrize(
    ("door", "arguments", "says"),
    [
        ("train", ["experiment=maps"], "datasets/maps.tar.gz"),
        ("train", ["data.sise=3"], "did you mean data.size"),
        ("predict", ["checkpoint=none.ckpt", "input=.", "output=out"], "input=."),
    ],
)
def test_as_a_real_command(tmp_path, door, arguments, says):
    command = [sys.executable, "-m", f"pix2pix_lightning.{door}", *arguments]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    assert says in process.stderr
