"""Translator against the plain generator, which the paper runs in training mode on a batch of one."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pix2pix_lightning import PairSpec, Pix2PixModule, SideSpec, Translator
from pix2pix_lightning.data.image_files import write_image
from small_networks import save

UNET = {
    "_target_": "pix2pix_lightning.networks.UNetGenerator",
    "num_downs": 4,
    "base_channels": 4,
    "dropout_at": "paper",
}
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 128, 255))


class OwnModule(Pix2PixModule):
    """What a user writes in a file of their own."""


class Noise(nn.Module):
    """Dropout and nothing else."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x)


class Picky(nn.Module):
    """Takes sides that are multiples of 4 from 8 on."""

    side_multiple = 4
    min_side = 8

    def forward(self, x):
        assert all(side >= 8 and side % 4 == 0 for side in x.shape[2:])
        return x


def trained(cls=Pix2PixModule, generator=UNET, **options):
    """A module with weights of some size, and running statistics that are no image's."""
    module = cls(generator, None, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in module.generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.normal_(0, 0.2)
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
                layer.bias.normal_(0, 0.1)
    return module.train()


def picture(height, width, channels=3, seed=0):
    """Uneven light, so that no two pictures have the same statistics."""
    rng = np.random.default_rng([height, width, seed])
    low, high = sorted(rng.choice(256, 2, replace=False))
    return rng.integers(low, high + 1, (height, width, channels), np.uint8)


def by_hand(module, source, norm="image"):
    """The generator on (1, C, H, W) floats, padded by NumPy; no dropout."""
    generator = deepcopy(module.generator).train(norm == "image")
    for layer in generator.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    height, width = source.shape[2:]
    padded = np.pad(source, ((0, 0), (0, 0), (0, -height % 16), (0, -width % 16)), mode="reflect")
    with torch.no_grad():
        return generator(torch.from_numpy(padded).float())[..., :height, :width]


def as_seen(image):
    return (image.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32)


def as_file(output):
    return ((output[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def assert_a_level_apart(actual, expected):
    assert actual.dtype == expected.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= 1


@pytest.fixture(scope="module")
def module():
    return trained()


@pytest.fixture(scope="module")
def checkpoint(module, tmp_path_factory):
    return save(module, tmp_path_factory.mktemp("run") / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def translator(checkpoint):
    return Translator(checkpoint)


# ---- modes, sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 5), (20, 50), (1, 33)])
@pytest.mark.parametrize("norm", ["image", "running"])
def test_an_array_through_the_plain_generator(module, checkpoint, height, width, norm):
    image = picture(height, width)
    expected = by_hand(module, as_seen(image), norm)
    assert expected.std() > 0.05
    assert_a_level_apart(Translator(checkpoint, norm=norm)(image), as_file(expected))


def test_the_norms_differ(module):
    source = as_seen(picture(32, 32))
    assert (by_hand(module, source, "image") - by_hand(module, source, "running")).abs().max() > 0.1


@pytest.mark.parametrize("options", [{}, {"norm": "running"}, {"mode": "paper"}, {"dropout": "on", "norm": "running"}])
def test_the_neighbours_in_a_batch_do_not_matter(checkpoint, options):
    translate = Translator(checkpoint, **options)
    batch = torch.cat([torch.from_numpy(as_seen(picture(24, 40, seed=seed))) for seed in range(4)])
    alone = torch.stack([translate(image) for image in batch])
    torch.testing.assert_close(translate(batch), alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(translate(batch.flip(0)), alone.flip(0), rtol=0, atol=1e-5)


def test_images_of_unequal_sizes_in_one_call(translator):
    images = [picture(*size) for size in [(16, 16), (37, 5), (16, 16), (5, 37), (16, 20), (37, 5)]]
    images[2] = 255 - images[0]
    for together in (translator(images), translator.translate_arrays(images)):
        for image, translated in zip(images, together, strict=True):
            assert_a_level_apart(translated, translator(image))


def test_dropout_drops_half_and_doubles_the_rest():
    source = torch.rand(3, 32, 32) + 0.5
    noise = Pix2PixModule(Noise(), None)
    ratio = Translator(noise, mode="paper")(source) / source
    assert set(ratio.unique().tolist()) == {0.0, 2.0}
    assert 0.9 < ratio.mean() < 1.1
    assert torch.equal(Translator(noise)(source), source)


def test_noise_is_of_seed_and_sample_alone(checkpoint):
    source = torch.from_numpy(as_seen(picture(32, 32)))[0]

    def sample(**options):
        torch.manual_seed(len(options))
        before = torch.get_rng_state()
        translate = Translator(checkpoint, mode="paper", **options)
        translate(source.flip(0))
        output = translate(source)
        assert torch.equal(torch.get_rng_state(), before)
        return output

    first = sample()
    assert torch.equal(sample(seed=0), first)
    assert torch.equal(sample(norm="image", dropout="on", sample=0), first)
    assert (sample(dropout="off") - first).abs().max() > 0.01
    others = [sample(seed=1), sample(sample=1), sample(seed=1, sample=1)]
    for index, other in enumerate(others):
        assert all((other - one).abs().max() > 0.01 for one in (first, *others[:index]))


def test_paper_off_is_deterministic_and_the_other_way_round(checkpoint):
    image = picture(16, 16)
    plain, paper = Translator(checkpoint), Translator(checkpoint, mode="paper")
    assert (Translator(checkpoint, mode="paper", dropout="off")(image) == plain(image)).all()
    assert (Translator(checkpoint, dropout="on")(image) == paper(image)).all()
    assert (paper(image) != plain(image)).any()


def test_a_least_side_is_met_by_reflection():
    source = torch.rand(1, 3, 2, 5)
    assert torch.equal(Translator(Pix2PixModule(Picky(), None))(source), source)


# ---- what goes in, what comes out ------------------------------------------------------------------------------


def test_pil_images(translator):
    image = picture(20, 30)
    expected = translator(image)
    rgb = translator(Image.fromarray(image))
    assert isinstance(rgb, Image.Image)
    assert rgb.mode == "RGB"
    assert (np.asarray(rgb) == expected).all()
    alpha = np.concatenate([image, picture(20, 30, 1)], 2)
    assert (np.asarray(translator(Image.fromarray(alpha))) == expected).all()
    grey = image[..., 0]
    assert (np.asarray(translator(Image.fromarray(grey))) == translator(np.stack([grey] * 3, 2))).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pil_images_are_not_cut_off(translator, dtype):
    image = Image.fromarray(np.full((16, 16), 1000, dtype))
    with pytest.raises(ValueError, match=f"mode {image.mode}: 8-bit"):
        translator(image)


def test_integer_tensors_are_as_files(translator):
    images = [picture(20, 30, seed=seed) for seed in range(2)]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    translated = translator(batch)
    assert translated.dtype == torch.uint8
    for index, image in enumerate(images):
        expected = translator(image)
        assert_a_level_apart(translated[index].permute(1, 2, 0).numpy(), expected)
        assert (translator(batch[index]).permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float_tensors_are_as_the_network_sees(module, translator, dtype):
    source = as_seen(picture(20, 30))
    expected = by_hand(module, torch.from_numpy(source).to(dtype).float().numpy())
    for given, wanted in ((source, expected), (source[0], expected[0])):
        translated = translator(torch.from_numpy(given).to(dtype))
        assert translated.dtype == dtype
        tolerance = 0.01 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(translated.float(), wanted, rtol=0, atol=tolerance)


def test_paths(translator, tmp_path):
    image = picture(20, 30)
    write_image(tmp_path / "a.png", image)
    assert (translator(tmp_path / "a.png") == translator(image)).all()
    assert (translator([str(tmp_path / "a.png")])[0] == translator(image)).all()


def test_grey_to_rgb():
    grey = trained(pair_spec=PairSpec(source=SideSpec(kind="grayscale")))
    level = picture(20, 30, 1)
    expected = as_file(by_hand(grey, as_seen(level)))
    translate = Translator(grey)
    assert expected.shape == (20, 30, 3)
    for given in (level, level[..., 0], np.repeat(level, 3, 2)):
        assert_a_level_apart(translate(given), expected)
    pil = translate(Image.fromarray(level[..., 0]))
    assert pil.mode == "RGB"
    colour = picture(20, 30)
    luminance = (colour @ [0.299, 0.587, 0.114]).round().astype(np.uint8)[..., None]
    assert_a_level_apart(translate(colour), as_file(by_hand(grey, as_seen(luminance))))


def test_rgb_to_grey():
    grey = trained(pair_spec=PairSpec(target=SideSpec(kind="grayscale")))
    image = picture(20, 30)
    expected = as_file(by_hand(grey, as_seen(image)))
    translate = Translator(grey)
    assert expected.shape == (20, 30, 1)
    assert_a_level_apart(translate(image), expected)
    assert_a_level_apart(translate(image[..., 0]), as_file(by_hand(grey, as_seen(image[..., [0, 0, 0]])))[..., 0])
    assert translate(Image.fromarray(image)).mode == "L"
    assert translate(torch.from_numpy(image).permute(2, 0, 1)).shape == (1, 20, 30)


@pytest.mark.parametrize("palette", [PALETTE, None])
def test_label_target(palette):
    side = SideSpec(kind="label", palette=palette, num_classes=None if palette else 3)
    label = trained(pair_spec=PairSpec(target=side))
    image = picture(20, 30)
    output = by_hand(label, as_seen(image))
    classes = output.argmax(1)[0].numpy()
    assert set(np.unique(classes)) == {0, 1, 2}
    expected = np.array(PALETTE, np.uint8)[classes] if palette else classes[..., None]
    best, second = output.topk(2, 1).values[0]
    clear = (best - second > 1e-4).numpy()
    assert clear.mean() > 0.99
    translated = Translator(label)(image)
    assert translated.shape == expected.shape
    assert (translated == expected)[clear].all()


def test_label_source():
    label = trained(pair_spec=PairSpec(source=SideSpec(kind="label", palette=PALETTE)))
    classes = picture(20, 30, 1)[..., 0] % 3
    source = np.stack([np.where(classes == index, 1, -1) for index in range(3)])[None].astype(np.float32)
    jpeg_noise = np.random.default_rng(0).integers(-20, 21, (20, 30, 3))
    image = (np.array(PALETTE)[classes] + jpeg_noise).clip(0, 255).astype(np.uint8)
    assert_a_level_apart(Translator(label)(image), as_file(by_hand(label, source)))


# ---- modules, checkpoints, trust -------------------------------------------------------------------------------


def test_a_module_is_left_as_it_was(module):
    state = deepcopy(module.state_dict())
    output = Translator(module, mode="paper")(torch.zeros(1, 3, 16, 16))
    assert all(layer.training for layer in module.modules() if layer is not module.val_metrics)
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    weight = torch.ones((), requires_grad=True)
    (output * weight).sum().backward()
    torch.testing.assert_close(weight.grad, output.sum())


def test_a_run_s_best_checkpoint_is_taken(tmp_path):
    image = picture(16, 16)
    last, best = trained(), trained()
    with torch.no_grad():
        best.generator.up[0].conv.bias.fill_(0.5)
    save(last, tmp_path / "checkpoints" / "last.ckpt")
    assert_a_level_apart(Translator(tmp_path)(image), as_file(by_hand(last, as_seen(image))))
    save(best, tmp_path / "checkpoints" / "best.ckpt")
    assert_a_level_apart(Translator(tmp_path)(image), as_file(by_hand(best, as_seen(image))))
    assert (Translator(last)(image) != Translator(best)(image)).any()


@pytest.mark.parametrize("trust", [[OwnModule.__module__], OwnModule.__module__])
def test_a_module_of_the_user_s_own_wants_trust(module, tmp_path, trust):
    path = save(trained(OwnModule), tmp_path / "own.ckpt")
    image = picture(16, 16)
    with pytest.raises(ValueError, match=rf"{OwnModule.__module__}.OwnModule.*trust="):
        Translator(path)
    assert_a_level_apart(Translator(path, trust=trust)(image), as_file(by_hand(module, as_seen(image))))


@pytest.mark.parametrize("name", ["torch.nn.Linear", "os.system", "torch.nn.parallel.distributed.os.system", 7, None])
def test_the_class_that_a_checkpoint_names_is_one_of_ours(checkpoint, tmp_path, name):
    content = torch.load(checkpoint, weights_only=True)
    content["pix2pix_lightning"]["module"] = name
    torch.save(content, tmp_path / "forged.ckpt")
    with pytest.raises(ValueError, match=name if isinstance(name, str) else "no checkpoint of"):
        Translator(tmp_path / "forged.ckpt")


def test_a_live_generator_is_asked_for_by_name(tmp_path):
    path = save(Pix2PixModule(Noise(), None), tmp_path / "live.ckpt")
    with pytest.raises(ValueError, match="live objects: give generator="):
        Translator(path)


# ---- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "papper"}, "mode='papper' is unknown: one of deterministic, paper"),
        ({"norm": "batch"}, "norm='batch' is unknown: one of image, running"),
        ({"norm": ""}, "norm='' is unknown"),
        ({"dropout": "maybe"}, "dropout='maybe' is unknown: one of on, off"),
        ({"dropout": False, "mode": "paper"}, "dropout=False is unknown: one of on, off"),
        ({"device": "gpu"}, "device=gpu cannot be used here: auto, cpu or cuda"),
        ({"device": "meta"}, "device=meta cannot be used here"),
        ({"device": "cuda:99"}, "device=cuda:99 cannot be used here"),
    ],
)
def test_an_unknown_option(checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        Translator(checkpoint, **options)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((16, 16, 4), np.uint8), "4 channels: 1 or 3"),
        (np.zeros((16, 16, 3)), "float64"),
        (torch.zeros(1, 4, 16, 16), "4 channels, but the generator was trained on 3"),
        (torch.zeros(16, 16), r"shape \(16, 16\)"),
        (torch.zeros(1, 1, 3, 16, 16), r"shape \(1, 1, 3, 16, 16\)"),
        (torch.zeros(3, 16, 16, dtype=torch.int64), "int64"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image(translator, image, message):
    with pytest.raises(ValueError, match=message):
        translator(image)


def test_an_orientation_tag_means_the_same_for_a_path_and_a_pil_image(tmp_path):
    translator = Translator(Pix2PixModule(UNET, None))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 60, 3), np.uint8))
    tag = Image.Exif()
    tag[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=tag)
    by_path = translator(tmp_path / "turned.png")
    with Image.open(tmp_path / "turned.png") as opened:
        by_image = np.asarray(translator(opened))
    assert by_path.shape == (60, 20, 3)
    assert np.array_equal(by_path, by_image)
