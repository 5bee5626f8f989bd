"""Small modules whose outputs are far from trivial."""

import torch
from lightning.pytorch import Trainer
from torch import nn

from pix2pix_lightning import Pix2PixModule

NETWORKS = "pix2pix_lightning.networks"
UNET = {"_target_": f"{NETWORKS}.UNetGenerator", "num_downs": 3, "base_channels": 4, "dropout_at": "paper"}
GENERATORS = {
    "unet": UNET,
    "unet, instance": {**UNET, "norm": "instance"},
    "unet, none": {**UNET, "norm": "none", "upsample": "resize"},
    "encoder_decoder": {**UNET, "_target_": f"{NETWORKS}.EncoderDecoderGenerator"},
    "resnet": {"_target_": f"{NETWORKS}.ResNetGenerator", "num_blocks": 1, "base_channels": 4, "dropout": 0.5},
}
PALETTE = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


def trained(generator, cls=Pix2PixModule, **options):
    """A module with weights and running statistics as after a training."""
    module = cls(generator, None, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in module.generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.normal_(0, 0.1)
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
                layer.bias.normal_(0, 0.1)
    return module.eval()


def by_hand(module, source, norm):
    """The plain generator: image norm is training mode at a batch of one, without dropout."""
    for layer in module.generator.modules():
        layer.train(norm == "image" and not isinstance(layer, nn.Dropout))
    before = {key: value.clone() for key, value in module.generator.state_dict().items()}
    with torch.no_grad():
        output = torch.cat([module.generator(image) for image in source.split(1)])
    module.generator.load_state_dict(before)
    module.eval()
    return output


def save(module, path):
    """The checkpoint that a training would write."""
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(module)
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(path)
    return path
