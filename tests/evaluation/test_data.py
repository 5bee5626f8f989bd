"""The description of the data that are evaluated."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import PairSpec, compose
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.evaluation import check_output, describe_data, read_pair_spec
from pix2pix_lightning.evaluation.data import open_data
from pix2pix_lightning.utils.errors import UserError


@pytest.mark.parametrize("group", [[], ["data=procedural"]])
def test_training_transforms_need_no_trust_and_are_left_out(tmp_path, group):
    words = ["data=procedural", "data.size=32", "data.augmentation=[{_target_: albumentations.ColorJitter}]"]
    run = compose("train", [*words, f"run_dir={tmp_path}"])
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(run, resolve=True))
    description = describe_data(compose("evaluate", [f"checkpoint={tmp_path}", *group]), tmp_path)
    assert "augmentation" not in description
    assert read_pair_spec(description).size == (256 if group else 32)


def write_run(folder, **data):
    data = {"_target_": "pix2pix_lightning.data.PairedDataModule", "root": str(folder / "pairs"), "size": 32, **data}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml({"name": "x", "data": data}))
    return lambda *words: describe_data(compose("evaluate", [f"checkpoint={folder}", *words]), folder)


def test_a_run_from_elsewhere_reads_no_variable_and_writes_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    describe = write_run(tmp_path, cache=str(tmp_path / "elsewhere"))
    assert describe()["cache"] is None
    assert describe("data.cache=mine")["cache"] == "mine"
    with pytest.raises(UserError, match=r"oc\.env:SECRET") as caught:
        write_run(tmp_path, root="/x/${oc.env:SECRET}")()
    assert "hunter2" not in str(caught.value)


def test_all_machines_resize_alike(tmp_path):
    describe = write_run(tmp_path, resize_on="device")
    assert "resize_on" not in describe()
    with pytest.raises(UserError, match=r"data\.resize_on=device"):
        describe("data=folder", "data.resize_on=device")


def test_the_advice_to_skip_pairs_can_be_followed(tmp_path):
    describe = write_run(tmp_path)
    given = {"on_error": "skip", "check": "full", "layout": "strip"}
    assert given.items() <= describe(*(f"data.{key}={value}" for key, value in given.items())).items()
    drawn = write_run(tmp_path, _target_="pix2pix_lightning.data.ProceduralDataModule")
    assert not given.keys() & drawn().keys()


def test_the_advice_for_other_pixels_can_be_followed(tmp_path):
    describe, palette = write_run(tmp_path), [[0, 0, 128], [255, 255, 0]]
    words = ["data=procedural", "data.size=32", "data.num_val=1", "data.num_workers=0"]
    spec = PairSpec(source=build_side("label", palette=palette), size=32, direction="b_to_a")
    with pytest.raises(UserError) as caught:
        open_data(describe(*words), spec, "val")
    advice = str(caught.value).rpartition(": set ")[2].split()
    open_data(describe(*words, *advice), spec, "val")


@pytest.mark.parametrize("text", ["", "- 1", "data: 3", "data: {size: 3}", "data: {_target_: [1]}", "data: {", "\x00"])
def test_a_damaged_configuration_is_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml is damaged"):
        describe_data(compose("evaluate", [f"checkpoint={tmp_path}"]), tmp_path)


def test_an_output_among_what_is_read_is_refused(tmp_path):
    root, checkpoint = tmp_path / "pairs", tmp_path / "run/checkpoints/best.ckpt"
    description = {"root": str(root), "val_split": "holdout"}
    for folder in (root / "val", root / "A", checkpoint.parent):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(root / "val")
    for name in ("pairs", "pairs/val/new", "pairs/holdout", "pairs/A/val", "link/new", ".", "run", "run/checkpoints"):
        with pytest.raises(UserError, match=f"output=.*{name}"):
            check_output(tmp_path / name, checkpoint, description)
    for name in ("new", "run/evaluation", "pairs/results", "pairs2"):
        check_output(tmp_path / name, checkpoint, description)
    check_output(tmp_path / "new", checkpoint, {"num_val": 3})
    nested = {**description, "val_split": "holdout/a"}
    check_output(tmp_path / "pairs/holdout/b", checkpoint, nested)
    with pytest.raises(UserError, match="output="):
        check_output(tmp_path / "pairs/holdout/a/new", checkpoint, nested)


@pytest.mark.parametrize(
    ("folders", "words", "fractions"),
    [
        ([], [], (0.2, 0.1)),
        ([], ["data.root=others"], (0.2, 0.1)),  # the same pairs at another place
        (["val"], ["data.root=others"], (None, 0.1)),
        (["testA", "testB"], ["data.root=others"], (0.2, None)),
        ([], ["data.root=others", "data.val_fraction=1"], (1, None)),
        (["val"], ["data.root=others", "data.val_fraction=1"], (1, None)),
    ],
)
def test_fractions_of_the_run_give_way_to_folders(tmp_path, folders, words, fractions):
    others = tmp_path / "others"
    for folder in ["", *folders]:
        (others / folder).mkdir()
    describe = write_run(tmp_path, val_fraction=0.2, test_fraction=0.1)
    description = describe(*(word.replace("others", str(others)) for word in words))
    assert (description.get("val_fraction"), description.get("test_fraction")) == fractions


def test_sides_that_are_open_are_the_checkpoints_but_for_what_is_given(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("train/A", "train/B", "val/A", "val/B"):
        (tmp_path / folder).mkdir(parents=True)
        np.save(tmp_path / folder / "0.npy", rng.normal(size=(8, 8, 2)).astype(np.float32))
    side = build_side("raw", num_channels=2, dtype="float32", value_range=[-9, 9], nodata=7)
    spec = PairSpec(source=side, target=side, size=8)
    described = {"_target_": "pix2pix_lightning.PairedDataModule", "root": str(tmp_path), "size": 8, "num_workers": 0}
    (batch,) = open_data({**described, "b": {"kind": "auto", "value_range": [["p1", "p99"]]}}, spec, "val")
    np.testing.assert_array_equal(batch["target"][0, 0].numpy(), np.load(tmp_path / "val/B/0.npy")[..., 0])
    with pytest.raises(UserError, match=r"b\.value_range=\[-1\.0,1\.0\].*set data\.b\.value_range=\[-9\.0,9\.0\]"):
        open_data({**described, "b": {"kind": "raw", "value_range": [-1, 1]}}, spec, "val")
