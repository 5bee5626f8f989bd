import pytest
import torch

from pix2pix_lightning.metrics import compute_pixel_accuracy


def test_a_pixel_is_right_when_all_its_channels_are():
    target = torch.zeros(2, 3, 2, 2)
    preds = target.clone()
    preds[0, 1, 0, 0] = preds[0, 2, 0, 0] = preds[0, 0, 1, 1] = 1  # two pixels of four
    assert compute_pixel_accuracy(preds, target).tolist() == [0.5, 1.0]
    assert compute_pixel_accuracy(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]])).tolist() == [0.75]


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"^label maps must both be of one shape .* \(2, 1, 4, 4\): .*$"):
        compute_pixel_accuracy(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
