import numpy as np
import pytest
import torch

from pix2pix_lightning.metrics import CheckerboardRatio, compute_checkerboard_energy

ROWS, COLUMNS = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
CHECKS = (-1) ** (ROWS + COLUMNS)
STRIPES = (-1) ** COLUMNS
WAVE = torch.cos(torch.pi / 2 * ROWS)
PINS = ((ROWS % 4 == 0) & (COLUMNS % 4 == 0)).float()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (0.5 + 0.1 * CHECKS, {2: 0.01, 4: 0, 8: 0}),
        (0.5 + 0.1 * STRIPES, {2: 0.01, 4: 0, 8: 0}),
        (0.5 + 0.1 * WAVE, {2: 0, 4: 0.005, 8: 0}),
        (PINS, {2: 3 / 256, 4: 12 / 256, 8: 0}),  # a comb has 1/16 at each of the 4 x 4 frequencies
        (torch.full_like(ROWS, 0.7), {2: 0, 4: 0, 8: 0}),
    ],
)
def test_grids_have_their_energy_at_their_own_period(pattern, expected):
    images = torch.stack([pattern, torch.zeros_like(pattern)])[None].double()  # a mean over two channels
    for period, energy in expected.items():
        found = compute_checkerboard_energy(images, period)
        assert found.shape == (1, 4 * 5)
        torch.testing.assert_close(found, torch.full_like(found, energy / 2), atol=1e-12, rtol=1e-6)


def test_energy_against_a_plain_sum():
    image = np.random.default_rng(0).random((16, 16))
    hann = np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2
    window = np.outer(hann, hann) / hann.sum() ** 2
    expected = sum(
        abs((window * image * np.exp(-2j * np.pi * (np.arange(16)[:, None] * v + np.arange(16) * u) / 4)).sum()) ** 2
        for v in range(4)
        for u in range(4)
        if v % 2 or u % 2
    )
    found = compute_checkerboard_energy(torch.from_numpy(image)[None, None], 4)
    np.testing.assert_allclose(found, [[expected]], rtol=1e-12)


def test_a_faint_grid_on_a_wall_is_found_beside_strong_edges():
    generator = torch.Generator().manual_seed(0)
    target = 0.5 + 0.002 * torch.randn(2, 3, 64, 64, generator=generator)
    target[..., 24:] = torch.rand(2, 3, 64, 40, generator=generator)  # five eighths are rough
    grid = 0.01 * (-1) ** torch.arange(64.0)
    blurred = target.clone()
    blurred[..., 24:] = 0.5
    metric = CheckerboardRatio()
    assert metric(target, target) == 1
    assert metric(blurred + grid, target) > 20  # over all windows the output has less than the target
    everywhere = [compute_checkerboard_energy(images).mean() for images in (blurred + grid, target)]
    assert everywhere[0] < everywhere[1]
    assert metric(target + 0.01 * torch.cos(torch.pi / 2 * torch.arange(64.0)), target) < 1.2  # of another period


def test_what_cannot_be_measured_is_refused():
    for shape in ((3, 16, 16), (1, 3, 15, 16)):
        with pytest.raises(ValueError, match=r"16 x 16, got \([\d, ]+\)"):
            compute_checkerboard_energy(torch.zeros(shape))
    with pytest.raises(ValueError, match="period=3"):
        CheckerboardRatio(3)
    assert CheckerboardRatio()(torch.rand(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)).isnan()
