"""Train, test and predict by LightningCLI, with a YAML file instead of this package's own commands.

    python examples/lightning_cli.py fit --config examples/lightning_cli.yaml --data.root pairs
    python examples/lightning_cli.py test --config examples/lightning_cli.yaml --data.root pairs --ckpt_path <file>
    python examples/lightning_cli.py predict --config examples/lightning_cli.yaml --data.root pairs --ckpt_path <file>

``predict`` writes the outputs of the test pairs into ``predictions`` below ``trainer.default_root_dir``. It needs
``pip install ".[cli]"`` in the folder of the README.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from PIL import Image

from pix2pix_lightning import PairedDataModule, Pix2PixModule


class WriteImages(BasePredictionWriter):
    """Write each predicted image as a PNG file."""

    def __init__(self) -> None:
        super().__init__(write_interval="batch")

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *args: Any) -> None:
        """Write the images of a batch: ``output`` is (B, C, H, W) uint8, and ``name`` a list."""
        for image, name in zip(prediction["output"], prediction["name"], strict=True):
            path = Path(trainer.default_root_dir, "predictions", f"{name}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(path)


class Pix2PixCLI(LightningCLI):
    """The module gets the meaning of its images from the data module."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link ``pair_spec``, by which the networks get their channels."""
        parser.link_arguments("data.pair_spec", "model.pair_spec", apply_on="instantiate")


if __name__ == "__main__":
    Pix2PixCLI(
        Pix2PixModule,
        PairedDataModule,
        trainer_defaults={"callbacks": [WriteImages()]},
        auto_configure_optimizers=False,  # the module has an optimizer for each network
        save_config_kwargs={"overwrite": True},
    )
