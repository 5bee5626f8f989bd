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


def test_a_schedule_that_is_given_keeps_its_length(tmp_path):
    OmegaConf.save(
        compose("train", ["schedule=cosine", "trainer.max_epochs=6"]), tmp_path / "config.yaml", resolve=True
    )
    longer = [f"resume={tmp_path}", "trainer.max_epochs=8"]
    assert load_resumed_config(longer).module.schedule.total_epochs == 8
    given = f"module.schedule={{_target_: {SCHEDULERS}.WarmupCosine, total_epochs: 20}}"
    assert load_resumed_config([*longer, given]).module.schedule.total_epochs == 20
    other = "module.schedule={_target_: torch.optim.lr_scheduler.StepLR, step_size: 2}"
    assert "total_epochs" not in load_resumed_config([*longer, other]).module.schedule
