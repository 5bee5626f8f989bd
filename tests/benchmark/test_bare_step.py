import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.benchmark.bare_step import BareStep
from pix2pix_lightning.training.callbacks import Performance

GENERATOR = {
    "_target_": "pix2pix_lightning.networks.UNetGenerator",
    "num_downs": 4,
    "base_channels": 2,
    "dropout": 0.0,  # its noise depends on the training's counters
}
DISCRIMINATOR = {
    "_target_": "pix2pix_lightning.networks.PatchDiscriminator",
    "num_layers": 1,
    "base_channels": 2,
    "norm": "instance",
}


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_weights_change_as_in_a_training(precision):
    options = {"accelerator": "cpu", "devices": 1, "precision": precision, "max_epochs": 1, "logger": False}
    options |= {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}

    def build_trainer():
        flags = {"fused_optimizer": True, "channels_last": True, "matmul_convolutions": True}
        return Trainer(**options, callbacks=[Performance(flags)])

    source = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    numbers = torch.randint(0, 4, (2, 1, 32, 32), dtype=torch.uint8)
    batch = {"source": source, "target": numbers.masked_fill(numbers == 3, 255), "name": ["", ""]}
    bare, trained, untouched = (
        Pix2PixModule(
            GENERATOR,
            DISCRIMINATOR,
            discriminator_steps=2,
            gradient_clip=0.5,
            r1_weight=1.0,
            r1_every=2,
            pair_spec={"target": {"kind": "label", "num_classes": 3, "ignore_index": 255}},
        )
        for _ in range(3)
    )
    build_trainer().fit(trained, DataLoader([batch] * 2, batch_size=None))
    step = BareStep(bare, build_trainer(), torch.device("cpu"))
    source, target, mask = step.prepare_batch(batch)
    assert source.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert all(optimizer.defaults["fused"] for optimizer in step.optimizers)
    for _ in range(2):
        step(source, target, mask)
    assert not any(p.requires_grad for p in bare.discriminator.parameters())  # frozen in the generator's step
    moved = 0
    for ours, theirs, before in zip(bare.parameters(), trained.parameters(), untouched.parameters(), strict=True):
        assert (ours - theirs).abs().max() < 1e-12
        moved += bool((ours != before).any())
    assert moved == len(list(bare.parameters()))
