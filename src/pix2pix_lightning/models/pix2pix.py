"""Pix2PixModule: the training step of pix2pix (arXiv 1611.07004), and nothing that is not the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from pix2pix_lightning.checkpoints import pretrained
from pix2pix_lightning.checkpoints.files import PROJECT_KEY, read_checkpoint
from pix2pix_lightning.checkpoints.restore import check_goes_on, module_of
from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.losses import AdversarialLoss, Features, Logits, feature_matching, gradient_penalty, split_logits
from pix2pix_lightning.metrics import pair_metrics
from pix2pix_lightning.models.components import (
    Description,
    as_deep_as,
    as_module,
    at_least_one,
    checked_weights,
    completed,
    described,
    has_batch_norm,
    made,
)
from pix2pix_lightning.networks import cat_dense_grad, use_eval_mode
from pix2pix_lightning.training.cuda_graph import Losses, RecordedStep, check_rates, check_recordable
from pix2pix_lightning.training.ddp import ReducerPerNetwork, average_buffers
from pix2pix_lightning.training.performance import Speed, as_it_was_made, in_one_piece, plain_rates, ways
from pix2pix_lightning.utils.instantiate import TARGET, is_description, locate
from pix2pix_lightning.utils.seeding import Purpose, seed_torch
from pix2pix_lightning.utils.version import __version__

Batch = dict[str, Any]

UNET_256 = {"_target_": "pix2pix_lightning.networks.UNetGenerator"}
PATCH_70 = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator"}
VANILLA = {"_target_": "pix2pix_lightning.losses.VanillaAdversarial"}
L1 = {"l1": {"_target_": "torch.nn.L1Loss"}}
ADAM = {"_target_": "torch.optim.Adam", "lr": 2e-4, "betas": [0.5, 0.999]}


class Pix2PixModule(LightningModule):
    """Generator and discriminator, trained in turn (paper, sections 3 and 6.2).

    What may be a module may also be described, ``{"_target_": "package.Class", "argument": value}``; what is
    described is saved with the checkpoint, so that ``load_from_checkpoint(path)`` needs nothing else.

    Args:
        generator: Source (B, C, H, W) in [-1, 1] to output of the target's channels.
        discriminator: Source and target concatenated, or the target alone, to logits (B, 1, h, w) or to a list of
            such maps, one for each scale. None is plain regression.
        adversarial: The form of the GAN's losses (``losses.VanillaAdversarial`` and its siblings).
        reconstruction: Name to loss of (output, target).
        weights: Of the generator's terms: ``adversarial``, ``feature_matching`` and each name of
            ``reconstruction``. By default 1 each, but ``l1`` 100 (the paper's) and ``feature_matching`` 0.
        conditional: Whether the discriminator sees the source.
        optimizer_g: Description of the generator's optimizer, or a function of its parameters that makes one.
        optimizer_d: Likewise for the discriminator.
        schedule: Description of a learning rate schedule, or a function of an optimizer that makes one, stepped
            after each epoch; None is constant.
        discriminator_steps: Steps of the discriminator on each batch.
        accumulate: Batches whose gradients are averaged into one step of each network.
        gradient_clip: Greatest norm of each network's gradients; None does not clip.
        pair_spec: What the images mean; plain data is taken too. It gives described networks their channels.
        seed: Of the described networks' first weights, of dropout, and of the gradient penalty's mixtures.
        speed: How the step is run (``speed.Speed``, or its settings by name); not saved with a checkpoint.

    Raises:
        ValueError: Arguments contradict each other.

    Example:
        >>> small = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 4}
        >>> module = Pix2PixModule(small, weights={"l1": 10.0})
        >>> module(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        generator: nn.Module | Description = UNET_256,
        discriminator: nn.Module | Description | None = PATCH_70,
        *,
        adversarial: nn.Module | Description = VANILLA,
        reconstruction: Mapping[str, nn.Module | Description] = L1,
        weights: Mapping[str, float] | None = None,
        conditional: bool = True,
        optimizer_g: Any = ADAM,
        optimizer_d: Any = ADAM,
        schedule: Any = None,
        discriminator_steps: int = 1,
        accumulate: int = 1,
        gradient_clip: float | None = None,
        pair_spec: PairSpec | Mapping[str, Any] | None = None,
        seed: int = 0,
        speed: Speed | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if not isinstance(pair_spec, PairSpec):
            pair_spec = PairSpec.from_dict(pair_spec or {})
        self.pair_spec = pair_spec
        self.conditional = conditional
        self.discriminator_steps = at_least_one("discriminator_steps", discriminator_steps)
        self.accumulate = at_least_one("accumulate", accumulate)
        if accumulate > 1 and discriminator_steps > 1:
            raise ValueError(
                f"accumulate={accumulate} with discriminator_steps={discriminator_steps}: only one of them can be "
                "above 1"
            )
        if gradient_clip is not None and not (isinstance(gradient_clip, int | float) and gradient_clip > 0):
            raise ValueError(f"gradient_clip={gradient_clip}: a norm above 0 is expected, or null")
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.speed = speed if isinstance(speed, Speed) else Speed.of(speed)
        self.batches_seen = 0
        self.reducers: dict[str, nn.Module] = {}  # "g", "d": the networks as a distributed strategy wraps them
        self._losses: Losses | None = None  # of the step that is under way
        self._recorded: RecordedStep | None = None
        self._ways: dict[int, list[dict[str, Any]]] = {}

        source, target = pair_spec.source.channels, pair_spec.target.channels
        generator = as_deep_as(
            completed("generator", generator, in_channels=source, out_channels=target), pair_spec.size
        )
        if discriminator is not None:
            discriminator = completed("discriminator", discriminator, in_channels=source * conditional + target)
        self.weights = checked_weights(weights, reconstruction, has_discriminator=discriminator is not None)
        for part in (optimizer_g, optimizer_d, schedule):
            if is_description(part):
                locate(part[TARGET])
        self._optimizers = {"g": optimizer_g, "d": optimizer_d}
        self._schedule = schedule

        parts = {
            "generator": generator,
            "discriminator": discriminator,
            "adversarial": adversarial,
            **{f"reconstruction.{name}": loss for name, loss in reconstruction.items()},
            "optimizer_g": optimizer_g,
            "optimizer_d": optimizer_d,
            "schedule": schedule,
        }
        self._live = [name for name, part in parts.items() if part is not None and not is_description(part)]
        self.save_hyperparameters(
            {
                "generator": described(generator),
                "discriminator": described(discriminator),
                "adversarial": described(adversarial),
                "reconstruction": {name: described(loss) for name, loss in reconstruction.items()},
                "weights": dict(self.weights),
                "conditional": conditional,
                "optimizer_g": described(optimizer_g),
                "optimizer_d": described(optimizer_d),
                "schedule": described(schedule),
                "discriminator_steps": discriminator_steps,
                "accumulate": accumulate,
                "gradient_clip": gradient_clip,
                "pair_spec": pair_spec.to_dict(),
                "seed": seed,
            },
            logger=False,
        )
        with seed_torch(torch.device("cpu"), seed, Purpose.WEIGHTS):
            self.generator = as_module(generator)
            self.discriminator = None if discriminator is None else as_module(discriminator)
        self.adversarial = cast(AdversarialLoss, as_module(adversarial))
        self.reconstruction = nn.ModuleDict({name: as_module(loss) for name, loss in reconstruction.items()})
        self.val_metrics: MetricCollection = pair_metrics().clone(prefix="val/")
        if self.penalty_weight and has_batch_norm(self.discriminator):
            raise ValueError(
                "a gradient penalty and batch norm in the discriminator: the penalty is each image's own, batch norm "
                "mixes them; set module.discriminator.norm=instance or none"
            )

    @property
    def penalty_weight(self) -> float:
        """Weight of the gradient penalty, 0 where there is none."""
        return 0.0 if self.discriminator is None else self.adversarial.penalty_weight

    def forward(self, source: Tensor) -> Tensor:
        """The generator's output for ``source``, (B, C, H, W) in [-1, 1], in the module's present mode."""
        output: Tensor = self.generator(source)
        return output

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Log against batches seen: after an interruption Lightning's own count would be one ahead."""
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.batches_seen

    # ---- the step ----------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One `step` with this batch's noise, and its losses logged."""
        first, last, share = self._window(batch_idx)
        step = self._recorded or partial(self.step, first=first, last=last, share=share)
        with seed_torch(self.device, self.seed, Purpose.STEP, self.batches_seen, self.global_rank):
            losses = step(batch["source"], batch["target"])
        for name, loss in losses.items():
            self.log(f"train/{name}", loss, on_step=True, on_epoch=False)
        self.batches_seen += 1

    def step(
        self, source: Tensor, target: Tensor, *, first: bool = True, last: bool = True, share: float = 1.0
    ) -> Losses:
        """One step of the discriminator, then one of the generator, on the same output (paper, section 3.3).

        It reads tensors, changes weights and optimizers, and waits for nothing, so that it can be recorded.

        Args:
            source: (B, C, H, W) in [-1, 1].
            target: (B, C', H, W) in [-1, 1].
            first: Whether gradients start anew.
            last: Whether the optimizers step.
            share: Of this batch in the gradients of a step.

        Returns:
            What the losses recorded (`record`), scalars without a gradient.
        """
        self._losses = {}
        with self._gathering(not last):
            fake = self.reducers.get("g", self.generator)(source)
            if self.discriminator is not None:
                for _ in range(self.discriminator_steps):
                    with self._stepping("d", zero=first, step=last):
                        self._backward(self.discriminator_loss(source, target, fake.detach()) * share)
            with self._stepping("g", zero=first, step=last):
                self._backward(self.generator_loss(source, target, fake) * share)
        losses, self._losses = self._losses, None
        return losses

    def discriminator_loss(self, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        """How badly the discriminator tells real from fake pairs.

        Args:
            source: (B, C, H, W) in [-1, 1].
            target: (B, C', H, W) in [-1, 1].
            fake: The generator's output, detached, like ``target``.

        Returns:
            A scalar: the paper's objective, halved for the vanilla and the least squares form.
        """
        discriminator = self.reducers.get("d", cast(nn.Module, self.discriminator))
        logits_fake = discriminator(self._seen_by_discriminator(source, fake))
        logits_real = discriminator(self._seen_by_discriminator(source, target))
        loss: Tensor = self.adversarial.discriminator(logits_real, logits_fake)
        if self.penalty_weight:
            condition = source if self.conditional else None
            penalty = gradient_penalty(
                cast(nn.Module, self.discriminator).forward, condition, target, fake
            )  # not compiled
            loss = loss + self.penalty_weight * penalty
            self.record("gradient_penalty", penalty)
        self.record("loss_d", loss)
        self.record("d_real", self.adversarial.realism(logits_real))
        self.record("d_fake", self.adversarial.realism(logits_fake))
        return loss

    def generator_loss(self, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        """The weighted sum of the adversarial and the reconstruction terms (paper, equation 4).

        Args:
            source: (B, C, H, W) in [-1, 1].
            target: (B, C', H, W) in [-1, 1].
            fake: The generator's output, with its graph.

        Returns:
            A scalar.
        """
        terms = {name: loss(fake, target) for name, loss in self.reconstruction.items()}
        if self.discriminator is not None:
            logits_real: Logits | None = None
            if self.weights["feature_matching"]:
                features_fake, logits_fake = split_logits(self._features(source, fake))
                features_real, logits_real = split_logits(self._features(source, target))
                terms["feature_matching"] = feature_matching(features_real, features_fake)
            else:
                logits_fake = self.discriminate(source, fake)
                if self.adversarial.needs_real_logits:
                    logits_real = self.discriminate(source, target)
            logits = (logits_fake, logits_real) if self.adversarial.needs_real_logits else (logits_fake,)
            terms["adversarial"] = self.adversarial.generator(*logits)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        for name, term in terms.items():
            self.record(name, term)
        self.record("loss_g", loss)
        return loss

    def record(self, name: str, value: Tensor) -> None:
        """Have a scalar logged as ``train/<name>``; the losses call this."""
        if self._losses is None:  # in somebody's own training step
            self.log(f"train/{name}", value.detach(), on_step=True, on_epoch=False)
        else:
            self._losses[name] = value.detach()

    def discriminate(self, source: Tensor, target: Tensor) -> Logits:
        """The discriminator's logits for ``target`` given ``source``: one map (B, 1, h, w), or one for each scale."""
        assert self.discriminator is not None
        logits: Logits = self.discriminator(self._seen_by_discriminator(source, target))
        return logits

    def _features(self, source: Tensor, target: Tensor) -> Features:
        features: Features = cast(Any, self.discriminator).features(self._seen_by_discriminator(source, target))
        return features

    def _seen_by_discriminator(self, source: Tensor, target: Tensor) -> Tensor:
        return cat_dense_grad(source, target) if self.conditional else target

    # ---- optimization ------------------------------------------------------------------------------------------

    def _window(self, batch_idx: int) -> tuple[bool, bool, float]:
        """Whether a batch is the first, whether the last of those that make one step, and its share in it."""
        total = self.trainer.num_training_batches
        start = batch_idx - batch_idx % self.accumulate
        end = min(start + self.accumulate, total)
        return batch_idx == start, batch_idx + 1 == end, 1 / (end - start)

    @contextmanager
    def _stepping(self, network: str, *, zero: bool, step: bool) -> Iterator[None]:
        """Around a backward pass: gradients for one network only, zeroed before and applied after if due."""
        optimizer = self._optimizer(network)
        if zero:
            optimizer.zero_grad()
        with self.toggled_optimizer(optimizer):
            yield
            if step:
                optimizer.step()

    def _backward(self, loss: Tensor) -> None:
        """In the precisions of the forward pass: autocast would narrow what a backward pass does by itself."""
        with torch.autocast(loss.device.type, enabled=False):
            self.manual_backward(loss)

    @contextmanager
    def _gathering(self, alone: bool) -> Iterator[None]:
        """Around a batch that is not the last of a step: nothing is reduced among processes."""
        strategy = self.trainer.strategy
        with strategy.block_backward_sync() if alone and isinstance(strategy, DDPStrategy) else nullcontext():
            yield

    def _optimizer(self, network: str) -> LightningOptimizer:
        optimizers = self.optimizers()
        if isinstance(optimizers, list):
            return optimizers[0 if network == "g" else 1]
        return optimizers

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip here: under a 16-bit scaler gradients have their true size only now."""
        if self.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip)

    def configure_optimizers(self) -> Any:
        """The optimizers of generator and discriminator and, where there is a schedule, one for each."""
        networks = {"g": self.generator, "d": self.discriminator}
        optimizers, schedules = [], []
        self._ways = {}
        for name, network in networks.items():
            if network is None:
                continue
            # a fused step takes the loss scale away by itself, after the clipping
            can_fuse = self.gradient_clip is None or self.trainer.precision != "16-mixed"
            description = self.speed.of_optimizer(self._optimizers[name], network, can_fuse=can_fuse)
            optimizer = made(f"optimizer_{name}", description, network.parameters())
            self._ways[id(optimizer)] = ways(optimizer)
            in_one_piece(optimizer)
            optimizers.append(optimizer)
            if self._schedule is not None:
                schedule = made("schedule", self._schedule, optimizer)
                schedules.append({"scheduler": schedule, "name": f"lr_{name}"})
        return optimizers, schedules

    def on_train_epoch_end(self) -> None:
        """Log the learning rates and step the schedules: with manual optimization nobody else does."""
        for name, optimizer in zip("gd", self.trainer.optimizers, strict=False):
            self.log(f"train/lr_{name}", optimizer.param_groups[0]["lr"], sync_dist=True)
        schedules = self.lr_schedulers()
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            if schedule is not None:
                cast(Any, schedule).step()

    # ---- batches, validation -----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Fit what the trainer was given to two networks.

        Raises:
            ValueError: The trainer's settings do not work with two networks.
        """
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy) and not isinstance(strategy, ReducerPerNetwork):
            # each backward pass reaches one network: plain DDP would wait for the other one's gradients
            strategy._ddp_kwargs["find_unused_parameters"] = True
        if self.penalty_weight and self.trainer.precision in ("16-true", "bf16-true"):
            raise ValueError(
                f"trainer.precision={self.trainer.precision} with a gradient penalty, which needs float32 weights: "
                "use bf16-mixed"
            )
        if self.accumulate > 1 and self.trainer.precision == "16-mixed":
            raise ValueError(
                f"module.accumulate={self.accumulate} with trainer.precision=16-mixed: the loss scale can change "
                "between the batches of a step; use bf16-mixed"
            )
        if stage == "fit":
            if self.speed.checkpoint_activations and (self.speed.compile or self.speed.cuda_graph):
                raise ValueError(
                    "speed.checkpoint_activations=true goes with neither speed.compile nor speed.cuda_graph: choose one"
                )
            if self.speed.cuda_graph:
                check_recordable(self.trainer, accumulate=self.accumulate)
            for network in (self.generator, self.discriminator):
                if network is not None:
                    self.speed.prepare(network)

    def on_train_start(self) -> None:
        """Run as this run was told to, whatever the checkpoint's was; record the step if that is asked for."""
        for optimizer in self.trainer.optimizers:
            as_it_was_made(optimizer, self._ways[id(optimizer)])
        if self.speed.cuda_graph:
            check_rates(self.trainer.optimizers)
        self._recorded = RecordedStep(self.step, replayed=self._count_steps) if self.speed.cuda_graph else None

    def on_train_end(self) -> None:
        """Forget the recording, which holds the optimizers."""
        self._recorded = None

    def _count_steps(self) -> None:
        """What Lightning counts in Python when an optimizer steps: ``global_step`` and with it checkpoints."""
        for optimizer in self.trainer.strategy._lightning_optimizers:
            for _ in range(self.discriminator_steps if optimizer is not self._optimizer("g") else 1):
                optimizer._on_before_step()
                optimizer._on_after_step()

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Make the batch's integers floats in [-1, 1] by the PairSpec, on the device."""
        images = {
            side: self.pair_spec.encode(
                batch[side].contiguous(memory_format=self.speed.memory_format), side, cast(torch.dtype, self.dtype)
            )
            for side in ("source", "target")
        }
        return {**batch, **images}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """L1, PSNR and SSIM in mode ``deterministic``: each image by its own statistics, no dropout."""
        with use_eval_mode(self.generator, norm="image", dropout=False):
            output = self.generator.forward(batch["source"])  # not what was compiled for the training mode
        self.val_metrics.update(_fraction(output), _fraction(batch["target"]))
        self.log_dict(cast(Any, self.val_metrics), prog_bar=True, batch_size=len(output))
        return {"output": output}

    def on_validation_start(self) -> None:
        """Make batch norm's running statistics, which every process gathers alone, the same for all."""
        if self.trainer.world_size > 1 and not self.trainer.sanity_checking:
            average_buffers(self, self.trainer.strategy)

    # ---- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what loading without arguments needs, as plain data."""
        cls = type(self)
        checkpoint[PROJECT_KEY] = {
            "version": __version__,
            "module": f"{cls.__module__}.{cls.__qualname__}",
            "live": list(self._live),
            "batches_seen": self.batches_seen,
        }
        plain_rates(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting batches where the checkpoint stopped.

        Raises:
            ValueError: A trainer resumes with other pairs or another network than the checkpoint's.
        """
        self.batches_seen = checkpoint[PROJECT_KEY]["batches_seen"]
        if self._trainer is None:
            return
        check_goes_on(self.pair_spec, self.hparams, checkpoint["hyper_parameters"])
        if self._trainer.precision == "64-true":
            self.double()  # Lightning would load the weights into float32 and widen them after

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        *,
        map_location: Any = "cpu",
        trust: Sequence[str] = (),
        strict: bool = True,
        **live: Any,
    ) -> Self:
        """The module that a checkpoint holds. Nothing that the file names is called before all of it is checked.

        Args:
            checkpoint_path: A file that a training run wrote.
            map_location: Device of the weights.
            trust: Packages, beside this one and torch's, whose networks and losses the file may name.
            strict: Whether all weights have to fit.
            **live: Arguments of the constructor, in place of those in the file; what was given to the saved
                module as a live object has to be given again.

        Raises:
            ValueError: The file is no such checkpoint, names what is not trusted, or a live object is missing.
        """
        saved = read_checkpoint(checkpoint_path, map_location)
        return module_of(cls, saved, whence=checkpoint_path, trust=trust, strict=strict, live=live).eval()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        trust: Sequence[str] = (),
        **live: Any,
    ) -> Self:
        """The module of a folder or file that was saved, or of a repository on the Hub, ``user/name``.

        ``trust`` and ``live`` are as of `load_from_checkpoint`, with the same promise; the rest as huggingface_hub has
        it, for the Hub alone.

        Raises:
            ValueError: It is no such model, names what is not trusted, or a live object is missing.
            OSError: There is none, it may not be read, or the Hub cannot be reached.
        """
        path = pretrained.folder_of(
            model, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        return pretrained.module_from(cls, path, trust=trust, **live)

    def save_pretrained(
        self, folder: str | Path, *, card: pretrained.Card | None = None, overwrite: bool = False
    ) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``README.md``, as `pretrained.save_pretrained` says."""
        pretrained.save_pretrained(self, folder, card=card, overwrite=overwrite)

    def push_to_hub(
        self,
        name: str,
        *,
        card: pretrained.Card | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Upload the same files to ``user/name`` on the Hub, as `pretrained.push` says; its page's address."""
        return pretrained.push(self, name, card=card, private=private, token=token, commit_message=commit_message)


def _fraction(image: Tensor) -> Tensor:
    """From [-1, 1] to fractions of the range."""
    return (image.float() + 1) / 2
