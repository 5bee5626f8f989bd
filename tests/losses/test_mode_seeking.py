"""Mode seeking against sums by hand, alone and in the module."""

import numpy as np
import pytest
import torch

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.losses import mode_seeking
from pix2pix_lightning.utils.errors import UserError

GENERATOR = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 2, "base_channels": 2, "dropout": 0.0}


class Own(Pix2PixModule):
    def configure_models(self):
        self.generator, self.discriminator = torch.nn.Conv2d(3, 3, 1), None
        self.configure_penalties()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_is_the_inverse_of_the_mean_distance_over_the_pixels_that_count(dtype):
    torch.manual_seed(0)
    one, other = (torch.rand(2, 2, 3, 4, 4) * 2 - 1).to(dtype)
    mask = torch.rand(2, 1, 4, 4) > 0.4
    distance = np.abs(one.double().numpy() - other.double().numpy())
    np.testing.assert_allclose(mode_seeking(one, other).double(), 1 / (distance.mean() + 1e-5), rtol=1e-6)
    counted = distance.transpose(0, 2, 3, 1)[mask[:, 0].numpy()]
    equal = torch.where(mask, other, one)
    np.testing.assert_allclose(mode_seeking(one, equal, mask).double(), 1 / (counted.mean() + 1e-5), rtol=1e-6)
    torch.testing.assert_close(mode_seeking(one, one).double(), torch.tensor(1e5, dtype=torch.float64))
    assert mode_seeking(one, one, torch.zeros_like(mask)) == 0


@pytest.mark.parametrize("discriminator", [None, {"_target_": "pix2pix_lightning.networks.PixelDiscriminator"}])
def test_a_module_compares_its_output_with_one_of_other_noise(discriminator):
    options = {"pair_spec": {}, "discriminator": discriminator}
    module, plain = (
        Pix2PixModule({**GENERATOR, "noise_channels": 3}, weights=weights, **options).double()
        for weights in ({"l1": 10.0, "mode_seeking": 2.5}, {"l1": 10.0})
    )
    recorded = {}
    module.record = lambda **losses: recorded.update(losses)
    plain.record = lambda **losses: None
    source, target, fake = torch.rand(3, 2, 3, 8, 8, dtype=torch.float64) * 2 - 1
    mask = module.mask = plain.mask = torch.rand(2, 1, 8, 8) > 0.3
    fake = torch.where(mask, fake, target)
    torch.manual_seed(5)
    other = module.generator(source)
    distance = (fake - other).abs().mean(1, keepdim=True)[mask].mean()
    torch.manual_seed(5)
    loss = module.generator_loss(source, target, fake)
    torch.testing.assert_close(loss - plain.generator_loss(source, target, fake), 2.5 / (distance + 1e-5))
    torch.testing.assert_close(recorded["mode_seeking"], 1 / (distance + 1e-5))
    assert "mode_seeking" not in plain.hparams["weights"]  # as checkpoints of earlier versions
    loss.backward()
    assert module.generator.down[0].conv.weight.grad[:, 3:].abs().min() > 0  # the second output has gradients


def test_outputs_that_cannot_differ_are_refused():
    with pytest.raises(UserError, match="noise_channels=8"):
        Pix2PixModule(GENERATOR, weights={"mode_seeking": 1.0})
    with pytest.raises(UserError, match="noise_channels=8"):
        Own(weights={"mode_seeking": 1.0})
    assert Pix2PixModule({**GENERATOR, "dropout": 0.5, "num_downs": 6}, weights={"mode_seeking": 1.0}).weights
