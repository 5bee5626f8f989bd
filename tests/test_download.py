"""The command download, and data.download of train and evaluate."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from loopback import serve
from pix2pix_lightning import PairedDataModule, compose, download
from pix2pix_lightning.checkpoints.files import find_checkpoint
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.cli.resume import load_resumed_config
from pix2pix_lightning.data.archives.archive import Archive
from pix2pix_lightning.evaluation import describe_data, open_data
from pix2pix_lightning.train import train
from pix2pix_lightning.utils.errors import UserError
from tiny_training import configure

CATALOG = sorted(path.stem for path in (find_conf_dir() / "data").glob("*.yaml"))
# REFERENCE: pairs of each split in the archives of the paper
PAIRS = {
    "facades": {"train": 400, "val": 100, "test": 106},
    "facades_classes": {"train": 400, "val": 100, "test": 106},
    "maps": {"train": 1096, "val": 1098},
    "edges2shoes": {"train": 49825, "val": 200},
    "edges2handbags": {"train": 138567, "val": 200},
    "night2day": {"train": 17823, "val": 10, "test": 2287},
    "cityscapes": {"train": 2975, "val": 500},
}


@pytest.fixture
def packed(small_pairs):
    """An archive of four training and two validation pairs."""
    return shutil.make_archive("packed", "zip", small_pairs)


def read_error(capsys):
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    return printed.err


def test_the_command(packed, small_pairs, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serve(Path(packed).read_bytes()) as server:
        words = [
            "data=maps",
            f"url={server.url}",
            "data.archive.num_bytes=null",
            "data.archive.pairs={train: 4, val: 2}",
        ]
        assert download.main(words) == 0
        out = capsys.readouterr().out
        assert out.startswith("data/maps: 4 pairs in train, 2 pairs in val\n")
        assert "Google Maps" in out
        names = [{path.relative_to(root) for path in Path(root).rglob("*.png")} for root in ("data/maps", small_pairs)]
        assert names[0] == names[1]
        assert download.main(words) == 0
        assert "already" in capsys.readouterr().out
        assert len(server.requests) == 1
    assert download.main(["data=facades", "data.root=data/maps"]) == 1
    assert "4 of 400 pairs in train" in read_error(capsys)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["data=facades"]),
        (["data=procedural"], ["data=facades"]),
        (["data=cityscapes"], ["cityscapes-dataset.com", "url="]),
        (["data=folder"], ["data=facades", "url="]),
        (["data=facades", "url=packed.zip"], ["num_bytes=30168306", "num_bytes=null"]),
        (["data=edges2shoes", "url=packed.zip"], ["4 of 49825 pairs in train", "2 of 200 pairs in val"]),
        (["data.root=mine", "url=nowhere.zip"], ["nowhere.zip does not exist"]),
        (["data.root=mine", "url=packed.zip", "data.archive.sha256=12"], ["data.archive.sha256=12"]),
    ],
)
@pytest.mark.usefixtures("packed")
def test_errors_are_one_line(words, parts, capsys):
    assert download.main(words) == 1
    error = read_error(capsys)
    assert all(part in error for part in parts)
    assert [path.name for path in Path().iterdir()] == ["packed.zip"]


def test_the_catalog_has_the_papers_data_sets():
    for name in CATALOG:
        data = OmegaConf.to_container(compose("download", [f"data={name}"]).data, resolve=False)
        archive = Archive.from_config(data.get("archive"))
        assert dict(archive.pairs) == PAIRS.get(name, {})
        if name in PAIRS:
            assert archive.name == Path(data["root"]).name == name.removesuffix("_classes")
            assert (archive.url is None) == (name == "cityscapes")
            assert archive.citation
    assert set(PAIRS) <= set(CATALOG)


def test_a_training_downloads_before_its_folder_is_made(packed, small_pairs):
    words = ["data.root=pairs", "data.download=true", "run_dir=run", "trainer.max_epochs=1"]
    with pytest.raises(UserError, match=r"data\.root has no archive .*url"):
        train(configure(*words))
    with pytest.raises(UserError, match=r"nowhere\.zip"):
        train(configure(*words, "data.archive.url=nowhere.zip"))
    with pytest.raises(UserError, match=r"data\.download=maybe"):
        train(configure(*words, "data.download=maybe"))
    assert not Path("run").exists()
    train(configure(*words, f"data.archive.url={packed}"))
    names = [{path.relative_to(root) for path in Path(root).rglob("*.png")} for root in ("pairs", small_pairs)]
    assert names[0] == names[1]
    # what a run's file says of it does not count, since the folder may be from elsewhere
    shutil.rmtree("pairs")
    assert OmegaConf.load("run/config.yaml").data.download is True
    assert load_resumed_config(["resume=run"]).data.download is False
    assert load_resumed_config(["resume=run", "data.download=true"]).data.download is True
    evaluate(["checkpoint=run"], fails=True)
    assert not Path("pairs").exists()
    assert len(evaluate(["checkpoint=run", "data.download=true"])) == 2


def evaluate(words, *, fails=False):
    """Return the batches that an evaluation reads."""
    cfg = compose("evaluate", [*words, "batch_size=1"])
    description = describe_data(cfg, find_checkpoint(Path("run")).parents[1])
    spec = PairedDataModule(**{key: value for key, value in description.items() if key[0] != "_"}).pair_spec
    if fails:
        with pytest.raises(UserError, match=r"data\.root=pairs is no folder"):
            open_data(description, spec, "val")
        return []
    return list(open_data(description, spec, "val"))


def test_a_data_module_downloads_when_it_is_prepared(packed):
    data = PairedDataModule("pairs", size=16, num_workers=0, archive=packed, download=True)
    assert data.pair_spec.strips is None
    with pytest.raises(UserError, match=r"pix2pix_lightning\.download data\.root=pairs url="):
        data.setup()
    data.prepare_data()
    assert data.pair_spec.strips == (32, 16)
    data.setup()
    assert sum(len(batch["name"]) for batch in data.val_dataloader()) == 2


def test_a_missing_folder_names_the_command(capsys):
    with pytest.raises(UserError, match=r"python -m pix2pix_lightning\.download data=facades data\.root=data/facades "):
        train(compose("train", ["experiment=facades", "trainer=cpu"]))
    assert not Path("runs").exists()
