"""The loss of a segmentation discriminator against its formulas in NumPy."""

import numpy as np
import pytest
import torch

from pix2pix_lightning.losses import SegmentationAdversarial, find_labels, label_mix
from pix2pix_lightning.utils.errors import UserError

NUM_CLASSES = 3


def draw_logits(seed):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(2, NUM_CLASSES + 1, 4, 5, generator=generator, dtype=torch.float64)).requires_grad_()


def draw_labels(share_without=0.3):
    """Labels of the classes 0 and 2, which are unequally frequent; class 1 does not occur."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.where(torch.rand(2, 4, 5, generator=generator) < 0.2, 0, 2)
    return labels.masked_fill(torch.rand(2, 4, 5, generator=generator) < share_without, -1)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def compute_balanced(logits, labels):
    """The paper's sum over classes, alpha being the inverse of a class's number of pixels, for weights of mean 1."""
    terms = []
    for number in np.unique(labels[labels >= 0]):
        where = labels == number
        terms.append(-log_softmax(logits)[:, number][where].mean())
    return np.mean(terms)


def test_losses_and_score():
    form, real, fake, labels = SegmentationAdversarial(), draw_logits(0), draw_logits(1), draw_labels()
    r, f, t = real.detach().numpy(), fake.detach().numpy(), labels.numpy()
    expected = compute_balanced(r, t) - log_softmax(f)[:, NUM_CLASSES][t >= 0].mean()
    assert form.discriminator(real, fake, labels).item() == pytest.approx(expected, rel=1e-12)
    assert form.generator(fake, labels=labels).item() == pytest.approx(compute_balanced(f, t), rel=1e-12)
    fakes = np.exp(log_softmax(f))[:, NUM_CLASSES]
    assert form.realism(fake).item() == pytest.approx((1 - fakes).mean(), rel=1e-12)
    odds = form.realness(fake)
    assert odds.shape == (2, 1, 4, 5)
    np.testing.assert_allclose(odds[:, 0].sigmoid().detach().numpy(), 1 - fakes, rtol=1e-12)


def test_each_class_weighs_the_same_and_pixels_without_one_nothing():
    form, labels = SegmentationAdversarial(), draw_labels()
    fake, real = draw_logits(1), draw_logits(0)
    form.discriminator(real, fake, labels).backward()
    for logits in (real, fake):
        assert not logits.grad.movedim(1, -1)[labels < 0].any()
        assert logits.grad.movedim(1, -1)[labels >= 0].abs().sum(-1).min() > 0
    flat = torch.zeros(2, NUM_CLASSES + 1, 4, 5, dtype=torch.float64, requires_grad=True)
    form.generator(flat, labels=labels).backward()
    pulls = [-flat.grad[:, number][labels == number].sum() for number in (0, 2)]  # (1 - 1/4) / 2 each
    np.testing.assert_allclose(pulls, [0.375, 0.375], rtol=1e-12)


def test_a_batch_without_any_class_has_no_loss():
    form, real, fake = SegmentationAdversarial(), draw_logits(0), draw_logits(1)
    loss = form.discriminator(real, fake, torch.full((2, 4, 5), -1))
    loss.backward()
    assert loss.item() == 0
    assert real.grad.isfinite().all()
    assert not real.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits(dtype):
    form, labels = SegmentationAdversarial(), torch.zeros(1, 3, 3, dtype=torch.long)
    wrong = torch.full((1, 3, 3, 3), -300.0, dtype=dtype)
    wrong[:, 1] = 300.0  # neither the class nor fake
    wrong.requires_grad_()
    loss = form.discriminator(wrong, wrong, labels)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1200, rel=1e-3)
    assert wrong.grad.isfinite().all()


def test_labels_are_needed():
    form, logits = SegmentationAdversarial(), draw_logits(0)
    with pytest.raises(UserError, match="labels"):
        form.discriminator(logits, logits)
    with pytest.raises(UserError, match="labels"):
        form.generator(logits)
    with pytest.raises(UserError, match="label_mix_weight"):
        SegmentationAdversarial(label_mix_weight=-1.0)


def test_labels_of_channels():
    classes = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, -1, -1], [0, 0, 0]]).T[None, :, None]
    assert find_labels(classes).tolist() == [[[0, 2, -1, -1]]]


def test_label_mix_takes_whole_classes_of_each_image_from_one_of_both():
    labels, seen = draw_labels(), []
    real, fake = torch.ones(2, 3, 4, 5, dtype=torch.float64), torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    logits = draw_logits(0), draw_logits(1)
    answer = draw_logits(2)

    def discriminator(mixed):
        seen.append(mixed)
        return answer

    kinds = set()
    for seed in range(20):
        torch.manual_seed(seed)
        penalty = label_mix(discriminator, (real, fake), logits, labels)
        from_real = seen[-1].numpy()[:, 0]
        for image, numbers in zip(from_real, labels.numpy(), strict=True):
            for number in (0, 2):
                (share,) = np.unique(image[numbers == number])
                assert share in (0, 1)
        kinds.add(tuple(int(from_real[i][labels[i].numpy() == n].max()) for i in (0, 1) for n in (0, 2)))
        r, f, a = (each.detach().numpy() for each in (*logits, answer))
        squares = (a - np.where(from_real[:, None] == 1, r, f)) ** 2
        assert penalty.item() == pytest.approx(squares.mean(1)[labels.numpy() >= 0].mean(), rel=1e-12)
    assert len(kinds) > 8, "classes and images are drawn by themselves"
    penalty.backward()
    assert all(each.grad is not None and each.grad.any() for each in (*logits, answer))
