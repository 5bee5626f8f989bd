"""Translator, compared with the plain generator, which the paper runs in training mode on a batch of one."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import small_networks
from pix2pix_lightning import PairSpec, Pix2PixModule, Translator
from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.sides import build_side
from small_networks import by_hand, save, trained

UNET = {**small_networks.UNET, "num_downs": 4}
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 128, 255))


class OwnModule(Pix2PixModule):
    """A module in a user's own package."""


class Noise(nn.Module):
    """A generator that is dropout alone."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x)


class Saturated(nn.Module):
    """A generator of three channels at the lowest value."""

    def forward(self, x):
        return -torch.ones_like(x)


class Picky(nn.Module):
    """A generator of sides that are multiples of 4 from 8."""

    side_multiple = 4
    min_side = 8

    def forward(self, x):
        assert all(side >= 8 and side % 4 == 0 for side in x.shape[2:])
        return x


def build_module(cls=Pix2PixModule, **options):
    """A module after a training, in training mode, with outputs of a large range."""
    module = trained(UNET, cls, **options)
    with torch.no_grad():
        for layer in module.generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.mul_(2)
    return module.train()


def make_image(height, width, channels=3, seed=0):
    """An image whose statistics depend on the seed and the size."""
    rng = np.random.default_rng([height, width, seed])
    low, high = sorted(rng.choice(256, 2, replace=False))
    return rng.integers(low, high + 1, (height, width, channels), np.uint8)


def run_plain(module, source, norm="image"):
    """Run the plain generator on (1, C, H, W) floats, padded by NumPy."""
    height, width = source.shape[2:]
    padded = np.pad(source, ((0, 0), (0, 0), (0, -height % 16), (0, -width % 16)), mode="reflect")
    return by_hand(deepcopy(module), torch.from_numpy(padded).float(), norm)[..., :height, :width]


def encode(image):
    return (image.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32)


def decode(output):
    return ((output[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def assert_within_one_level(actual, expected):
    assert actual.dtype == expected.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= 1


@pytest.fixture(scope="module")
def module():
    return build_module()


@pytest.fixture(scope="module")
def checkpoint(module, tmp_path_factory):
    return save(module, tmp_path_factory.mktemp("run") / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def translator(checkpoint):
    return Translator(checkpoint)


# ---- modes, sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 5), (20, 50), (1, 33)])
@pytest.mark.parametrize("norm", ["image", "running"])
def test_array_of_any_size(module, checkpoint, height, width, norm):
    image = make_image(height, width)
    expected = run_plain(module, encode(image), norm)
    assert expected.std() > 0.05
    assert_within_one_level(Translator(checkpoint, norm=norm)(image), decode(expected))


@pytest.mark.parametrize(
    ("geometry", "height", "width"),
    [
        ({"size": (16, 32)}, 16, 32),
        ({"size": 16, "load_size": 18}, 16, 16),  # without the jitter's enlarging
        ({"size": 16, "load_size": 48, "resize": "scale_width"}, 32, 48),  # 24 x 36 pixels, at the training's scale
        ({"size": 40, "resize": "scale_width", "is_whole": True}, 26, 40),
        ({"size": 16, "resize": "none"}, 24, 36),
    ],
)
def test_the_trainings_geometry_in_the_shape_of_the_input(geometry, height, width):
    spec = PairSpec(source=build_side(kind="rgb", interpolation="bilinear"), **geometry)
    module = trained(UNET, pair_spec=spec)
    image = make_image(24, 36)
    translator = Translator(module, resize="training")
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    output = decode(run_plain(module, encode(resized)))
    back = np.asarray(Image.fromarray(output).resize((36, 24), Image.Resampling.BICUBIC))
    actual = translator(image)
    assert actual.shape == image.shape
    assert np.abs(actual.astype(int) - back).mean() < 1  # Pillow rounds between rows and columns
    assert np.array_equal(translator(Image.fromarray(image)), actual)
    assert Translator(module, resize=(height, width))(image).shape == (height, width, 3)


def test_classes_are_never_mixed_when_an_output_is_resized_back():
    target = build_side(kind="label", num_classes=3)
    module = trained({**UNET, "out_channels": 3}, pair_spec=PairSpec(target=target, size=16))
    image = make_image(40, 24)
    small = Translator(module, resize=16)(image)
    rows, columns = ((2 * np.arange(side) + 1) * 16 // (2 * side) for side in (40, 24))
    np.testing.assert_array_equal(Translator(module, resize="training")(image), small[rows][:, columns])


def test_norms_differ(module):
    source = encode(make_image(32, 32))
    assert (run_plain(module, source, "image") - run_plain(module, source, "running")).abs().max() > 0.1


@pytest.mark.parametrize("options", [{}, {"norm": "running"}, {"mode": "paper"}, {"dropout": "on", "norm": "running"}])
def test_images_of_a_batch_are_independent(checkpoint, options):
    translate = Translator(checkpoint, **options)
    batch = torch.cat([torch.from_numpy(encode(make_image(24, 40, seed=seed))) for seed in range(4)])
    alone = torch.stack([translate(image) for image in batch])
    torch.testing.assert_close(translate(batch), alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(translate(batch.flip(0)), alone.flip(0), rtol=0, atol=1e-5)


def test_images_of_several_sizes_in_one_call(translator):
    images = [make_image(*size) for size in [(16, 16), (37, 5), (16, 16), (5, 37), (16, 20), (37, 5)]]
    images[2] = 255 - images[0]
    for together in (translator(images), translator.translate_arrays(images)):
        for image, translated in zip(images, together, strict=True):
            assert_within_one_level(translated, translator(image))


def test_dropout_drops_half_and_doubles_the_rest():
    source = torch.rand(3, 32, 32) + 0.5
    noise = Pix2PixModule(Noise(), None)
    ratio = Translator(noise, mode="paper")(source) / source
    assert set(ratio.unique().tolist()) == {0.0, 2.0}
    assert 0.9 < ratio.mean() < 1.1
    assert torch.equal(Translator(noise)(source), source)


def test_noise_depends_on_seed_and_sample_only(checkpoint):
    source = torch.from_numpy(encode(make_image(32, 32)))[0]

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


def test_dropout_replaces_that_of_the_mode(checkpoint):
    image = make_image(16, 16)
    plain, paper = Translator(checkpoint), Translator(checkpoint, mode="paper")
    assert (Translator(checkpoint, mode="paper", dropout="off")(image) == plain(image)).all()
    assert (Translator(checkpoint, dropout="on")(image) == paper(image)).all()
    assert (paper(image) != plain(image)).any()


def test_smallest_side():
    source = torch.rand(1, 3, 2, 5)
    assert torch.equal(Translator(Pix2PixModule(Picky(), None))(source), source)


# ---- types of images -------------------------------------------------------------------------------------------


def test_pil_images(translator):
    image = make_image(20, 30)
    expected = translator(image)
    rgb = translator(Image.fromarray(image))
    assert isinstance(rgb, Image.Image)
    assert rgb.mode == "RGB"
    assert (np.asarray(rgb) == expected).all()
    opaque = np.concatenate([image, np.full((20, 30, 1), 255, np.uint8)], 2)
    assert (np.asarray(translator(Image.fromarray(opaque))) == expected).all()
    grayscale = image[..., 0]
    assert (np.asarray(translator(Image.fromarray(grayscale))) == translator(np.stack([grayscale] * 3, 2))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_pil_image_with_alpha_is_translated_as_its_file_over_the_background(tmp_path, mode):
    spec = PairSpec(source=build_side(background=(0, 0, 250)))
    translator = Translator(Pix2PixModule(UNET, None, pair_spec=spec))
    image = Image.fromarray(np.dstack([make_image(20, 30), make_image(20, 30, 1, seed=1)])).convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    image.save(tmp_path / "clear.png", **options)
    with Image.open(tmp_path / "clear.png") as clear:
        below = Image.new("RGBA", clear.size, (0, 0, 250, 255))
        flat = np.asarray(Image.alpha_composite(below, clear.convert("RGBA")).convert("RGB"))
        translated = np.asarray(translator(clear))
    np.testing.assert_array_equal(translated, translator(tmp_path / "clear.png"))
    assert abs(translated.astype(int) - translator(flat)).max() <= 2  # Pillow rounds its mixture otherwise


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pil_images_are_refused(translator, dtype):
    image = Image.fromarray(np.full((16, 16), 1000, dtype))
    with pytest.raises(ValueError, match=f"mode {image.mode}"):
        translator(image)


def test_integer_tensors(translator):
    images = [make_image(20, 30, seed=seed) for seed in range(2)]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    translated = translator(batch)
    assert translated.dtype == torch.uint8
    for index, image in enumerate(images):
        expected = translator(image)
        assert_within_one_level(translated[index].permute(1, 2, 0).numpy(), expected)
        assert (translator(batch[index]).permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float_tensors(module, translator, dtype):
    source = encode(make_image(20, 30))
    expected = run_plain(module, torch.from_numpy(source).to(dtype).float().numpy())
    for given, wanted in ((source, expected), (source[0], expected[0])):
        translated = translator(torch.from_numpy(given).to(dtype))
        assert translated.dtype == dtype
        tolerance = 0.01 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(translated.float(), wanted, rtol=0, atol=tolerance)


def test_paths(translator, tmp_path):
    image = make_image(20, 30)
    write_image(tmp_path / "a.png", image)
    assert (translator(tmp_path / "a.png") == translator(image)).all()
    assert (translator([str(tmp_path / "a.png")])[0] == translator(image)).all()


def test_grayscale_to_rgb():
    grayscale = build_module(pair_spec=PairSpec(source=build_side(kind="grayscale")))
    level = make_image(20, 30, 1)
    expected = decode(run_plain(grayscale, encode(level)))
    translate = Translator(grayscale)
    assert expected.shape == (20, 30, 3)
    for given in (level, level[..., 0], np.repeat(level, 3, 2)):
        assert_within_one_level(translate(given), expected)
    pil = translate(Image.fromarray(level[..., 0]))
    assert pil.mode == "RGB"
    colour = make_image(20, 30)
    luminance = (colour @ [0.299, 0.587, 0.114]).round().astype(np.uint8)[..., None]
    assert_within_one_level(translate(colour), decode(run_plain(grayscale, encode(luminance))))


def test_rgb_to_grayscale():
    grayscale = build_module(pair_spec=PairSpec(target=build_side(kind="grayscale")))
    image = make_image(20, 30)
    expected = decode(run_plain(grayscale, encode(image)))
    translate = Translator(grayscale)
    assert expected.shape == (20, 30, 1)
    assert_within_one_level(translate(image), expected)
    assert_within_one_level(
        translate(image[..., 0]), decode(run_plain(grayscale, encode(image[..., [0, 0, 0]])))[..., 0]
    )
    assert translate(Image.fromarray(image)).mode == "L"
    assert translate(torch.from_numpy(image).permute(2, 0, 1)).shape == (1, 20, 30)


@pytest.mark.parametrize("palette", [PALETTE, None])
def test_label_target(palette):
    side = build_side(kind="label", palette=palette, num_classes=None if palette else 3)
    label = build_module(pair_spec=PairSpec(target=side))
    image = make_image(20, 30)
    output = run_plain(label, encode(image))
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
    label = build_module(pair_spec=PairSpec(source=build_side(kind="label", palette=PALETTE)))
    classes = make_image(20, 30, 1)[..., 0] % 3
    source = np.stack([np.where(classes == index, 1, -1) for index in range(3)])[None].astype(np.float32)
    jpeg_noise = np.random.default_rng(0).integers(-20, 21, (20, 30, 3))
    image = (np.array(PALETTE)[classes] + jpeg_noise).clip(0, 255).astype(np.uint8)
    assert_within_one_level(Translator(label)(image), decode(run_plain(label, source)))


# ---- modules, checkpoints, trust -------------------------------------------------------------------------------


def test_module_is_unchanged(module):
    state = deepcopy(module.state_dict())
    output = Translator(module, mode="paper")(torch.zeros(1, 3, 16, 16))
    assert all(layer.training for layer in module.modules() if layer is not module.val_metrics)
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    weight = torch.ones((), requires_grad=True)
    (output * weight).sum().backward()
    torch.testing.assert_close(weight.grad, output.sum())


def test_best_checkpoint_of_a_run(tmp_path):
    image = make_image(16, 16)
    last, best = build_module(), build_module()
    with torch.no_grad():
        best.generator.up[0].conv.bias.fill_(0.5)
    save(last, tmp_path / "checkpoints" / "last.ckpt")
    assert_within_one_level(Translator(tmp_path)(image), decode(run_plain(last, encode(image))))
    save(best, tmp_path / "checkpoints" / "best.ckpt")
    assert_within_one_level(Translator(tmp_path)(image), decode(run_plain(best, encode(image))))
    assert (Translator(last)(image) != Translator(best)(image)).any()


@pytest.mark.parametrize("trust", [[OwnModule.__module__], OwnModule.__module__])
def test_module_of_a_user_needs_trust(module, tmp_path, trust):
    path = save(build_module(OwnModule), tmp_path / "own.ckpt")
    image = make_image(16, 16)
    with pytest.raises(ValueError, match=rf"{OwnModule.__module__}.OwnModule.*trust="):
        Translator(path)
    assert_within_one_level(Translator(path, trust=trust)(image), decode(run_plain(module, encode(image))))


@pytest.mark.parametrize("name", ["torch.nn.Linear", "os.system", "torch.nn.parallel.distributed.os.system", 7, None])
def test_classes_that_checkpoints_may_name(checkpoint, tmp_path, name):
    content = torch.load(checkpoint, weights_only=True)
    content["pix2pix_lightning"]["module"] = name
    torch.save(content, tmp_path / "forged.ckpt")
    with pytest.raises(ValueError, match=name if isinstance(name, str) else "no checkpoint of"):
        Translator(tmp_path / "forged.ckpt")


def test_live_generator_is_named(tmp_path):
    path = save(Pix2PixModule(Noise(), None), tmp_path / "live.ckpt")
    with pytest.raises(ValueError, match="generator="):
        Translator(path)


# ---- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "papper"}, "mode='papper'"),
        ({"norm": "batch"}, "norm='batch'"),
        ({"norm": ""}, "norm=''"),
        ({"dropout": "maybe"}, "dropout='maybe'"),
        ({"dropout": False, "mode": "paper"}, "dropout=False"),
        ({"device": "gpu"}, "device=gpu"),
        ({"device": "meta"}, "device=meta"),
        ({"device": "cuda:99"}, "device=cuda:99"),
    ],
)
def test_unknown_options(checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        Translator(checkpoint, **options)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((16, 16, 4), np.uint8), "4 channels.*PIL"),
        (np.zeros((16, 16, 3), np.uint16), "uint16"),
        (np.zeros((0, 16, 3), np.uint8), r"shape \(0, 16, 3\)"),
        (torch.zeros(3, 0, 16), r"shape \(3, 0, 16\)"),
        (torch.zeros(0, 3, 16, 16, dtype=torch.uint8), r"shape \(0, 3, 16, 16\)"),
        (np.zeros((16, 16, 3)), "float64"),
        (torch.zeros(1, 4, 16, 16), "4 channels.* 3"),
        (torch.full((3, 16, 16), 255.0), "from 255 to 255"),
        (torch.full((3, 16, 16), torch.nan), "nan"),
        (torch.zeros(16, 16), r"shape \(16, 16\)"),
        (torch.zeros(1, 1, 3, 16, 16), r"shape \(1, 1, 3, 16, 16\)"),
        (torch.zeros(3, 16, 16, dtype=torch.int64), "int64"),
        (None, "NoneType"),
    ],
)
def test_invalid_images(translator, image, message):
    with pytest.raises(ValueError, match=message):
        translator(image)


def test_orientation_tag_of_paths_and_pil_images(tmp_path):
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


@pytest.mark.parametrize("ignore_index", [255, 0])
def test_outputs_have_a_class_everywhere(ignore_index):
    spec = PairSpec(target=build_side(kind="label", num_classes=3, ignore_index=ignore_index))
    translate = Translator(Pix2PixModule(Saturated(), None, pair_spec=spec))
    output = translate(np.zeros((8, 8, 3), np.uint8))
    assert set(np.unique(output)) == {1 if ignore_index == 0 else 0}


def truncate(output):
    """Convert floats to bytes as junyanz does: (x + 1) / 2 x 255 in float32, and the fraction is cut off."""
    values = (np.transpose(output[0].numpy(), (1, 2, 0)) + 1) / 2.0 * 255.0
    return values.astype(np.uint8)


@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "paper", "sample": 3}, {"tile": 32, "overlap": 0}, {"norm": "running", "tile": 48, "overlap": 16}],
)
def test_floor_cuts_off_what_nearest_rounds(options):
    torch.manual_seed(1)
    image = torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8)
    module = build_module()
    floats = Translator(module, **options)(image.float() / 127.5 - 1)
    floor = Translator(module, rounding="floor", **options)
    array = image[0].permute(1, 2, 0).numpy()
    expected = truncate(floats)
    assert (floor(array) == expected).all()
    assert (floor(image)[0].permute(1, 2, 0).numpy() == expected).all()
    assert (np.asarray(floor(Image.fromarray(array))) == expected).all()
    more = Translator(module, **options)(array).astype(int) - expected
    assert set(np.unique(more)) == {0, 1}
    assert 0.4 < more.mean() < 0.6
    assert (floor(torch.zeros(1, 3, 40, 56)) == Translator(module, **options)(torch.zeros(1, 3, 40, 56))).all()


def test_floor_where_it_has_no_effect_is_refused():
    spec = PairSpec(target=build_side(kind="label", num_classes=3))
    with pytest.raises(ValueError, match="rounding=floor"):
        Translator(Pix2PixModule(UNET, None, pair_spec=spec), rounding="floor")
    with pytest.raises(ValueError, match="rounding"):
        Translator(Pix2PixModule(UNET, None), rounding="ceil")
