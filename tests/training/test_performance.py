"""Performance options change a step's results by rounding alone, and nothing in it waits for the device."""

import copy
import platform
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.restore import detach_lr_tensors
from pix2pix_lightning.losses import gradient_penalty
from pix2pix_lightning.networks import PatchDiscriminator, use_eval_mode
from pix2pix_lightning.networks.fast_convolutions import layers
from pix2pix_lightning.networks.fast_convolutions.layers import FastConv2d
from pix2pix_lightning.training.callbacks import Performance
from pix2pix_lightning.training.callbacks.performance import count_steps
from pix2pix_lightning.training.performance import (
    PerformanceOptions,
    optimizer_flags,
    restore_optimizer_flags,
    use_contiguous_views,
)
from pix2pix_lightning.training.schedulers import LinearDecay

G = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 4, "base_channels": 4, "dropout_at": "paper"}
D = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 2, "base_channels": 4, "norm": "none"}
ADAM = {"_target_": "torch.optim.Adam", "lr": 2e-3, "betas": [0.5, 0.999]}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
FLAGS = ["channels_last", "fused_optimizer", "matmul_convolutions", "winograd_convolutions", "checkpoint_activations"]
WAITS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2"}


def batches(count, size=2, side=32):
    generator = torch.Generator().manual_seed(1)
    sides = [
        torch.randint(0, 256, (2, size, 3, side, side), generator=generator, dtype=torch.uint8) for _ in range(count)
    ]
    return [{"source": s, "target": t, "name": [""] * size} for s, t in sides]


def build_module(**options):
    return Pix2PixModule(**{"generator": G, "discriminator": D, "optimizer_g": ADAM, "optimizer_d": ADAM, **options})


def fit(module, data, speed=None, *, epochs=1, precision="64-true", ckpt_path=None, callbacks=(), accelerator="cpu"):
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_epochs=epochs,
        logger=False,
        callbacks=[Performance(speed), *callbacks],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(data, batch_size=None, generator=torch.Generator())
    trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def state(module):
    return {name: value.detach().double().cpu() for name, value in module.state_dict().items()}


def greatest_difference(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def acting(module, trainer):
    """Which settings can be seen to act on a module that was trained."""
    weight, level = module.generator.down[1].conv.weight, module.generator.down[1]
    seen = {
        "channels_last": weight.is_contiguous(memory_format=torch.channels_last),
        "fused_optimizer": all(bool(o.param_groups[0]["fused"]) for o in trainer.optimizers),
        "matmul_convolutions": any(isinstance(part, FastConv2d) and part.by_matmul for part in module.modules()),
        "winograd_convolutions": any(isinstance(part, FastConv2d) and part.by_winograd for part in module.modules()),
        "checkpoint_activations": "forward" in vars(level) and "features" in vars(module.discriminator),
    }
    return {key: True for key, acts in seen.items() if acts}


@lru_cache
def train_plainly(norm):
    """The first and the last weights of a training without any option."""
    module = build_module(generator={**G, "norm": norm})
    before = state(module)
    fit(module, batches(3))
    return before, state(module)


@pytest.mark.parametrize(
    "speed",
    [
        {"channels_last": True},
        {"fused_optimizer": True},
        {"matmul_convolutions": True},
        {"winograd_convolutions": True},
        {"checkpoint_activations": True},
        dict.fromkeys(FLAGS, True),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("norm", ["batch", "none"])  # instance norm: biases whose gradient is rounding noise
def test_steps_are_those_of_the_plain_run(speed, norm, monkeypatch):
    monkeypatch.setattr(layers, "_MIN_CHANNELS", 2)  # that of small networks
    monkeypatch.setattr(layers, "_MIN_TILES", 4)
    before, after = train_plainly(norm)
    module = build_module(generator={**G, "norm": norm})
    trainer = fit(module, batches(3), speed)
    assert acting(module, trainer) == speed
    assert greatest_difference(before, after) > 1e-3
    assert greatest_difference(after, state(module)) < 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own compiler about itself
def test_a_compiled_run_is_the_plain_one():
    states = []
    for speed in ({}, {"compile": True}):
        # a compiled network draws dropout's noise by a generator of its own
        module = build_module(generator={**G, "dropout": 0.0})
        trainer = fit(module, batches(3), speed, callbacks=[Validates()])
        assert trainer.global_step == 6
        assert not any("_orig_mod" in name for name in module.state_dict())
        states.append(state(module))
    assert greatest_difference(*states) < 1e-9


class Validates(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with torch.no_grad(), use_eval_mode(pl_module.generator):
            pl_module.generator.forward(batch["source"])


def test_under_autocast_every_pass_sees_the_weights_as_they_are():
    """Autocast keeps the narrowed weights of a pass; the second step of the discriminator must not see them."""
    module = Pix2PixModule({**G, "dropout": 0.0}, D, discriminator_steps=3, optimizer_d=ADAM)
    discriminator, generator = copy.deepcopy(module.discriminator), copy.deepcopy(module.generator)
    (batch,) = batches(1)
    source, target = (module.pair_spec.encode(batch[side], side) for side in ("source", "target"))
    fit(module, [batch], precision="bf16-mixed")
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        fake = generator(source).detach()
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            loss_fake = module.adversarial.generator(-discriminator(torch.cat([source, fake], 1)))
            loss_real = module.adversarial.generator(discriminator(torch.cat([source, target], 1)))
        optimizer.zero_grad()
        ((loss_fake + loss_real) / 2).backward()
        optimizer.step()
    for ours, theirs in zip(module.discriminator.parameters(), discriminator.parameters(), strict=True):
        # a stale second step is a whole learning rate off
        assert float(((ours - theirs).abs() > 1e-3).double().mean()) < 0.01


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counted = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counted[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class CountsStep(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.mode = Operations()
        self.mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.mode.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("options", "precision"),
    [({}, "32-true"), ({"gradient_clip": 1.0}, "bf16-mixed"), ({"weights": {"feature_matching": 10.0}}, "bf16-mixed")],
)
def test_nothing_in_the_step_waits_for_the_device(options, precision, monkeypatch):
    counts = CountsStep()
    monkeypatch.setattr(layers, "_MIN_CHANNELS", 2)
    speed = dict.fromkeys(FLAGS[:4], True)
    fit(build_module(**options), batches(2), speed, precision=precision, callbacks=[counts])
    assert counts.mode.counted["convolution"] + counts.mode.counted["mm"] > 20
    assert not WAITS & counts.mode.counted.keys()


def test_the_count_sees_what_waits():
    class Reads(Pix2PixModule):
        def generator_loss(self, source, target, fake):
            loss = super().generator_loss(source, target, fake)
            assert loss.item() > 0
            return loss

    counts = CountsStep()
    fit(Reads(G, D), batches(1), precision="32-true", callbacks=[counts])
    assert WAITS & counts.mode.counted.keys()


@pytest.mark.parametrize(("first", "then"), [({}, {"fused_optimizer": True}), ({"fused_optimizer": True}, {})])
def test_a_run_is_resumed_with_other_speed_settings(first, then, tmp_path):
    whole = build_module()
    fit(whole, batches(3), epochs=2)
    fit(build_module(), batches(3), first).save_checkpoint(tmp_path / "half.ckpt")
    rest = build_module()
    trainer = fit(rest, batches(3), then, epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert greatest_difference(state(whole), state(rest)) < 1e-9
    for optimizer in trainer.optimizers:
        assert bool(optimizer.param_groups[0]["fused"]) == bool(then)


def test_a_checkpoint_holds_numbers_for_rates(tmp_path):
    module = build_module(schedule={"_target_": "pix2pix_lightning.training.schedulers.LinearDecay", "hold_epochs": 0})
    trainer = fit(module, batches(1))
    for optimizer in trainer.optimizers:
        optimizer.param_groups[0]["lr"] = torch.tensor(optimizer.param_groups[0]["lr"])
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(2e-3 * 99 / 101, rel=1e-6)
    assert isinstance(saved["optimizer_states"][0]["param_groups"][0]["lr"], float)


def test_an_optimizer_keeps_its_flags_after_a_checkpoint():
    weight = torch.nn.Parameter(torch.zeros(3))
    old, new = (torch.optim.Adam([weight], lr=lr, fused=fused) for lr, fused in ((1e-3, None), (5e-4, True)))
    weight.grad = torch.ones(3)
    old.step()
    flags = optimizer_flags(new)
    new.load_state_dict(old.state_dict())
    assert not new.param_groups[0]["fused"]
    restore_optimizer_flags(new, flags)
    assert new.param_groups[0]["fused"]
    assert new.param_groups[0]["lr"] == 1e-3
    new.step()
    assert new.state[weight]["step"] == 2


@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_fused_step_sees_contiguous_memory_and_leaves_everything_as_it_was(amsgrad, monkeypatch):
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(6, 5, 4, dtype=torch.float64)
    shown = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    optimizers = [torch.optim.Adam(n.parameters(), lr=0.1, amsgrad=amsgrad, fused=True) for n in (plain, shown)]
    use_contiguous_views(optimizers[1])
    seen = []
    kernel = torch._fused_adam_

    def spied(*args, **kwargs):
        seen.append(all(tensor.is_contiguous() for tensors in args[:4] for tensor in tensors))
        kernel(*args, **kwargs)

    monkeypatch.setattr(torch, "_fused_adam_", spied)
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    for step in range(3):
        for network, optimizer in zip((plain, shown), optimizers, strict=True):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
        assert seen[-1]
        assert shown.weight.shape == shown.weight.grad.shape == plain.weight.shape
        assert shown.weight.is_contiguous(memory_format=torch.channels_last)
        moments = [
            optimizer.state[n.weight]["exp_avg"] for n, optimizer in zip((plain, shown), optimizers, strict=True)
        ]
        torch.testing.assert_close(*moments, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(shown.weight, plain.weight, rtol=1e-12, atol=1e-12)
        if step == 1:  # as from a checkpoint of a run with another layout
            state = optimizers[1].state_dict()
            state["state"][0] = {key: value.contiguous() for key, value in state["state"][0].items()}
            optimizers[1].load_state_dict(state)


def test_schedules_move_a_rate_that_is_a_tensor():
    rate = torch.tensor(2e-3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    rate = optimizer.param_groups[0]["lr"]
    schedule = LinearDecay(optimizer, hold_epochs=1, decay_epochs=3)
    rates = []
    for _ in range(4):
        rates.append(float(rate))  # the tensor that a recorded step reads
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2e-3 * factor for factor in (1, 0.75, 0.5, 0.25)])


def test_settings_of_other_parts_are_passed_over():
    assert PerformanceOptions.from_settings(
        {"channels_last": True, "num_workers": 2, "precision": "32-true"}
    ) == PerformanceOptions(channels_last=True)
    assert PerformanceOptions.from_settings(None) == PerformanceOptions()
    with pytest.raises(ValueError, match=r"speed\.compile=auto: true or false is expected"):
        PerformanceOptions.from_settings({"compile": "auto"})


def test_what_knows_no_fused_step_is_left_as_it_is():
    rmsprop = {"_target_": "torch.optim.RMSprop", "lr": 1e-3}
    options, network = PerformanceOptions(fused_optimizer=True), torch.nn.Linear(1, 1)
    assert options.add_optimizer_flags(rmsprop, network) == rmsprop
    assert options.add_optimizer_flags({**ADAM, "fused": False}, network)["fused"] is False
    assert options.add_optimizer_flags(ADAM, network)["fused"] is True
    assert options.add_optimizer_flags(ADAM, network, can_fuse=False) == ADAM
    assert options.add_optimizer_flags(ADAM, torch.nn.Linear(1, 1, dtype=torch.complex64)) == ADAM


def test_rates_of_schedules_in_schedules_become_numbers():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.5))
    parts = [torch.optim.lr_scheduler.ConstantLR(optimizer), torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]
    saved = {"lr_schedulers": [torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[2]).state_dict()]}
    detach_lr_tensors(saved)
    inner = saved["lr_schedulers"][0]["_schedulers"]
    assert all(isinstance(rate, float) for part in inner for rate in part["base_lrs"])


PENALTY = {"_target_": "pix2pix_lightning.losses.WassersteinAdversarial"}


@pytest.mark.parametrize("speed", [{flag: True} for flag in FLAGS[2:]], ids="+".join)
def test_with_a_gradient_penalty_too(speed, monkeypatch):
    monkeypatch.setattr(layers, "_MIN_CHANNELS", 2)
    monkeypatch.setattr(layers, "_MIN_TILES", 4)
    states = []
    wide = {**D, "base_channels": 32}  # its third layer is a matrix product on 8x8 maps
    for settings in ({}, speed):
        module = build_module(discriminator=wide, adversarial=PENALTY)
        fit(module, batches(3), settings)
        states.append(state(module))
    assert greatest_difference(*states) < 1e-9


def test_a_penalty_under_autocast_keeps_its_precision():
    """The backward pass runs outside of autocast, which would narrow matrix products that it does by itself."""
    gradients = []
    for precision, speed in (("64-true", {}), ("bf16-mixed", {"matmul_convolutions": True})):

        class PenaltyAlone(Pix2PixModule):
            def discriminator_loss(self, source, target, fake):
                return gradient_penalty(self.discriminator, source, target, target.flip(0))

            def on_before_optimizer_step(self, optimizer):
                if optimizer is self.trainer.optimizers[1]:
                    got = [p.grad.double().flatten() for p in self.discriminator.parameters() if p.grad is not None]
                    gradients.append(torch.cat(got))

        torch.manual_seed(0)
        discriminator = PatchDiscriminator(6, num_layers=3, base_channels=32, norm="none")
        module = PenaltyAlone(G, discriminator, adversarial=PENALTY)
        data = batches(1)
        data[0]["source"], data[0]["target"] = (
            module.pair_spec.encode(data[0][side], side, torch.float64 if precision == "64-true" else torch.float32)
            for side in ("source", "target")
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "pix2pix_lightning.losses.adversarial.torch.rand", lambda *a, **k: torch.full((2, 1, 1, 1), 0.5)
            )
            fit(module, data, speed, precision=precision)
    exact, narrow = gradients
    assert float((exact - narrow).norm() / exact.norm()) < 1e-4


def test_a_step_of_ones_own_logs_what_the_losses_record():
    class Own(Pix2PixModule):
        def training_step(self, batch, batch_idx):
            fake = self.generator(batch["source"])
            self.generator_loss(batch["source"], batch["target"], fake)

    trainer = fit(Own(G, D), batches(1), precision="32-true")
    assert {"train/l1", "train/adversarial", "train/loss_g"} <= trainer.callback_metrics.keys()


FAULTS = """
import resource, torch
from pix2pix_lightning.utils.allocator import keep_memory, use_kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)  # 64 MiB, 16384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def is_huge(tensor):
    # whether the system was asked for huge pages where a tensor lies, proc_pid_smaps(5)
    for line in open("/proc/self/smaps"):
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            start, end = (int(word, 16) for word in words[0].split("-"))
        elif words[0] == "VmFlags:" and start <= tensor[1 << 20 :].data_ptr() < end:
            return "hg" in words

as_it_is = [faults() for _ in range(5)]
with use_kept_memory():
    print(min(faults() for _ in range(20)))
as_it_is += [faults() for _ in range(5)]
assert keep_memory()
with use_kept_memory():
    pass
print(min(as_it_is), min(faults() for _ in range(20)), is_huge(torch.ones(16 << 20)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc alone")
def test_kept_memory_is_not_asked_for_again():
    """In a process of its own: how its memory is kept is what is tested."""
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    kept_for_a_while, as_it_is, kept, is_huge = done.stdout.split()
    assert int(as_it_is) > 10_000
    assert max(int(kept_for_a_while), int(kept)) < 100
    assert is_huge == str(Path("/sys/kernel/mm/transparent_hugepage").is_dir())


# ---- the step as a CUDA graph ------------------------------------------------------------------------------------


def test_a_cuda_graph_on_a_cpu_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"speed\.cuda_graph=true on cpu, where there are no CUDA graphs"):
        fit(build_module(), batches(1), {"cuda_graph": True})


class Graph:
    """Stand-in for a CUDA graph: it remembers a step while it is captured, and runs it again when replayed."""

    def replay(self):
        if self.fresh:  # the capture has run it here, which on a GPU it has not
            self.fresh = False
            return
        for own, new in zip(self.losses.values(), self.step(*self.inputs).values(), strict=True):
            own.copy_(new)


@pytest.fixture
def graph_step(monkeypatch):
    """A `CudaGraphStep` that runs without a GPU, and the list of its captures."""
    from contextlib import contextmanager, nullcontext

    from pix2pix_lightning.training.cuda_graph import CudaGraphStep

    captures = []

    @contextmanager
    def graph(new, capture_error_mode):
        captures.append(new)
        new.fresh = True
        yield

    class WithoutGPU(CudaGraphStep):
        def _capture(self, source, target):
            super()._capture(source, target)
            self._graph.step, self._graph.inputs, self._graph.losses = self._step, self._inputs, self._losses

    class Stream:
        def wait_stream(self, other):
            pass

    for name, fake in (
        ("CUDAGraph", Graph),
        ("graph", graph),
        ("Stream", Stream),
        ("current_stream", Stream),
        ("stream", nullcontext),
    ):
        monkeypatch.setattr(torch.cuda, name, fake)
    return WithoutGPU, captures


def test_a_captured_step_is_the_eager_one(graph_step, monkeypatch):
    """Warm-up, capture, replays, a last batch of another size, counters: all but the GPU's part."""
    without_gpu, captures = graph_step
    replays, logged = [], []

    def build_step(step, on_replay):  # the stand-in's replay counts optimizer steps by itself, a graph's does not
        return without_gpu(step, on_replay=lambda: replays.append(on_replay))

    class Log(Callback):
        def on_train_batch_end(self, trainer, *args):
            logged.append(float(trainer.logged_metrics["train/loss_g"]))

    for name in ("check_capturable", "check_lr_tensors"):
        monkeypatch.setattr(f"pix2pix_lightning.training.callbacks.performance.{name}", lambda *args, **kwargs: None)
    monkeypatch.setattr("pix2pix_lightning.training.callbacks.performance.CudaGraphStep", build_step)
    monkeypatch.setattr(
        PerformanceOptions, "add_optimizer_flags", lambda self, description, *args, **kwargs: description
    )
    data = [*batches(6), *batches(1, size=1)]
    schedule = {"_target_": "pix2pix_lightning.training.schedulers.LinearDecay", "hold_epochs": 1, "decay_epochs": 2}
    states, steps = [], []
    for speed in ({}, {"cuda_graph": True}):
        module = build_module(schedule=schedule)
        trainer = fit(module, data, speed, epochs=3, callbacks=[Log()] if speed else [])
        states.append(state(module))
        steps.append(trainer.global_step)
    assert len(captures) == 1
    assert len(set(logged)) == len(logged) > 10  # each replay has losses of its own
    assert len(replays) == 3 * 6 - 3 - 1  # batches of the usual size, less warm-up and capture
    assert steps == [42, 42]
    assert greatest_difference(*states) == 0


def test_replays_are_counted_as_steps():
    counted = []

    class Counts(Pix2PixModule):
        def training_step(self, batch, batch_idx):
            count_steps(self)
            counted.append(self.trainer.global_step)

    fit(Counts(G, D, discriminator_steps=2), batches(2))
    assert counted == [3, 6]


@GPU
def test_on_a_gpu_nothing_in_the_step_synchronises():
    class Strict(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            torch.cuda.set_sync_debug_mode("error" if batch_idx else "default")

        def on_train_batch_end(self, *args, **kwargs):
            torch.cuda.set_sync_debug_mode("default")

    speed = {"channels_last": True, "fused_optimizer": True}
    trainer = fit(build_module(), batches(3), speed, precision="bf16-mixed", callbacks=[Strict()], accelerator="gpu")
    assert trainer.global_step == 6


@GPU
def test_on_a_gpu_the_recorded_run_is_the_eager_one(tmp_path):
    schedule = {"_target_": "pix2pix_lightning.training.schedulers.LinearDecay", "hold_epochs": 1, "decay_epochs": 3}
    data = [*batches(6), *batches(1, size=1)]
    runs = {}
    for name, speed in (("eager", {"fused_optimizer": True}), ("graph", {"fused_optimizer": True, "cuda_graph": True})):
        module = build_module(schedule=schedule)
        trainer = fit(module, data, speed, epochs=2, accelerator="gpu", precision="32-true")
        trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
        runs[name] = (module, trainer)
    (eager, first), (graph, second) = runs.values()
    assert first.global_step == second.global_step == 28
    assert [float(o.param_groups[0]["lr"]) for o in first.optimizers] == pytest.approx(
        [float(o.param_groups[0]["lr"]) for o in second.optimizers]
    )
    assert greatest_difference(state(eager), state(graph)) < 1e-2  # Adam makes steps of rounding noise in float32
    for other, speed in (("graph", {}), ("eager", {"cuda_graph": True})):
        resumed = build_module(schedule=schedule)
        trainer = fit(
            resumed, data, speed, epochs=3, accelerator="gpu", precision="32-true", ckpt_path=tmp_path / f"{other}.ckpt"
        )
        assert trainer.global_step == 42
