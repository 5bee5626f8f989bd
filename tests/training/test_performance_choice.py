"""What ``speed=auto`` comes to, that it is said and kept, and that nothing set by hand is changed."""

import pytest
from omegaconf import OmegaConf

from helpers import TINY, make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.train import main
from pix2pix_lightning.training import performance_choice as speed_choice
from pix2pix_lightning.training.performance_choice import choose_compile, choose_options

SWITCHES = ["channels_last", "fused_optimizer", "matmul_convolutions", "keep_memory", "async_checkpoints"]


@pytest.fixture
def device(monkeypatch):
    """A device that is at hand, and whether it computes in bfloat16."""

    def at_hand(name, *, bfloat16):
        monkeypatch.setattr(speed_choice, "resolve_device", lambda accelerator: name)
        monkeypatch.setattr(speed_choice, "supports_bfloat16", lambda device: bfloat16)

    return at_hand


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_on_a_cpu(device, bfloat16, precision):
    device("cpu", bfloat16=bfloat16)
    cfg = compose("train")
    reasons = {choice.key: choice.reason for choice in choose_options(cfg)}
    assert cfg.speed.precision == cfg.trainer.precision == precision
    assert all(cfg.speed[key] is True for key in SWITCHES)
    assert cfg.speed.cuda_graph is cfg.speed.pin_memory is cfg.speed.checkpoint_activations is False
    assert cfg.data.num_workers == cfg.speed.num_workers == 1
    assert set(reasons) == set(cfg.speed) - {"compile", "checkpoint_activations"}
    assert "bfloat16" in reasons["precision"]
    assert choose_options(cfg) == []


def test_on_a_gpu(device):
    device("cuda", bfloat16=True)
    cfg = compose("train")
    choose_options(cfg)
    assert cfg.speed.pin_memory is cfg.data.pin_memory is True
    assert cfg.speed.keep_memory is cfg.speed.matmul_convolutions is False


def test_what_is_set_by_hand_stays(device):
    device("cpu", bfloat16=True)
    cfg = compose("train", ["trainer.precision=64-true", "speed.channels_last=false", "data.num_workers=0"])
    choose_options(cfg)
    assert cfg.trainer.precision == cfg.speed.precision == "64-true"
    assert cfg.speed.channels_last is False
    assert cfg.data.num_workers == 0
    cfg = compose("train", ["speed=off"])
    before = OmegaConf.to_container(cfg.speed)
    assert choose_options(cfg) == []
    assert before == cfg.speed
    assert not any(before[key] for key in [*SWITCHES, "compile", "cuda_graph"])


def test_the_memory_of_somebody_elses_network_is_left_in_its_order(device):
    device("cpu", bfloat16=True)
    cfg = compose("train", ["module.generator._target_=my_project.Generator"])
    choose_options(cfg)
    assert cfg.speed.channels_last is False
    assert cfg.speed.fused_optimizer is True


@pytest.mark.parametrize(
    ("key", "value"), [("compile", "maybe"), ("channels_last", 2), ("num_workers", "few"), ("num_workers", -1)]
)
def test_other_values_are_refused(key, value):
    with pytest.raises(ValueError, match=rf"speed\.{key}={value}: "):
        choose_options(compose("train", [f"speed.{key}={value}"]))


class Pairs:
    batch_size = 4

    def __init__(self, batches):
        self.batches = batches

    def train_dataloader(self):
        return range(self.batches)


@pytest.mark.parametrize(
    ("name", "batches", "triton", "compiled"),
    [
        ("cuda", 1000, True, True),  # 4 x 1000 images x 10 epochs
        ("cuda", 100, True, False),
        ("cuda", 1000, False, False),
        ("cpu", 1000, True, False),
    ],
)
def test_compiling_has_to_pay(device, monkeypatch, name, batches, triton, compiled):
    device(name, bfloat16=True)
    monkeypatch.setattr(speed_choice, "find_spec", lambda package: triton or None)
    cfg = compose("train", ["trainer.max_epochs=10"])
    (choice,) = choose_compile(cfg, Pairs(batches))
    assert choice.value is cfg.speed.compile is compiled
    assert choice.reason
    assert choose_compile(cfg, None) == []


def test_a_run_says_what_was_chosen_keeps_it_and_goes_on_with_it(tmp_path, capfd):
    run = tmp_path / "run"
    command = [*TINY, f"data.root={make_strips(tmp_path / 'data')}", f"run_dir={run}", "resume=auto"]
    assert main([*command, "trainer.max_epochs=1", "speed.precision=32-true"]) == 0
    assert "speed=auto chose channels_last=true (" in capfd.readouterr().err
    saved = OmegaConf.load(run / "config.yaml")
    assert saved.trainer.precision == "32-true"
    assert "auto" not in saved.speed.values()

    assert main([*command, "trainer.max_epochs=2"]) == 0  # auto is what the run has, whatever this machine could do
    assert "speed=auto chose" not in capfd.readouterr().err
    assert OmegaConf.load(run / "config.yaml").trainer.precision == "32-true"
    assert main([*command, "trainer.max_epochs=2"]) == 0
    assert "is finished already" in capfd.readouterr().err


def test_the_precision_of_a_resumed_run_can_be_changed(tmp_path):
    run = tmp_path / "run"
    assert main([*TINY, f"data.root={make_strips(tmp_path / 'data')}", f"run_dir={run}", "trainer.max_epochs=1"]) == 0
    assert main([f"resume={run}", "speed.precision=64-true", "trainer.max_epochs=2"]) == 0
    assert OmegaConf.load(run / "config.yaml").trainer.precision == "64-true"


def test_a_cache_is_asked_for_on_the_command_line(tmp_path):
    root = make_strips(tmp_path / "data")
    words = [f"data.root={root}", f"run_dir={tmp_path / 'run'}", "trainer.max_epochs=1", "data.cache=true"]
    assert main([*TINY, *words]) == 0
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").data.cache is True
    assert list((root / ".pix2pix_cache").rglob("a.npy"))
