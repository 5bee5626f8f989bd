"""The configuration of the run that ``resume=`` names, with single keys changed."""

from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.cli.resume import load_resumed_config

SCHEDULERS = "pix2pix_lightning.training.schedulers"


def test_another_class_takes_none_of_the_arguments_of_the_one_before(tmp_path):
    OmegaConf.save(compose("train", ["schedule=linear_decay"]), tmp_path / "config.yaml", resolve=True)
    words = [f"resume={tmp_path}", f"module.schedule={{_target_: {SCHEDULERS}.WarmupCosine, total_epochs: 9}}"]
    changed = load_resumed_config(words).module.schedule
    assert changed == {"_target_": f"{SCHEDULERS}.WarmupCosine", "total_epochs": 9}
    words = [f"resume={tmp_path}", f"module.schedule={{_target_: {SCHEDULERS}.LinearDecay, decay_epochs: 9}}"]
    same = load_resumed_config(words).module.schedule
    assert same == {"_target_": f"{SCHEDULERS}.LinearDecay", "hold_epochs": 100, "decay_epochs": 9}
