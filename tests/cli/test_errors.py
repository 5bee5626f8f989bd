"""A mistake is answered by one line that names the value and the mend, and by exit status 1."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from helpers import TINY, make_strips
from pix2pix_lightning import Translator, evaluate, predict
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
        ("data.num_workers=5000", "makes sense"),
        ("module.generator.in_channels=1", "generator.in_channels=1, but the pairs make it 3: leave it out"),
        ("module.generator.out_channels=2", "generator.out_channels=2, but the pairs make it 3"),
        ("module.discriminator.in_channels=3", "discriminator.in_channels=3, but the pairs make it 6"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu"),
        ("+logger.tb._target_=lightning.pytorch.loggers.TensorBoardLogger", "save_dir"),
    ],
)
def test_a_wrong_setting_is_named(capfd, tmp_path, strips, override, says):
    line = answer(capfd, f"data.root={strips}", override)
    assert says in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.max_pairs=abc", "data.max_pairs=abc: a whole number of at least 1 is expected"),
        ("data.max_pairs=1.5", "data.max_pairs=1.5: a whole number of at least 1 is expected"),
        ("data.val_split=5", "/5 does not exist"),
        ("data.root=null", "data.root=null: a folder is expected"),
        ("module.generator.num_downs=abc", "num_downs is abc: a whole number of at least 1 is expected"),
    ],
)
def test_a_wrong_kind_where_nothing_is_the_default(capfd, tmp_path, strips, override, says):
    common = [word for word in TINY if not word.startswith(("generator=", "module.generator.num_downs"))]
    line = answer(capfd, f"data.root={strips}", "generator=unet", override, common=common)
    assert says in line
    assert not (tmp_path / "runs").exists()


def test_a_number_of_streets_that_is_none(capfd):
    line = answer(capfd, "data.size=32", "data.num_looks=1.5", common=["data=procedural"])
    assert "data.num_looks=1.5: a whole number of at least 1 is expected" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trainer=gpu"], "trainer.accelerator=gpu trainer.devices=1"),
        (["trainer=gpu", "trainer.devices=4"], "trainer.accelerator=gpu trainer.devices=4"),
        (["trainer.accelerator=cuda"], "trainer.accelerator=cuda"),
        (["trainer=ddp", "trainer.devices=4"], "trainer.devices=4"),
    ],
)
def test_a_gpu_where_there_is_none(capfd, tmp_path, strips, overrides, says):
    line = answer(capfd, f"data.root={strips}", *overrides)
    assert says in line
    assert f"torch {torch.__version__} finds no GPU here" in line
    assert re.search(r"say trainer\.(accelerator=auto|devices=1)", line)
    assert not (tmp_path / "runs").exists()


def test_more_gpus_than_there_are(monkeypatch, capfd, strips):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Accelerator {number}")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    line = answer(capfd, f"data.root={strips}", "trainer=gpu", "trainer.devices=4")
    assert "trainer.devices=4" in line
    assert "finds Accelerator 0 here" in line


PALETTE = "[[0,0,0],[255,255,255],[255,0,0],[0,0,255]]"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Photos (A) and label maps of four colours (B)."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / split).mkdir()
        photo = cv2.resize(rng.integers(60, 200, (5, 5, 3), np.uint8), (40, 40), interpolation=cv2.INTER_CUBIC)
        labels = np.array([[0, 0, 0], [255, 255, 255], [0, 0, 255], [255, 0, 0]], np.uint8)[
            rng.integers(0, 4, (40, 40))
        ]
        cv2.imwrite(str(root / split / "facade.png"), np.concatenate([photo, labels], 1))
    return root


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.a.kind=label", f"data.a.palette={PALETTE}"], "pair facade, data.a: "),
        (["data.b.kind=label", "data.b.palette=[[0,90,0],[90,90,0],[0,90,90],[90,0,90]]"], "pair facade, data.b: "),
        (["data.b.kind=label", "data.b.num_classes=4"], "pair facade, data.b: colours in a side of 4 class numbers"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_labels_that_are_none(capfd, labelled, overrides, says, workers):
    line = answer(capfd, f"data.root={labelled}", *overrides, f"data.num_workers={workers}")
    assert says in line
    if "palette" in overrides[1]:
        assert re.search(
            r"\d+% of the pixels have none of the palette's 4 colours, for example \[\d+, \d+, \d+\]", line
        )
        assert "data.direction" in line
    else:
        assert "give the palette" in line


def test_class_numbers_beyond_the_last(capfd, tmp_path):
    for split in ("train", "val"):
        for side in "AB":
            (tmp_path / "pairs" / split / side).mkdir(parents=True)
            cv2.imwrite(f"pairs/{split}/{side}/one.png", np.full((40, 40), 7, np.uint8))
    line = answer(capfd, "data.root=pairs", "data.b.kind=label", "data.b.num_classes=5")
    assert "pair one, data.b: class number 7 in a side of 5 classes: raise num_classes" in line


@pytest.fixture(scope="module")
def trained(strips, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    words = ["trainer.max_epochs=1", "callbacks.gallery=null", "data.b.kind=grayscale"]
    assert main([*TINY, *words, f"data.root={strips}", f"run_dir={run}"]) == 0
    return run


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["data.a.kind=grayscale"],
            "data.a.kind=grayscale (channels: 1), but the checkpoint was trained with kind=rgb (channels: 3)",
        ),
        (["data.b.kind=label", "data.b.num_classes=5"], "data.b.kind=label (channels: 5), but the checkpoint"),
        (
            ["data.b.kind=rgb"],
            "data.b.kind=rgb (channels: 3), but the checkpoint was trained with kind=grayscale (channels: 1)",
        ),
        (["data.direction=b_to_a"], "data.direction=b_to_a, but the checkpoint was trained a_to_b"),
    ],
)
def test_going_on_with_pairs_that_mean_something_else(capfd, trained, overrides, says):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and path.name != "train.log"}
    assert trained / "summary.json" in before
    line = answer(capfd, f"resume={trained}", "trainer.max_epochs=2", *overrides, common=[])
    assert says in line
    assert "start anew without resume=" in line
    after = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and path.name != "train.log"}
    assert after == before


def test_measuring_and_translating_what_the_checkpoint_does_not_know(capfd, trained, tmp_path):
    line = answer(
        capfd, f"checkpoint={trained}", "+data.a.kind=grayscale", "output=out", start=evaluate.main, common=[]
    )
    assert "data.a.kind=grayscale, but the checkpoint was trained on other pairs: say data.a.kind=rgb" in line
    cv2.imwrite("alpha.png", np.zeros((40, 40, 4), np.uint8))
    words = [f"checkpoint={trained}", "input=alpha.png", "output=out"]
    if not torch.cuda.is_available():
        assert "device=cuda" in answer(capfd, *words, "device=cuda", start=predict.main, common=[])
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="5 channels, but the generator was trained on 3"):
        Translator(trained)(torch.zeros(1, 5, 32, 32))


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

    monkeypatch.setattr("pix2pix_lightning.training.run_dir.resolve_run_dir", broken)
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
