"""Run a module's generator at test time: in a norm mode, with or without noise, in a precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.inference.precision import choose_precision, optimize_layout, use_precision
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.networks import HourglassGenerator, TilingState, Window, use_eval_mode
from pix2pix_lightning.networks.hourglass_batches import run_batch, runs_in_batches


class GeneratorNetwork:
    """A generator at test time.

    Args:
        module: Module whose generator is used itself, not copied, and moved to ``device``.
        norm: ``image`` (statistics of the image) or ``running`` (running statistics), as in
            ``networks.use_eval_mode``.
        dropout: Whether the generator's noise is on: dropout, and planes of noise.
        device: Device on which it runs.
        precision: ``32``, ``bf16`` or ``auto``.
        optimized_layout: Whether the weights are converted for speed, in place, and for float32 on a CPU kept in a
            second form too (`keep_transformed_weights`).

    Attributes:
        generator: The module's generator.
        precision: ``32`` or ``bf16``, also where ``auto`` was given.
        side_multiple: Divisor of the sides of its input, in pixels.
        min_side: Smallest side of its input, in pixels.
    """

    def __init__(
        self,
        module: Pix2PixModule,
        *,
        norm: str,
        dropout: bool,
        device: torch.device,
        precision: str,
        optimized_layout: bool,
    ) -> None:
        self.pair_spec: PairSpec = module.pair_spec
        self.norm, self.dropout, self.device = norm, dropout, device
        self.precision = choose_precision(device) if precision == "auto" else precision
        self.generator = module.generator.to(device)
        if optimized_layout:
            optimize_layout(self.generator, device, self.precision)
        self.side_multiple = int(getattr(self.generator, "side_multiple", 1))
        self.min_side = int(getattr(self.generator, "min_side", 1))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the input."""
        parameter = next(self.generator.parameters(), None)
        return torch.float32 if parameter is None else parameter.dtype

    def __call__(
        self,
        source: Tensor,
        *,
        seed: int = 0,
        sample: int = 0,
        whole: TilingState | None = None,
        window: Window | None = None,
    ) -> Tensor:
        """Translate images.

        Args:
            source: Images (B, C, H, W) in [-1, 1], of sides that the network takes.
            seed: Seed of the noise.
            sample: Number of the noise; together with ``seed`` it determines the noise.
            whole: State of the image that is translated in tiles, of which ``source`` is one.
            window: Position of ``source`` in that image.

        Returns:
            (B, C', H, W) in [-1, 1].
        """
        with self.use(seed=seed, sample=sample, whole=whole, window=window) as generator:
            is_batch = whole is None and len(source) > 0
            if is_batch and isinstance(generator, HourglassGenerator) and runs_in_batches(generator):
                return run_batch(generator, source.to(self.dtype))
            # forward, since __call__ runs what was compiled for training
            output: Tensor = generator.forward(source.to(self.dtype))
        return output

    @contextmanager
    def use(
        self, *, seed: int = 0, sample: int = 0, whole: TilingState | None = None, window: Window | None = None
    ) -> Iterator[nn.Module]:
        """Put the generator in its mode and precision, without gradients, until the context ends.

        Args:
            seed: Seed of the noise.
            sample: Number of the noise.
            whole: State of the image that is translated in tiles.
            window: Position of a tile in that image.

        Yields:
            The generator.
        """
        mode = use_eval_mode(
            self.generator, norm=self.norm, dropout=self.dropout, seed=seed, sample=sample, tiling=whole, window=window
        )
        # no_grad, since tensors of inference_mode cannot be used in a later training
        with torch.no_grad(), mode, use_precision(self.precision, self.device):
            yield self.generator
