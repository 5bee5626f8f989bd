"""The configuration of the run that ``resume=`` names, with single keys changed."""

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.cli.resume import load_resumed_config
from pix2pix_lightning.utils.errors import UserError

SCHEDULERS = "pix2pix_lightning.training.schedulers"


def test_another_class_takes_none_of_the_arguments_of_the_one_before(tmp_path):
    OmegaConf.save(compose("train", ["schedule=linear_decay"]), tmp_path / "config.yaml", resolve=True)
    words = [f"resume={tmp_path}", f"module.schedule={{_target_: {SCHEDULERS}.WarmupCosine, total_epochs: 9}}"]
    changed = load_resumed_config(words).module.schedule
    assert changed == {"_target_": f"{SCHEDULERS}.WarmupCosine", "total_epochs": 9}
    words = [f"resume={tmp_path}", f"module.schedule={{_target_: {SCHEDULERS}.LinearDecay, decay_epochs: 9}}"]
    same = load_resumed_config(words).module.schedule
    assert same == {"_target_": f"{SCHEDULERS}.LinearDecay", "hold_epochs": 100, "decay_epochs": 9}


def test_a_run_of_an_earlier_version_is_watched_from_here_on(tmp_path, caplog):
    saved = compose("train", ["data=folder"])
    saved.callbacks.best.monitor = "val/psnr"
    OmegaConf.set_struct(saved, False)
    for name in ("watch", "warn"):
        del saved.callbacks[name]

    def resume(*words):
        OmegaConf.save(saved, tmp_path / "config.yaml", resolve=True)
        caplog.clear()
        resumed = load_resumed_config([f"resume={tmp_path}", *words])
        assert resumed.callbacks.best.monitor == "val/psnr"
        return resumed.callbacks, [word for word in ("callbacks.watch", "callbacks.warn") if word in caplog.text]

    callbacks, said = resume()
    assert not {"watch", "warn"} & callbacks.keys()  # left out on purpose
    assert said == []
    del saved.saving, saved.data.on_error  # which came with them
    with pytest.raises(UserError, match=r"\+data\.on_error=skip"):
        resume("data.on_error=skip")
    callbacks, said = resume("+data.on_error=skip")
    default = compose("train", [f"run_dir={tmp_path}"]).callbacks
    callbacks.watch.run_dir = str(tmp_path)
    assert (callbacks.watch, callbacks.warn) == (default.watch, default.warn)
    assert said == ["callbacks.watch", "callbacks.warn"]
    callbacks, said = resume("callbacks.watch=null", "callbacks.warn.after_steps=7")
    assert callbacks.watch is None
    assert callbacks.warn.after_steps == 7
    assert said == ["callbacks.warn"]


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
