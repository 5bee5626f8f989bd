"""What ``speed=auto`` chooses, that it is logged and stored, and that nothing set by hand is changed."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from helpers import make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.train import train
from pix2pix_lightning.training import performance_choice as speed_choice
from pix2pix_lightning.training.performance_choice import choose_compile, choose_options
from tiny_training import NO_GALLERY, configure

SWITCHES = ["channels_last", "fused_optimizer", "matmul_convolutions", "keep_memory", "async_checkpoints"]


@pytest.fixture(scope="module")
def compose_with():
    """The default configuration with single keys, composed once."""
    base = compose("train")
    return lambda *words: OmegaConf.merge(base, OmegaConf.from_dotlist(list(words)))


@pytest.fixture
def use_device(monkeypatch):
    """Choose the device that is found, and whether it computes in bfloat16."""

    def use_device(name, *, bfloat16):
        monkeypatch.setattr(speed_choice, "resolve_device", lambda accelerator: name)
        monkeypatch.setattr(speed_choice, "supports_bfloat16", lambda device: bfloat16)

    return use_device


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_on_a_cpu(use_device, compose_with, bfloat16, precision):
    use_device("cpu", bfloat16=bfloat16)
    cfg = compose_with()
    reasons = {choice.key: choice.reason for choice in choose_options(cfg)}
    assert cfg.speed.precision == cfg.trainer.precision == precision
    assert all(cfg.speed[key] is True for key in SWITCHES)
    assert cfg.speed.winograd_convolutions is not bfloat16
    assert cfg.speed.cuda_graph is cfg.speed.pin_memory is cfg.speed.checkpoint_activations is False
    assert cfg.data.num_workers == cfg.speed.num_workers == 1
    assert set(reasons) == set(cfg.speed) - {"compile", "checkpoint_activations"}
    assert "bfloat16" in reasons["precision"]
    assert choose_options(cfg) == []


def test_on_a_gpu(use_device, compose_with):
    use_device("cuda", bfloat16=True)
    cfg = compose_with()
    choose_options(cfg)
    assert cfg.speed.pin_memory is cfg.data.pin_memory is True
    assert cfg.speed.keep_memory is cfg.speed.matmul_convolutions is cfg.speed.winograd_convolutions is False


def test_what_is_set_by_hand_stays(use_device, compose_with):
    use_device("cpu", bfloat16=True)
    cfg = compose_with("trainer.precision=64-true", "speed.channels_last=false", "data.num_workers=0")
    keys = {choice.key for choice in choose_options(cfg)}
    assert keys == {*SWITCHES, "winograd_convolutions", "cuda_graph", "pin_memory"} - {"channels_last"}
    assert cfg.speed.winograd_convolutions is True
    assert cfg.trainer.precision == cfg.speed.precision == "64-true"
    assert cfg.speed.channels_last is False
    assert cfg.data.num_workers == cfg.speed.num_workers == 0
    cfg = compose("train", ["speed=off"])
    before = OmegaConf.to_container(cfg.speed)
    assert choose_options(cfg) == []
    assert before == cfg.speed
    assert not any(before[key] for key in [*SWITCHES, "winograd_convolutions", "compile", "cuda_graph"])


def test_a_resumed_run_of_a_version_without_the_key_computes_as_before(use_device, compose_with, tmp_path):
    use_device("cpu", bfloat16=False)
    before = {"speed": {"matmul_convolutions": False}, "trainer": {"precision": "32-true"}}
    OmegaConf.save(before, tmp_path / "config.yaml")
    cfg = compose_with()
    choose_options(cfg, tmp_path / "config.yaml")
    assert cfg.speed.winograd_convolutions is cfg.speed.matmul_convolutions is False
    cfg = compose_with("speed.winograd_convolutions=true")
    choose_options(cfg, tmp_path / "config.yaml")
    assert cfg.speed.winograd_convolutions is True


def test_the_memory_of_somebody_elses_network_is_left_in_its_order(use_device, compose_with):
    use_device("cpu", bfloat16=True)
    cfg = compose_with("module.generator._target_=my_project.Generator")
    choose_options(cfg)
    assert cfg.speed.channels_last is False
    assert cfg.speed.fused_optimizer is True


@pytest.mark.parametrize(
    ("key", "value"), [("compile", "maybe"), ("channels_last", 2), ("num_workers", "few"), ("num_workers", -1)]
)
def test_other_values_are_refused(compose_with, key, value):
    with pytest.raises(ValueError, match=rf"speed\.{key}={value}: "):
        choose_options(compose_with(f"speed.{key}={value}"))


class Pairs:
    batch_size = 4

    def __init__(self, batches):
        self.batches = batches

    def train_dataloader(self):
        return range(self.batches)


@pytest.mark.parametrize(
    ("name", "batches", "triton", "word", "compiled"),
    [
        ("cuda", 1000, True, "seed=0", True),  # 4 x 1000 images x 10 epochs
        ("cuda", 100, True, "seed=0", False),
        ("cuda", 1000, False, "seed=0", False),
        ("cpu", 1000, True, "seed=0", False),
        ("cuda", 1000, True, "trainer.limit_train_batches=499", False),
        ("cuda", 1000, True, "trainer.limit_train_batches=2000", True),
        ("cuda", 1000, True, "trainer.limit_train_batches=0.499", False),
        ("cuda", 1000, True, "trainer.max_epochs=null", False),
        ("cuda", 1000, True, "trainer.max_epochs=-1", False),
    ],
)
def test_compiling_has_to_pay(use_device, compose_with, monkeypatch, name, batches, triton, word, compiled):
    use_device(name, bfloat16=True)
    monkeypatch.setattr(speed_choice, "find_spec", lambda package: triton or None)
    cfg = compose_with("trainer.max_epochs=10", word)
    (choice,) = choose_compile(cfg, Pairs(batches))
    assert choice.value is cfg.speed.compile is compiled
    assert choice.reason
    assert choose_compile(cfg, None) == []


def test_a_run_logs_and_stores_what_was_chosen_and_keeps_it(small_pairs, capfd):
    words = [f"data.root={small_pairs}", "run_dir=run", "resume=auto", NO_GALLERY, "trainer.limit_train_batches=1"]
    train(configure(*words, "trainer.max_epochs=1", "speed.precision=32-true"))
    (line,) = (line for line in capfd.readouterr().err.splitlines() if "speed=auto" in line)
    assert len(line) < 80
    log = Path("run/train.log").read_text()
    assert "channels_last=true (" in log
    assert "num_workers" not in log  # data.num_workers is given
    saved = OmegaConf.load("run/config.yaml")
    assert saved.trainer.precision == "32-true"
    assert "auto" not in saved.speed.values()

    train(configure(*words))  # auto is what the run has, whatever this machine could do
    assert "speed=auto" not in capfd.readouterr().err
    assert OmegaConf.load("run/config.yaml").trainer.precision == "32-true"
    train(configure(*words))
    assert "epoch" not in capfd.readouterr().err  # it is finished

    train(compose("train", ["resume=run", "speed.precision=64-true", "trainer.max_epochs=3"]))
    assert OmegaConf.load("run/config.yaml").trainer.precision == "64-true"


def test_a_cache_is_asked_for_by_its_key(tmp_path):
    root = make_strips(tmp_path / "pairs", train=2, val=1, side=16)
    train(configure(f"data.root={root}", "run_dir=run", "trainer.max_epochs=1", "data.cache=true", NO_GALLERY))
    assert OmegaConf.load("run/config.yaml").data.cache is True
    assert list((root / ".pix2pix_cache").rglob("a.bin"))


@pytest.mark.parametrize(
    ("device", "precision", "computes"),
    [("cpu", "32-true", True), ("cpu", 64, True), ("cpu", "bf16-mixed", False), ("cuda", "32-true", False)],
)
def test_where_fewer_products_have_an_effect(use_device, compose_with, device, precision, computes):
    use_device(device, bfloat16=True)
    cfg = compose_with(f"trainer.precision={precision}")
    assert speed_choice.computes_float(cfg.trainer) is computes
    choose_options(cfg)
    assert cfg.speed.winograd_convolutions is computes
