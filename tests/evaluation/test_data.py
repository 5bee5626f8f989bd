"""The description of the data that are evaluated."""

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.evaluation import describe_data, read_pair_spec


@pytest.mark.parametrize("group", [[], ["data=procedural"]])
def test_training_transforms_need_no_trust_and_are_left_out(tmp_path, group):
    words = ["data=procedural", "data.size=32", "data.augmentation=[{_target_: albumentations.ColorJitter}]"]
    run = compose("train", [*words, f"run_dir={tmp_path}"])
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(run, resolve=True))
    description = describe_data(compose("evaluate", [f"checkpoint={tmp_path}", *group]), tmp_path)
    assert "augmentation" not in description
    assert read_pair_spec(description).size == (256 if group else 32)
