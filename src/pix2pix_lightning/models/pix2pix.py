"""Pix2PixModule: the training step of pix2pix (Isola et al., arXiv 1611.07004) as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.losses import (
    AdversarialLoss,
    compute_masked_loss,
    feature_matching,
    replace_masked,
    split_logits,
)
from pix2pix_lightning.metrics import build_metrics
from pix2pix_lightning.models.accumulation import AccumulationWindow, defer_gradient_sync
from pix2pix_lightning.models.batches import BATCH_KEYS, BatchReader
from pix2pix_lightning.models.components import (
    Batch,
    Description,
    Parts,
    build_module,
    check_settings,
    complete_parts,
    complete_weights,
)
from pix2pix_lightning.models.defaults import ADAM, L1, PATCH_70, UNET_256, VANILLA
from pix2pix_lightning.models.discriminator_checks import build_diff_augment, check_discriminator
from pix2pix_lightning.models.discriminator_terms import DiscriminatorTermsMixin
from pix2pix_lightning.models.evaluation_steps import EvaluationMixin
from pix2pix_lightning.models.mode_seeking import check_mode_seeking, compute_mode_seeking
from pix2pix_lightning.models.optimization import OptimizationMixin
from pix2pix_lightning.models.persistence import PersistenceMixin
from pix2pix_lightning.models.reconstruction import build_reconstruction
from pix2pix_lightning.models.split_metrics import SplitMetrics
from pix2pix_lightning.models.trainer_checks import check_arguments, check_pretrained, check_trainer
from pix2pix_lightning.networks import pad_for
from pix2pix_lightning.utils.seeding import Purpose, seed_torch


class Pix2PixModule(DiscriminatorTermsMixin, EvaluationMixin, OptimizationMixin, PersistenceMixin, LightningModule):
    """Train a generator and a discriminator in turn (paper, sections 3 and 6.2).

    Networks, losses and optimizers are objects or descriptions, ``{"_target_": "package.Class", "argument": value}``.
    Descriptions are saved with the checkpoint, so that ``load_from_checkpoint(path)`` needs nothing else; ``metrics``
    are not saved. A subclass may override ``configure_losses``, ``configure_metrics`` and ``configure_models``.

    Args:
        generator: Maps a source (B, C, H, W) in [-1, 1] to an output with the target's channels.
        discriminator: Maps source and target, concatenated, to logits (B, 1, h, w) or a list. None: regression alone.
        adversarial: The adversarial loss, such as ``losses.VanillaAdversarial``.
        reconstruction: Losses of (output, target) by name.
        weights: Weights of ``adversarial``, ``feature_matching``, ``mode_seeking`` and the names of ``reconstruction``.
            Default 1, but 100 for ``l1`` (the paper's) and 0 for ``feature_matching`` and ``mode_seeking``.
        conditional: Whether the discriminator sees the source next to the target.
        diff_augment: Random changes of what the discriminator sees, for few pairs: some of ``color``, ``translation``
            and ``cutout`` (``losses.DiffAugment``). None changes nothing.
        r1_weight: Weight gamma of the R1 penalty of the discriminator (``losses.r1_penalty``); 0 leaves it out.
        r1_every: Batches from one R1 penalty to the next. It is multiplied by this number.
        optimizer_g: The generator's optimizer, described, or a function of its parameters that builds one.
        optimizer_d: The discriminator's optimizer, in the same form.
        schedule: A learning rate schedule by epochs, described, or a function of an optimizer. None is constant.
        metrics: Validation metrics: names (``metrics.METRICS``) or descriptions of torchmetrics, as a list or by name.
        discriminator_steps: Steps of the discriminator on each batch, at least 1.
        accumulate: Batches whose gradients are averaged into one step of each network, at least 1.
        gradient_clip: Largest L2 norm of each network's gradients. None does not clip.
        pair_spec: What the images mean, as a ``PairSpec`` or as plain data. Described networks get its channels.
        seed: Seed of the first weights of described networks, of dropout and of the gradient penalty.
        batch_keys: Keys of source, target and names, if any, in a batch: ``("A", "B")``, or ``(0, 1)`` of tuples.

    Raises:
        UserError: Arguments are out of range or contradict each other.

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
        diff_augment: Sequence[str] | None = None,
        r1_weight: float = 0.0,
        r1_every: int = 16,
        optimizer_g: Any = ADAM,
        optimizer_d: Any = ADAM,
        schedule: Any = None,
        metrics: Sequence[Any] | Mapping[str, Any] = ("l1", "psnr", "ssim"),
        discriminator_steps: int = 1,
        accumulate: int = 1,
        gradient_clip: float | None = None,
        pair_spec: PairSpec | Mapping[str, Any] | None = None,
        seed: int = 0,
        batch_keys: Sequence[str | int] = BATCH_KEYS,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        has_discriminator = discriminator is not None
        numbers: dict[str, Any] = {"discriminator_steps": discriminator_steps, "accumulate": accumulate}
        numbers |= {"gradient_clip": gradient_clip, "r1_weight": r1_weight, "r1_every": r1_every}
        check_settings(**numbers, has_discriminator=has_discriminator)
        self.pair_spec = pair_spec if isinstance(pair_spec, PairSpec) else PairSpec.from_dict(pair_spec or {})
        self.weights = complete_weights(weights, reconstruction, has_discriminator=has_discriminator)
        self.conditional = conditional
        self.diff_augment = build_diff_augment(diff_augment, self.pair_spec.target, has_discriminator=has_discriminator)
        self.r1_weight, self.r1_every = r1_weight, r1_every
        self.discriminator_steps = discriminator_steps
        self.accumulate = accumulate
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.metrics = metrics
        self.batches_seen = 0
        self.window = AccumulationWindow()
        self.losses: dict[str, Tensor] | None = None  # of the step that is running
        self.mask: Tensor | None = None  # of that step's pixels, True where one counts
        self.wrapped_networks: dict[str, nn.Module] = {}  # by attribute name, as a strategy wraps them for DDP
        parts = {"generator": generator, "discriminator": discriminator, "adversarial": adversarial}
        parts |= {"reconstruction": dict(reconstruction), "schedule": schedule}
        parts |= {"optimizer_g": optimizer_g, "optimizer_d": optimizer_d}
        self.parts: Parts = complete_parts(parts, self.pair_spec, conditional=conditional)
        self.batch_reader = BatchReader(batch_keys, self.pair_spec, self.parts)
        settings: dict[str, Any] = {"weights": self.weights, "conditional": conditional, "seed": seed, **numbers}
        settings |= {"diff_augment": list(self.diff_augment.policies)}
        self.save_description(**settings, batch_keys=self.batch_reader.keys, pair_spec=self.pair_spec.to_dict())
        self.configure_losses()
        self.configure_metrics()
        self.configure_models()
        check_mode_seeking(self.generator, self.weights)

    def configure_losses(self) -> None:
        """Build ``adversarial`` and ``reconstruction`` from the parts."""
        self.adversarial = cast(AdversarialLoss, build_module("adversarial", self.parts["adversarial"]))
        self.reconstruction = build_reconstruction(self.parts["reconstruction"], self.pair_spec.target)

    def configure_metrics(self) -> None:
        """Build ``val_metrics``, whose values are logged as ``val/<name>``."""
        self.val_metrics = SplitMetrics(build_metrics(self.metrics, prefix="val/"), self.pair_spec.target)

    def configure_models(self) -> None:
        """Build ``generator`` and ``discriminator`` from the parts; the first weights are a function of ``seed``."""
        with seed_torch(torch.device("cpu"), self.seed, Purpose.WEIGHTS):
            self.generator = build_module("generator", self.parts["generator"])
            part = self.parts["discriminator"]
            self.discriminator: Any = part and build_module("discriminator", part)
        self.configure_penalties()
        if self.discriminator is not None:
            check_discriminator(self.discriminator, self.adversarial, self.pair_spec, conditional=self.conditional)

    def forward(self, source: Tensor) -> Tensor:
        """Run the generator in its present mode, which gives other images than `generate` and `Translator`.

        ``train()`` has dropout and the batch's statistics, ``eval()`` running ones; those two have each image's own.

        Returns:
            The output (B, C', H, W) for ``source`` (B, C, H, W) in [-1, 1].
        """
        return cast(Tensor, self.generator(source))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Take one step of each network on a batch, padded by reflection if needed; log and return the losses."""
        self.window = AccumulationWindow.from_batch_idx(batch_idx, self.accumulate, self.trainer.num_training_batches)
        networks = self.generator, self.discriminator
        images = [pad_for(batch[key], *networks) for key in ("source", "target", "mask") if key in batch]
        with seed_torch(self.device, self.seed, Purpose.STEP, self.batches_seen, self.global_rank):
            losses = self.step(*images)
        self.batches_seen += 1
        logged = {**self.last_terms, **losses}
        self.log_dict({f"train/{name}": loss for name, loss in logged.items()}, on_step=True, on_epoch=False)
        self.log_progress(on_step=True)
        return losses

    def step(self, source: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Update the discriminator, then the generator, on the same generated images (paper, section 3.3).

        It reads tensors, changes weights and optimizers, and waits for nothing, so that it can run as one CUDA graph.

        Args:
            source: Images (B, C, H, W) in [-1, 1].
            target: Images (B, C', H, W) in [-1, 1].
            mask: (B, 1, H, W), True where a pixel counts; None: everywhere. Elsewhere real and generated are equal.

        Returns:
            The losses by name, scalars without a gradient.
        """
        losses = self.losses = {}
        self.mask = mask
        with defer_gradient_sync(self.trainer.strategy, self.window):
            fake = replace_masked(self.wrapped_networks.get("generator", self.generator)(source), target, mask)
            if self.discriminator is not None:
                for _ in range(self.discriminator_steps):
                    self.update("d", lambda: self.discriminator_loss(source, target, fake.detach()))
            self.update("g", lambda: self.generator_loss(source, target, fake))
        self.losses = self.mask = None
        return losses

    def discriminator_loss(self, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        """Compute how badly the discriminator tells real from generated pairs (paper, equation 1).

        Args:
            source: Images (B, C, H, W) in [-1, 1].
            target: Images (B, C', H, W) in [-1, 1].
            fake: The generator's output, detached, in the shape of ``target``.

        Returns:
            A scalar: the adversarial loss, halved for the vanilla and the least squares form, and penalties.
        """
        discriminator = self.wrapped_networks.get("discriminator", self.discriminator)
        pair_fake, pair_real, labels = self.show_pairs(source, fake, target)
        logits_fake, logits_real = discriminator(pair_fake), discriminator(pair_real)
        loss: Tensor = self.adversarial.discriminator(logits_real, logits_fake, labels)
        if self.penalty_weight:
            loss = loss + self.penalty_weight * self.compute_gradient_penalty(source, target, fake)
        if labels is not None and self.adversarial.label_mix_weight:
            mix = self.compute_label_mix((pair_real, pair_fake), (logits_real, logits_fake), labels)
            loss = loss + self.adversarial.label_mix_weight * mix
        self.record(loss_d=loss)
        self.record(d_real=self.adversarial.realism(logits_real), d_fake=self.adversarial.realism(logits_fake))
        if self.is_r1_due():
            loss = loss + self.r1_weight * self.r1_every * self.compute_r1(source, target)
        return loss

    def generator_loss(self, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        """Compute the weighted sum of the adversarial and the reconstruction terms (paper, equation 4).

        Args:
            source: Images (B, C, H, W) in [-1, 1].
            target: Images (B, C', H, W) in [-1, 1].
            fake: The generator's output with its graph, in the shape of ``target``.

        Returns:
            A scalar.
        """
        terms = {k: compute_masked_loss(loss, fake, target, self.mask) for k, loss in self.reconstruction.items()}
        if self.weights.get("mode_seeking"):
            terms["mode_seeking"] = compute_mode_seeking(self.generator, source, target, fake, self.mask)
        if self.discriminator is not None:
            fake_pair, real_pair, labels = self.show_pairs(source, fake, target)
            if not self.weights["feature_matching"]:
                logits_fake = self.discriminator(fake_pair)
                logits_real = self.discriminator(real_pair) if self.adversarial.needs_real_logits else None
            else:
                features_fake, logits_fake = split_logits(self.discriminator.features(fake_pair))
                features_real, logits_real = split_logits(self.discriminator.features(real_pair))
                terms["feature_matching"] = feature_matching(features_real, features_fake)
            terms["adversarial"] = self.adversarial.generator(logits_fake, logits_real, labels)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        self.record(**terms, loss_g=loss)
        return loss

    def record(self, **losses: Tensor) -> None:
        """Keep scalars for the log of the present step; outside of `step`, log them at once."""
        if self.losses is None:
            self.log_dict({f"train/{name}": loss.detach() for name, loss in losses.items()}, on_epoch=False)
        else:
            self.losses.update({name: loss.detach() for name, loss in losses.items()})

    def update(self, network: str, compute_loss: Callable[[], Tensor]) -> None:
        """Step one network's optimizer on a loss; the other network gets no gradients.

        Args:
            network: ``"g"`` or ``"d"``.
            compute_loss: Returns the loss, a scalar with its graph.
        """
        optimizer = self.get_optimizer(network)
        if self.window.is_first:
            optimizer.zero_grad()
        with self.toggled_optimizer(optimizer):
            loss = compute_loss() * self.window.share
            with torch.autocast(loss.device.type, enabled=False):  # else it narrows what the backward pass computes
                self.manual_backward(loss)
            if self.window.is_last:
                optimizer.step()

    def configure_callbacks(self) -> list[Callback]:
        """Check the trainer's settings, since this is called before Lightning's own checks; add no callback."""
        check_arguments(self.trainer, has_discriminator=self.discriminator is not None)
        return []

    def setup(self, stage: str) -> None:
        """Check that the trainer's settings work with two networks, and that pretrained ones are there."""
        check_trainer(self.trainer, has_penalty=self.has_penalty, accumulate=self.accumulate)
        check_pretrained(self, self.pair_spec.target, stage)
        self.batch_reader.start(stage)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Read a batch by ``batch_keys``; make floats in [-1, 1] of its integers by the PairSpec, on the device."""
        return self.batch_reader.read(batch, cast(torch.dtype, self.dtype))
