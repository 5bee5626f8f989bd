"""Losses, gradients and weights that are not finite: training ends or leaves the batch out, and saves none of it."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader

from float_batches import Identity, Silent, build, fit, make_batches
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.training.callbacks import EMA, SaveOnInterrupt, WatchNumbers
from pix2pix_lightning.training.run_files import read_summary_metrics
from pix2pix_lightning.training.watching.nonfinite import find_network, format_broken_weights
from pix2pix_lightning.training.watching.step_history import StepFigures, StepHistory
from pix2pix_lightning.utils.finite import NonFiniteError, find_nonfinite
from pix2pix_lightning.utils.json_text import format_json

NAN = math.nan


class Break(Callback):
    """Fills the first weight of a network before a batch."""

    def __init__(self, network, at, value=NAN):
        self.network, self.at, self.value = network, at, value

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.batches_seen == self.at:
            with torch.no_grad():
                next(getattr(module, self.network).parameters()).view(-1)[0] = self.value


# ---- what is not finite ----------------------------------------------------------------------------------------------


class WithMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("norm.weight", [1.0, NAN], True),
        ("norm.weight", [math.inf, -math.inf], True),
        ("norm.weight", [3e38, 3e38], False),  # the sum overflows
        ("norm.running_var", [1.0, math.inf], True),
        ("mask", [0.0, NAN], True),
        ("mask", [0.0, math.inf], False),  # what a layer masks with
    ],
)
def test_nonfinite_weights_are_told_from_large_ones_and_from_masks(name, value, found):
    network = WithMask()
    network.state_dict()[name].copy_(torch.tensor(value))
    assert find_nonfinite(network.state_dict(), network) == (name if found else None)


def test_a_history_returns_what_was_added_in_one_reading():
    history = StepHistory()
    batches = make_batches(2)
    for number, batch in enumerate(batches):
        history.add(number, {"loss_g": torch.tensor(number + 0.5), "maps": torch.zeros(3)}, batch)
    steps, others = history.read(torch.tensor(7.0), torch.tensor(8.0))
    assert others == [7.0, 8.0]
    assert [step.pairs for step in steps] == [["pair_0", "also_0"], ["pair_1", "also_1"]]
    for number, step in enumerate(steps):
        expected = {side: batches[number][side].double().sum().item() for side in ("source", "target")}
        assert step.values == pytest.approx({"loss_g": number + 0.5, **expected}, abs=1e-4)
    assert not len(history)
    assert history.read() == ([], [])


@pytest.mark.parametrize(
    ("values", "network"),
    [
        ({"loss_d": NAN, "d_real": 0.5, "d_fake": NAN, "l1": NAN, "loss_g": NAN}, "g"),  # its output
        ({"loss_d": NAN, "d_real": NAN, "d_fake": NAN, "l1": 0.3, "adversarial": NAN, "loss_g": NAN}, "d"),
        ({"loss_d": 0.7, "d_real": 0.5, "d_fake": 0.5, "l1": 0.3, "adversarial": NAN, "loss_g": NAN}, "d"),
        ({"gradient_penalty": NAN, "loss_d": NAN, "d_real": 0.5, "d_fake": 0.5, "l1": 0.3, "loss_g": 1.0}, "d"),
        ({"l1": NAN, "loss_g": NAN}, "g"),
    ],
)
def test_the_network_is_found_in_which_it_began(values, network):
    assert find_network(StepFigures(0, (), values)) == network


# ---- training ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "cls"), [("source", Identity), ("target", Silent)])
def test_a_broken_image_ends_training_with_its_names(side, cls):
    module = build(cls)
    with pytest.raises(NonFiniteError, match=f"epoch 1, batch 3: the {side} of pair_2, also_2"):
        fit(module, make_batches(6, [(2, side, math.inf)]), WatchNumbers(every_n_batches=4))
    assert module.batches_seen == 4  # the fourth batch is the next look


@pytest.mark.parametrize(
    ("network", "epoch", "cls"), [("generator", 1, Identity), ("generator", 1, Silent), ("discriminator", 2, Identity)]
)
def test_a_broken_weight_ends_training_with_its_network(network, epoch, cls):
    at = 3 * (epoch - 1) + 1
    with pytest.raises(NonFiniteError, match=f"epoch {epoch}, batch [23]: the {network}"):
        fit(build(cls), make_batches(3), Break(network, at), WatchNumbers(every_n_batches=50), epochs=3)


def test_broken_first_weights_are_named_before_the_first_step():
    module = build()
    with torch.no_grad():
        module.discriminator.stages[0].conv.weight[0, 0, 0, 0] = NAN
    with pytest.raises(NonFiniteError, match=r"discriminator\.stages\.0\.conv\.weight"):
        fit(module, make_batches(1), WatchNumbers())
    assert module.batches_seen == 0


@pytest.mark.parametrize("network", ["g", "d"])
def test_a_rate_that_is_too_high_is_named_with_a_lower_one(network):
    module = build()
    module.parts[f"optimizer_{network}"] = {"_target_": "torch.optim.Adam", "lr": 1e30}
    with pytest.raises(NonFiniteError, match=rf"rate 1e\+30 .*module\.optimizer_{network}\.lr=0\.0002"):
        fit(module, make_batches(3), WatchNumbers())


def test_the_rate_that_is_too_high_may_be_the_other_networks():
    rates = [SimpleNamespace(param_groups=[{"lr": rate}]) for rate in (2e-4, 1.0)]
    trainer = SimpleNamespace(optimizers=rates, current_epoch=0, precision="16-mixed")
    line = format_broken_weights("weights (a.weight)", "g", 4, trainer, None)
    assert "the generator's weights (a.weight)" in line
    assert line.endswith("module.optimizer_d.lr=0.0002")


def test_the_device_is_read_at_the_interval_and_at_the_epochs_end_alone(monkeypatch):
    reads = []
    read = StepHistory.read
    monkeypatch.setattr(StepHistory, "read", lambda self, *others: reads.append(len(self)) or read(self, *others))
    fit(build(), make_batches(10), WatchNumbers(every_n_batches=4), epochs=2)
    assert reads == [4, 4, 2] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="Lightning has 16-mixed for GPUs alone")
def test_the_scaler_of_16_bits_may_leave_out_steps_but_losses_must_be_finite():
    """The first scale is too large for the gradients of a loss of 1e4: steps are left out until it fits."""
    gpu = {"accelerator": "gpu", "precision": "16-mixed"}
    trainer = fit(build(weights={"l1": 1e4}), make_batches(12), WatchNumbers(every_n_batches=1), **gpu)
    assert trainer.precision_plugin.scaler.get_scale() < 65536
    with pytest.raises(NonFiniteError, match="precision=16-mixed"):
        fit(build(), make_batches(3, [(1, "source", 1e9)]), WatchNumbers(), **gpu)


# ---- or the batch is left out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "accumulate"), [("source", 1), ("target", 1), ("target", 2)])
def test_a_batch_left_out_leaves_no_trace(side, accumulate, caplog):
    kept, left_out = build(accumulate=accumulate), build(accumulate=accumulate)
    batches = make_batches(6, [(2, side, NAN)])
    window = range(2, 3) if accumulate == 1 else range(2, 4)
    with caplog.at_level("WARNING"):
        after = fit(left_out, batches, WatchNumbers("skip_batch"))
    before = fit(kept, [b for n, b in enumerate(batches) if n not in window], WatchNumbers())
    # of a window, sound batches add to the running statistics
    names = [name for name in kept.state_dict() if accumulate == 1 or "running" not in name]
    for name in names:
        assert torch.equal(kept.state_dict()[name], left_out.state_dict()[name]), name
    for one, other in zip(before.optimizers, after.optimizers, strict=True):
        for state, expected in zip(other.state.values(), one.state.values(), strict=True):
            assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert "pair_2 also_2" in caplog.text or accumulate == 2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_left_out_does_not_reach_the_ema(accumulate):
    ema, checkpoint = EMA(), {}
    module = build(accumulate=accumulate)
    fit(module, make_batches(6, [(2, "source", NAN)]), WatchNumbers("skip_batch"), ema)
    ema.on_save_checkpoint(None, module, checkpoint)
    assert all(value.isfinite().all() for value in checkpoint["ema_generator"].values())
    next(iter(checkpoint["ema_generator"].values())).view(-1)[0] = NAN
    with pytest.raises(NonFiniteError, match="EMA"):
        ema.on_save_checkpoint(None, module, {})


def test_too_many_batches_left_out_end_training():
    broken = [(number, "source", NAN) for number in (1, 2, 4)]
    fit(build(), make_batches(6, broken), WatchNumbers("skip_batch", max_skipped=3))
    with pytest.raises(NonFiniteError, match=r"batch 5: 3 batches .*max_skipped=2.*pair_1.*pair_2.*pair_4"):
        fit(build(), make_batches(6, broken), WatchNumbers("skip_batch", max_skipped=2))


@pytest.mark.parametrize(
    "options",
    [{"on_nan": "go_on"}, {"max_skipped": -1}, {"every_n_batches": 0}, {"every_n_batches": "few"}],
)
def test_arguments_out_of_range_are_refused(options):
    ((key, value),) = options.items()
    with pytest.raises(ValueError, match=f"{key}={value!r}|{key}={value}"):
        WatchNumbers(**options)


# ---- nothing of it is saved or loaded --------------------------------------------------------------------------------


def test_what_is_not_finite_is_not_saved_and_the_last_checkpoint_stays(tmp_path):
    path = tmp_path / "checkpoints/last.ckpt"
    trainer = fit(build(), make_batches(2))
    trainer.save_checkpoint(path)
    before = path.read_bytes()
    with torch.no_grad():
        trainer.model.generator.down[0].conv.weight[0] = NAN
    with pytest.raises(NonFiniteError, match=r"generator\.down\.0\.conv\.weight"):
        trainer.save_checkpoint(path)
    with pytest.raises(NonFiniteError, match=f"resume={tmp_path}"):
        fit(build(), make_batches(3), Break("generator", 1), WatchNumbers(run_dir=tmp_path), SaveOnInterrupt(path))

    class Interrupt(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 2:
                raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        fit(build(), make_batches(3), Break("generator", 1), WatchNumbers(), SaveOnInterrupt(path), Interrupt())
    assert path.read_bytes() == before


def test_a_checkpoint_that_is_not_finite_is_not_resumed(tmp_path):
    trainer = fit(build(), make_batches(2))
    trainer.save_checkpoint(tmp_path / "sound.ckpt")
    saved = dict(read_checkpoint(tmp_path / "sound.ckpt"))
    saved["state_dict"] = {name: value.clone() for name, value in saved["state_dict"].items()}
    saved["state_dict"]["discriminator.stages.0.conv.bias"][0] = math.inf
    torch.save(saved, tmp_path / "broken.ckpt")
    with pytest.raises(NonFiniteError, match=r"discriminator\.stages\.0\.conv\.bias"):
        Identity.load_from_checkpoint(tmp_path / "broken.ckpt", trust=["float_batches"])
    resumed = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=2)
    with pytest.raises(NonFiniteError, match=r"discriminator\.stages\.0\.conv\.bias"):
        resumed.fit(build(), DataLoader(make_batches(2), batch_size=None), ckpt_path=tmp_path / "broken.ckpt")


def test_json_has_null_for_what_is_not_finite(tmp_path):
    text = format_json({"metrics": {"val/l1": NAN, "best/l1": math.inf, "epochs": 2}, "more": [1.5, (-math.inf, True)]})

    def refuse(name):
        raise AssertionError(name)

    content = json.loads(text, parse_constant=refuse)
    assert content == {"metrics": {"val/l1": None, "best/l1": None, "epochs": 2}, "more": [1.5, [None, True]]}
    (tmp_path / "summary.json").write_text(text)
    assert read_summary_metrics(tmp_path) == pytest.approx({"val/l1": NAN, "best/l1": NAN, "epochs": 2}, nan_ok=True)
