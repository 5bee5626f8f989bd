"""A module's generator as it translates: in a norm mode, with noise or without, in a precision."""

from __future__ import annotations

import torch
from torch import Tensor

from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.inference.precision import chosen_for, computing, lay_out
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.networks import TilingState, Window, use_eval_mode


class GeneratorNetwork:
    """A generator at test time.

    Args:
        module: Whose generator is used itself, not copied, and moved to ``device``.
        norm: ``image`` or ``running``, as ``networks.use_eval_mode`` has it.
        dropout: Whether dropout's noise is on.
        device: Where it runs.
        precision: ``32``, ``bf16`` or ``auto``.
        laid_out: Whether the weights are laid out for speed, in place.

    Attributes:
        generator: The module's.
        precision: What ``auto`` came to.
        side_multiple: The sides of what it takes are multiples of this,
        least_side: and at least this.
    """

    def __init__(
        self,
        module: Pix2PixModule,
        *,
        norm: str,
        dropout: bool,
        device: torch.device,
        precision: str,
        laid_out: bool,
    ) -> None:
        self.pair_spec: PairSpec = module.pair_spec
        self.norm, self.dropout, self.device = norm, dropout, device
        self.precision = chosen_for(device) if precision == "auto" else precision
        self.generator = module.generator.to(device)
        if laid_out:
            lay_out(self.generator, device, self.precision)
        self.side_multiple = int(getattr(self.generator, "side_multiple", 1))
        self.least_side = int(getattr(self.generator, "min_side", 1))

    @property
    def dtype(self) -> torch.dtype:
        """Of the floats that go in."""
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
        """Translate (B, C, H, W) in [-1, 1] of sides that it takes, with the noise of ``seed`` and ``sample``.

        ``whole`` and ``window`` say of which image it is a part, and which.
        """
        mode = use_eval_mode(
            self.generator, norm=self.norm, dropout=self.dropout, seed=seed, sample=sample, tiling=whole, window=window
        )
        # not inference_mode: what comes out may go on into somebody's training
        with torch.no_grad(), mode, computing(self.precision, self.device):
            output: Tensor = self.generator.forward(source.to(self.dtype))  # not what was compiled for training
        return output
