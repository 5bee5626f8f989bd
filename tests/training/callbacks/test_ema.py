from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import small_networks
from pix2pix_lightning import Pix2PixModule, Translator
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.train import train
from pix2pix_lightning.training.callbacks import EMA
from pix2pix_lightning.utils.errors import Interrupted
from tiny_training import NO_GALLERY, configure, use_probe

KEY = "ema_generator"
AVERAGE = ["callbacks=[default,ema]", "callbacks.ema.decay=0.4", "trainer.precision=64-true"]


class Recorder(Callback):
    """Keeps the generator's weights before training and after each batch."""

    def __init__(self):
        self.states = []

    def on_train_start(self, trainer, module):
        self.states.append({name: value.detach().clone() for name, value in module.generator.named_parameters()})

    def on_train_batch_end(self, trainer, module, *args):
        self.on_train_start(trainer, module)


@pytest.fixture(scope="module")
def run(small_pairs, tmp_path_factory):
    """A run of three epochs of two batches: its folder, its settings, and the weights that it went through."""
    folder, recorder = tmp_path_factory.mktemp("ema") / "run", Recorder()
    words = [f"data.root={small_pairs}", NO_GALLERY, *AVERAGE, "module.optimizer_g.lr=0.01", "trainer.max_epochs=3"]
    train(configure(*words, f"run_dir={folder}", use_probe(recorder)))
    return folder / "checkpoints/last.ckpt", words, recorder.states


def test_the_average_is_the_recursion_over_all_batches(run):
    path, _, states = run
    average = states[0]
    for number, state in enumerate(states[1:], start=1):
        decay = min(0.4, (1 + number) / (10 + number))
        average = {name: decay * average[name] + (1 - decay) * value for name, value in state.items()}
    assert len(states) == 7
    found = read_checkpoint(path)[KEY]
    for name, value in average.items():
        assert torch.allclose(found[name], value, atol=1e-12), name


def test_running_statistics_are_averaged_and_other_buffers_copied():
    generator = nn.Sequential(spectral_norm(nn.Linear(8, 8)), nn.BatchNorm1d(8))
    module, checkpoint, ema = SimpleNamespace(generator=generator, batches_seen=1000), {}, EMA(decay=0.5)
    ema.on_train_start(None, module)
    before = generator[1].running_mean.clone()
    generator(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    ema.on_train_batch_end(None, module)
    ema.on_save_checkpoint(None, module, checkpoint)
    assert torch.allclose(checkpoint[KEY]["1.running_mean"], (before + generator[1].running_mean) / 2)
    for name in ("0.parametrizations.weight.0._u", "0.parametrizations.weight.0._v"):
        assert torch.equal(checkpoint[KEY][name], generator.get_buffer(name))


def test_a_resumed_run_goes_on_with_its_average(run):
    path, words, _ = run
    train(configure(*words, "run_dir=parts", "trainer.max_epochs=1"))
    train(configure(*words, "run_dir=parts", "resume=parts"))
    parts = read_checkpoint("parts/checkpoints/last.ckpt")[KEY]
    for name, value in read_checkpoint(path)[KEY].items():
        assert torch.equal(value, parts[name])
        assert torch.isfinite(value).all()


def test_the_translator_uses_the_average_by_default(run):
    source = torch.rand(1, 3, 16, 16)
    trained, averaged, default = (Translator(run[0], weights=weights) for weights in ("trained", "ema", "auto"))
    assert not torch.equal(trained(source), averaged(source))
    assert torch.equal(default(source), averaged(source))
    assert torch.equal(Translator(run[0])(source), averaged(source))
    assert [one.weights for one in (trained, averaged, default)] == ["trained", "ema", "ema"]
    trained.generator.load_state_dict(read_checkpoint(run[0])[KEY])
    assert torch.equal(trained(source), averaged(source))


class ValidationRecorder(Callback):
    """Keeps the outputs of the last validation, and the weights around it; may stop it."""

    def __init__(self, stop_in_epoch=None):
        self.stop_in_epoch = stop_in_epoch

    def on_train_batch_end(self, trainer, module, *args):
        self.trained = {name: value.clone() for name, value in module.generator.state_dict().items()}

    def on_validation_batch_end(self, trainer, module, outputs, batch, *args):
        self.source, self.output = batch["source"], outputs["output"]
        if trainer.current_epoch == self.stop_in_epoch:
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer, module):
        self.after = {name: value.clone() for name, value in module.generator.state_dict().items()}


def test_a_validation_of_the_average_changes_nothing_else(run):
    path, words, _ = run
    recorder = ValidationRecorder()
    train(configure(*words, "callbacks.ema.validate=true", "run_dir=run", use_probe(recorder)))
    usual, other = read_checkpoint(path), read_checkpoint("run/checkpoints/last.ckpt")
    assert usual["state_dict"].keys() == other["state_dict"].keys()
    for one, two in ((usual["state_dict"], other["state_dict"]), (usual[KEY], other[KEY])):
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert all(torch.equal(value, recorder.after[name]) for name, value in recorder.trained.items())
    module = Pix2PixModule.load_from_checkpoint(path, use_ema=True)
    for name, value in usual[KEY].items():
        assert torch.equal(module.generator.state_dict()[name], value.to(module.generator.state_dict()[name].dtype))
    module.double().generator.load_state_dict(usual[KEY])
    assert torch.allclose(recorder.output, module.generate(recorder.source), atol=1e-12)
    module.generator.load_state_dict(recorder.trained)
    assert not torch.allclose(recorder.output, module.generate(recorder.source), atol=1e-6)


@pytest.mark.parametrize("choice", [["callbacks=[default,ema]"], ["ingredient=ema"]], ids=["before", "after"])
def test_a_validation_that_is_stopped_saves_the_trained_weights(small_pairs, choice):
    """Both where the average's callback comes before the one that saves, and after it."""
    recorder = ValidationRecorder(stop_in_epoch=1)
    words = [
        f"data.root={small_pairs}",
        NO_GALLERY,
        *choice,
        "callbacks.ema.validate=true",
        "module.optimizer_g.lr=0.1",
    ]
    with pytest.raises(Interrupted):
        train(configure(*words, "trainer.max_epochs=2", "run_dir=run", use_probe(recorder)))
    saved = read_checkpoint("run/checkpoints/last.ckpt")
    assert saved["pix2pix_lightning"]["batches_seen"] == 4
    for name, value in recorder.trained.items():
        assert torch.equal(saved["state_dict"][f"generator.{name}"], value)
    assert any((saved[KEY][name] != value).any() for name, value in recorder.trained.items())


def test_a_checkpoint_without_an_average(tmp_path):
    path = small_networks.save(Pix2PixModule(small_networks.UNET, None), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"callbacks=\[default,ema\]"):
        Translator(path, weights="ema")
    with pytest.raises(ValueError, match="use_ema=False"):
        Pix2PixModule.load_from_checkpoint(path, use_ema=True)
    with pytest.raises(ValueError, match="decay=1"):
        EMA(decay=1)
    with pytest.raises(ValueError, match="validate=maybe"):
        EMA(validate="maybe")


def test_early_stopping_ends_a_run_that_does_not_improve(small_pairs):
    stop = ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=2", "module.optimizer_g.lr=0.0"]
    one_batch = ["trainer.limit_train_batches=1", "trainer.max_epochs=50", NO_GALLERY]
    train(configure(f"data.root={small_pairs}", "run_dir=run", "loss=l1", *stop, *one_batch))
    checkpoint = read_checkpoint("run/checkpoints/last.ckpt")
    assert checkpoint["epoch"] == 2  # the first epoch and two without improvement
