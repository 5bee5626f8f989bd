"""What the configuration of a resumed run may name: classes of known packages, and places in the run's folder."""

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.foreign_config import check_resumed_config, format_resume_words

OWN = {
    "run_dir": "elsewhere",
    "data": {"_target_": "pix2pix_lightning.data.PairedDataModule", "cache": True, "root": "/data",
             "augmentation": [{"_target_": "albumentations.ColorJitter"}]},
    "module": {"_target_": "pix2pix_lightning.Pix2PixModule",
               "optimizer_g": {"_target_": "torch.optim.Adam"}, "metrics": [{"_target_": "torchmetrics.MeanMetric"}]},
    "callbacks": {"best": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "val/l1",
                           "dirpath": "${run_dir}/checkpoints"}, "none": None},
    "logger": {"csv": {"_target_": "pix2pix_lightning.training.loggers.MetricsCSV", "path": "${run_dir}/metrics.csv"}},
    "trainer": {"strategy": {"_target_": "pix2pix_lightning.training.ddp.PerNetworkDDPStrategy"}},
}  # fmt: skip


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Check a run's configuration with one more value; its own module leaves a file where it is called."""
    (tmp_path / "run").mkdir()
    (tmp_path / "own_parts.py").write_text(
        "from pathlib import Path\nfrom lightning.pytorch import Callback\n"
        "class Own(Callback):\n    def __init__(self):\n        Path('called').touch()\n"
        "class Other:\n    pass\n"
        "def call():\n    Path('called').touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda key=None, value=None, **options: check_resumed_config(
        OmegaConf.merge(OWN, OmegaConf.from_dotlist([f"{key}={value}"]) if key else {}), Path("run"), **options
    )
    sys.modules.pop("own_parts", None)
    assert not Path("called").exists()


def test_the_projects_own_parts_are_accepted(check):
    check()


@pytest.mark.parametrize(
    "key",
    ["data._target_", "data.transform.x._target_", "module.generator._target_", "callbacks.x._target_",
     "logger.x._target_", "trainer.plugins.x._target_", "trainer._target_", "speed.x._target_"],
)  # fmt: skip
def test_another_package_needs_trust_wherever_it_is_named(check, key):
    with pytest.raises(UserError, match=r"own_parts.*add trust=\[own_parts\]$"):
        check(key, "own_parts.call")
    assert "own_parts" not in sys.modules
    with pytest.raises(UserError, match=r"trust=\[mine,own_parts\]"):
        check(key, "own_parts.call", trust=["mine"])
    with pytest.raises(UserError, match=r"own_parts\.call"):  # a function is not called in any case
        check(key, "own_parts.call", trust=["own_parts"])
    check(key, "own_parts.call", given=[key.partition(".")[0]])


def test_a_trusted_class_has_to_be_of_the_kind_of_its_place(check):
    check("callbacks.x._target_", "own_parts.Own", trust=["own_parts"])
    for key, target in [
        ("callbacks.x._target_", "own_parts.Other"),
        ("logger.x._target_", "own_parts.Own"),
        ("module.generator._target_", "own_parts.Own"),
        ("data._target_", "own_parts.Own"),
        ("data._target_", "pix2pix_lightning.training.callbacks.EMA"),
        ("callbacks.x._target_", "lightning.pytorch.callbacks.callback.Path"),
        ("callbacks.x._target_", "NoPackage"),
    ]:
        with pytest.raises(UserError, match=target.rpartition(".")[2]):
            check(key, target, trust=["own_parts"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("callbacks.best.dirpath", "/elsewhere"),
        ("callbacks.best.dirpath", "elsewhere"),
        ("callbacks.best.dirpath", "${run_dir}/../other"),
        ("callbacks.best.filename", "../../best"),
        ("callbacks.best.filename", "~/best"),
        ("logger.csv.path", "metrics.csv"),
        ("logger.x.save_dir", "${run_dir}2"),
        ("trainer.default_root_dir", "."),
        ("data.cache", "/scratch"),
    ],
)
def test_places_outside_of_the_runs_folder_are_repeated_on_the_command_line(check, key, value):
    cfg = OmegaConf.merge(OWN, OmegaConf.from_dotlist([f"{key}={value}"]))
    word = f"{key}={value.replace('${run_dir}', 'run')}"
    with pytest.raises(UserError) as caught:
        check(key, value)
    assert str(caught.value).endswith(f"add {word}")
    check(key, value, given=[key])
    assert format_resume_words(cfg, Path("run")) == [word]


@pytest.mark.parametrize("value", ["val/l1", "${run_dir}/a/../b", "simple", "about 1/2", "~5 %"])
def test_other_texts_and_places_inside_are_accepted(check, value):
    check("callbacks.best.monitor", value)


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/last.ckpt", "train.log", "gallery/images"])
def test_links_that_lead_out_of_the_folder_are_refused(check, name):
    (Path("run") / name).parent.mkdir(exist_ok=True)
    (Path("run") / name).symlink_to("inside")
    check()
    (Path("run") / name).unlink()
    (Path("run") / name).symlink_to(Path("other").absolute())
    with pytest.raises(UserError, match=name):
        check()


def test_the_hint_on_resuming_has_what_is_needed():
    own = {"callbacks": {"x": {"_target_": "own_parts.Own"}}, "data": {"cache": "/scratch"}}
    words = format_resume_words(OmegaConf.merge(OWN, own), Path("run"))
    assert words == ["trust=[own_parts]", "data.cache=/scratch"]
