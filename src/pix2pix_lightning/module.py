"""Pix2PixModule: the training step of pix2pix (arXiv 1611.07004), and nothing that is not the step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

import pix2pix_lightning
from pix2pix_lightning.checkpoints import PROJECT_KEY, read_checkpoint
from pix2pix_lightning.config import TARGET, check_trusted, is_description, locate
from pix2pix_lightning.images import PairSpec
from pix2pix_lightning.losses import AdversarialLoss, feature_matching, gradient_penalty
from pix2pix_lightning.metrics import pair_metrics
from pix2pix_lightning.networks import test_time
from pix2pix_lightning.parts import (
    Description,
    as_deep_as,
    as_module,
    at_least_one,
    check_goes_on,
    checked_weights,
    completed,
    described,
    has_batch_norm,
    made,
)
from pix2pix_lightning.randomness import Purpose, seeded

_log = logging.getLogger(__name__)

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
        discriminator: Source and target concatenated, or the target alone, to logits (B, 1, h, w). None is
            plain regression.
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
        self.batches_seen = 0

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
        with seeded(torch.device("cpu"), seed, Purpose.WEIGHTS):
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
        """One step of the discriminator, then one of the generator, on the same output (paper, section 3.3)."""
        source, target = batch["source"], batch["target"]
        first, last, share = self._window(batch_idx)
        with seeded(self.device, self.seed, Purpose.STEP, self.batches_seen, self.global_rank):
            fake = self.generator(source)
            if self.discriminator is not None:
                for _ in range(self.discriminator_steps):
                    with self._stepping("d", zero=first, step=last):
                        self.manual_backward(self.discriminator_loss(source, target, fake.detach()) * share)
            with self._stepping("g", zero=first, step=last):
                self.manual_backward(self.generator_loss(source, target, fake) * share)
        self.batches_seen += 1

    def discriminator_loss(self, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        """How badly the discriminator tells real from fake pairs.

        Args:
            source: (B, C, H, W) in [-1, 1].
            target: (B, C', H, W) in [-1, 1].
            fake: The generator's output, detached, like ``target``.

        Returns:
            A scalar: the paper's objective, halved for the vanilla and the least squares form.
        """
        logits_fake = self.discriminate(source, fake)
        logits_real = self.discriminate(source, target)
        loss: Tensor = self.adversarial.discriminator(logits_real, logits_fake)
        if self.penalty_weight:
            condition = source if self.conditional else None
            penalty = gradient_penalty(cast(Any, self.discriminator), condition, target, fake)
            loss = loss + self.penalty_weight * penalty
            self._log("train/gradient_penalty", penalty)
        self._log("train/loss_d", loss)
        self._log("train/d_real", self.adversarial.realism(logits_real))
        self._log("train/d_fake", self.adversarial.realism(logits_fake))
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
            if self.weights["feature_matching"]:
                *features_fake, logits = self._features(source, fake)
                *features_real, _ = self._features(source, target)
                terms["feature_matching"] = feature_matching(features_real, features_fake)
            else:
                logits = self.discriminate(source, fake)
            terms["adversarial"] = self.adversarial.generator(logits)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        for name, term in terms.items():
            self._log(f"train/{name}", term)
        self._log("train/loss_g", loss)
        return loss

    def discriminate(self, source: Tensor, target: Tensor) -> Tensor:
        """The discriminator's logits, (B, 1, h, w), for ``target`` given ``source``."""
        assert self.discriminator is not None
        logits: Tensor = self.discriminator(self._seen_by_discriminator(source, target))
        return logits

    def _features(self, source: Tensor, target: Tensor) -> list[Tensor]:
        features: list[Tensor] = cast(Any, self.discriminator).features(self._seen_by_discriminator(source, target))
        return features

    def _seen_by_discriminator(self, source: Tensor, target: Tensor) -> Tensor:
        return torch.cat([source, target], 1) if self.conditional else target

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
        strategy = self.trainer.strategy
        alone = not step and isinstance(strategy, DDPStrategy)  # nothing to reduce while gradients gather
        with self.toggled_optimizer(optimizer):
            with cast(DDPStrategy, strategy).block_backward_sync() if alone else nullcontext():
                yield
            if step:
                optimizer.step()

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
        for name, network in networks.items():
            if network is None:
                continue
            optimizer = made(f"optimizer_{name}", self._optimizers[name], network.parameters())
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
        if isinstance(strategy, DDPStrategy):
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

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Make the batch's integers floats in [-1, 1] by the PairSpec, on the device."""
        images = {
            side: self.pair_spec.encode(batch[side], side, cast(torch.dtype, self.dtype))
            for side in ("source", "target")
        }
        return {**batch, **images}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """L1, PSNR and SSIM in mode ``deterministic``: each image by its own statistics, no dropout."""
        with test_time(self.generator, norm="image", dropout=False):
            output = self.generator(batch["source"])
        self.val_metrics.update(_fraction(output), _fraction(batch["target"]))
        self.log_dict(cast(Any, self.val_metrics), prog_bar=True, batch_size=len(output))
        return {"output": output}

    def on_validation_start(self) -> None:
        """Make batch norm's running statistics, which every process gathers alone, the same for all."""
        if self.trainer.world_size > 1 and not self.trainer.sanity_checking:
            for buffer in self.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(cast(Tensor, self.trainer.strategy.reduce(buffer.clone(), reduce_op="mean")))

    def _log(self, name: str, value: Tensor) -> None:
        self.log(name, value.detach(), on_step=True, on_epoch=False)

    # ---- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what loading without arguments needs, as plain data."""
        cls = type(self)
        checkpoint[PROJECT_KEY] = {
            "version": pix2pix_lightning.__version__,
            "module": f"{cls.__module__}.{cls.__qualname__}",
            "live": list(self._live),
            "batches_seen": self.batches_seen,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting batches where the checkpoint stopped.

        Raises:
            ValueError: A trainer resumes with other pairs or another network than the checkpoint's.
        """
        self.batches_seen = checkpoint[PROJECT_KEY]["batches_seen"]
        if self._trainer is None:
            return
        check_goes_on(self.pair_spec, PairSpec.from_dict(checkpoint["hyper_parameters"]["pair_spec"]))
        for name in ("generator", "discriminator"):
            saved, own = checkpoint["hyper_parameters"][name], self.hparams[name]
            if saved != own:
                raise ValueError(f"the checkpoint's {name} is {saved}, not {own}: resume with the run's own settings")
        for name in ("optimizer_g", "optimizer_d"):
            if checkpoint["hyper_parameters"][name] != self.hparams[name]:
                _log.warning("%s goes on with the checkpoint's settings, not with %s", name, self.hparams[name])
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
        checkpoint = read_checkpoint(checkpoint_path, map_location)
        saved = checkpoint["hyper_parameters"]
        missing = [name for name in checkpoint[PROJECT_KEY]["live"] if name.partition(".")[0] not in live]
        if missing:
            raise ValueError(
                f"{checkpoint_path} was made with live objects: give {', '.join(f'{name}=' for name in missing)} "
                "to load_from_checkpoint"
            )
        arguments = {**{key: value for key, value in saved.items() if not key.startswith("_")}, **live}
        check_trusted({key: value for key, value in arguments.items() if key not in live}, trust)
        try:
            module = cls(**arguments)
            module.on_load_checkpoint(checkpoint)
            module.load_state_dict(checkpoint["state_dict"], strict=strict)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{checkpoint_path} does not make a {cls.__name__}: {reason}") from None
        return module.eval()


def _fraction(image: Tensor) -> Tensor:
    """From [-1, 1] to fractions of the range."""
    return (image.float() + 1) / 2
