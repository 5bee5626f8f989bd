"""Checkpoints of junyanz, compared with networks built from torch.nn in its order and with its names."""

import errno
from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch import nn

from pix2pix_lightning import networks
from pix2pix_lightning.checkpoints.junyanz import (
    find_discriminator,
    format_flags,
    read_junyanz,
    to_junyanz_state,
    write_junyanz,
)
from pix2pix_lightning.utils.instantiate import build
from reference_junyanz import Patch, Pixel, ResNet, UNet, legacy, save_to_bytes, trained

NAMES_OF_NORMS = {"batch": "batch", "instance": "instance", "none": "none_no_bias"}
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


GENERATORS = {
    "unet_5_levels": (partial(UNet, 5), {"num_downs": 5, "dropout": 0.5, "dropout_at": "junyanz"}, 32),
    "unet_128": (partial(UNet, 7), {"num_downs": 7, "dropout": 0.5, "dropout_at": "junyanz"}, 128),
    "resnet_3_blocks": (partial(ResNet, 3), {"num_blocks": 3, "dropout": 0.0}, 32),
    "resnet_dropout": (partial(ResNet, 2, dropout=True), {"num_blocks": 2, "dropout": 0.5}, 32),
}
DISCRIMINATORS = {f"patch_{n}": (partial(Patch, n), {"num_layers": n}) for n in (1, 3, 5)} | {"pixel": (Pixel, {})}


def in_mode(network, norm):
    """Set modes as torch does: in training a norm uses the image, in evaluation the running statistics."""
    network.train(norm == "image")
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return network


def read_as(path, dtype):
    read = read_junyanz(path)
    network = build(read.description).to(dtype)
    network.load_state_dict(read.state, strict=True)
    return network


def check_equal_outputs(ours, theirs, images, tolerance):
    before = {key: value.clone() for key, value in theirs.state_dict().items()}
    for norm in ("image", "running"):
        with torch.no_grad(), networks.use_eval_mode(ours, norm=norm):
            output = torch.cat([ours(image) for image in images.split(1)])
        plain = in_mode(theirs, norm)
        with torch.no_grad():
            expected = torch.cat([plain(image.clone()) for image in images.split(1)])
        theirs.load_state_dict(before)  # training has moved its statistics
        assert expected.std() > 1e9 * tolerance
        torch.testing.assert_close(output, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "norm"),
    [("unet_128", "batch"), *((name, norm) for name in GENERATORS if name != "unet_128" for norm in NAMES_OF_NORMS)],
)
def test_generator_has_the_same_outputs(tmp_path, name, norm):
    plain, expected, side = GENERATORS[name]
    theirs = trained(plain(norm=norm, num_in=2, num_out=4)).double()
    torch.save(theirs.state_dict(), tmp_path / "latest_net_G.pth")
    read = read_junyanz(tmp_path / "latest_net_G.pth")
    assert read.role == "generator"
    assert read.description == {
        "_target_": f"pix2pix_lightning.networks.{'UNet' if 'unet' in name else 'ResNet'}Generator",
        "in_channels": 2,
        "out_channels": 4,
        "base_channels": 4,
        "norm": NAMES_OF_NORMS[norm],
        **expected,
    }
    images = torch.rand(2, 2, side, side, dtype=torch.float64) * 2 - 1
    check_equal_outputs(read_as(tmp_path / "latest_net_G.pth", torch.float64), theirs, images, 1e-12)


@pytest.mark.parametrize("norm", NAMES_OF_NORMS)
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminator_has_the_same_outputs(tmp_path, name, norm):
    plain, expected = DISCRIMINATORS[name]
    theirs = trained(plain(norm=norm, num_in=5)).double()
    torch.save(theirs.state_dict(), tmp_path / "latest_net_D.pth")
    read = read_junyanz(str(tmp_path / "latest_net_D.pth"))
    assert read.role == "discriminator"
    assert read.description == {
        "_target_": f"pix2pix_lightning.networks.{'Pixel' if name == 'pixel' else 'Patch'}Discriminator",
        "in_channels": 5,
        "base_channels": 4,
        "norm": NAMES_OF_NORMS[norm],
        **expected,
    }
    images = torch.rand(2, 5, 128, 96, dtype=torch.float64) * 2 - 1
    check_equal_outputs(read_as(tmp_path / "latest_net_D.pth", torch.float64), theirs, images, 1e-12)


@pytest.mark.parametrize(
    ("name", "norm", "dtype"),
    [
        ("resnet_dropout", "batch", torch.float32),
        *((name, "batch", torch.float32) for name in ("unet_5_levels", "resnet_3_blocks", "patch_3", "pixel")),
        *((name, "instance", torch.float64) for name in ("unet_5_levels", "resnet_3_blocks", "patch_3", "pixel")),
        *((name, "none", torch.float32) for name in ("unet_5_levels", "resnet_3_blocks", "patch_3", "pixel")),
    ],
)
def test_weights_round_trip_bit_by_bit(tmp_path, name, norm, dtype):
    plain = (GENERATORS | DISCRIMINATORS)[name][0]
    theirs = trained(plain(norm=norm)).to(dtype).state_dict()
    torch.save(theirs, tmp_path / "theirs.pth")
    ours = read_as(tmp_path / "theirs.pth", dtype)
    write_junyanz(ours, tmp_path / "new folder" / "written.pth")
    written = torch.load(tmp_path / "new folder" / "written.pth", weights_only=True)
    assert isinstance(written, OrderedDict)
    assert list(written) == list(theirs)
    assert save_to_bytes(written) == save_to_bytes(theirs)
    plain(norm=norm).load_state_dict(written, strict=True)
    again = read_junyanz(tmp_path / "new folder" / "written.pth").state
    assert save_to_bytes(again) == save_to_bytes(ours.state_dict())


def keys_of_unet_256():
    """Return keys and shapes as junyanz's U-Net has them."""
    channels, places, listed = [64, 128, 256, 512, 512, 512, 512], {1: "model.model.1"}, []
    for depth in range(2, 8):
        places[depth] = f"{places[depth - 1]}.model.3"

    def norm(place, width):
        return [(f"{place}.{leaf}", () if leaf == "num_batches_tracked" else (width,)) for leaf in BATCH_NORM]

    listed += [("model.model.0.weight", (64, 3, 4, 4))]
    for depth in range(1, 7):
        listed += [(f"{places[depth]}.model.1.weight", (channels[depth], channels[depth - 1], 4, 4))]
        listed += norm(f"{places[depth]}.model.2", channels[depth])
    listed += [(f"{places[7]}.model.{number}.weight", (512, 512, 4, 4)) for number in (1, 3)]
    listed += norm(f"{places[7]}.model.4", 512)
    ups = [(1024, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64)]
    for depth, (num_in, num_out) in zip(range(6, 0, -1), ups, strict=True):
        listed += [(f"{places[depth]}.model.5.weight", (num_in, num_out, 4, 4))]
        listed += norm(f"{places[depth]}.model.6", num_out)
    return [*listed, ("model.model.3.weight", (128, 3, 4, 4)), ("model.model.3.bias", (3,))]


def test_keys_of_the_unet():
    with torch.device("meta"):
        network = networks.UNetGenerator()
    listed = keys_of_unet_256()
    assert len(listed) == 82
    assert [(key, tuple(value.shape)) for key, value in to_junyanz_state(network).items()] == listed


def test_keys_of_the_discriminators():
    with torch.device("meta"):
        patch, pixel = networks.PatchDiscriminator(), networks.PixelDiscriminator()
    norms = {n: [f"model.{n}.{leaf}" for leaf in BATCH_NORM] for n in (3, 6, 9)}
    strided = ["model.0.weight", "model.0.bias", "model.2.weight", *norms[3], "model.5.weight", *norms[6]]
    expected = [*strided, "model.8.weight", *norms[9], "model.11.weight", "model.11.bias"]
    assert len(expected) == 22
    assert list(to_junyanz_state(patch)) == expected
    norm = [f"net.3.{leaf}" for leaf in BATCH_NORM]
    assert list(to_junyanz_state(pixel)) == ["net.0.weight", "net.0.bias", "net.2.weight", *norm, "net.5.weight"]


@pytest.mark.parametrize(
    ("plain", "ours", "parameters"),
    [
        (partial(UNet, 8), networks.UNetGenerator(base_channels=1), 54_413_955),
        (partial(UNet, 8, "instance"), networks.UNetGenerator(base_channels=1, norm="instance"), 54_409_603),
        (partial(UNet, 8, num_in=1, num_out=2), networks.UNetGenerator(1, 2, base_channels=1), 54_409_858),
        (partial(UNet, 7), networks.UNetGenerator(base_channels=1, num_downs=7), 41_828_995),
        (partial(ResNet, 9), networks.ResNetGenerator(base_channels=1), 11_383_427),
        (partial(ResNet, 9, "instance"), networks.ResNetGenerator(base_channels=1, norm="instance"), 11_378_179),
        (partial(ResNet, 6), networks.ResNetGenerator(base_channels=1, num_blocks=6), 7_841_411),
        (partial(Patch, 3), networks.PatchDiscriminator(base_channels=1), 2_768_705),
        (partial(Patch, 3, "instance"), networks.PatchDiscriminator(base_channels=1, norm="instance"), 2_767_809),
        (Pixel, networks.PixelDiscriminator(base_channels=1), 9_024),
    ],
)
def test_plain_networks_have_the_parameters_of_the_reference(plain, ours, parameters):
    with torch.device("meta"):
        network = plain(base=64)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert list(to_junyanz_state(ours)) == list(network.state_dict())


@pytest.mark.parametrize(
    ("network", "flags"),
    [
        (networks.UNetGenerator(base_channels=1), "--netG unet_256 --norm batch --ngf 1"),
        (
            networks.UNetGenerator(1, 2, base_channels=1, num_downs=7, norm="none_no_bias", dropout=0.0),
            "--netG unet_128 --norm none --ngf 1 --input_nc 1 --output_nc 2 --no_dropout",
        ),
        (networks.ResNetGenerator(norm="instance", num_blocks=6), "--netG resnet_6blocks --norm instance --no_dropout"),
        (networks.ResNetGenerator(base_channels=1, dropout=0.5), "--netG resnet_9blocks --norm batch --ngf 1"),
    ],
)
def test_flags_for_a_written_generator(network, flags):
    assert format_flags(network) == flags


def test_generators_that_no_flag_builds():
    for network, depth in (
        (networks.UNetGenerator(base_channels=1, num_downs=5), "num_downs=5"),
        (networks.ResNetGenerator(base_channels=1, num_blocks=2), "num_blocks=2"),
    ):
        assert f"no --netG of theirs has {depth}" in format_flags(network)


def of_2017(state, path):
    """Write a file as torch before 0.4, which named another function to rebuild tensors."""

    def reduce(tensor, _protocol):
        storage = torch.storage.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True)
        return torch._utils._rebuild_tensor, (storage, 0, tuple(tensor.shape), tensor.stride())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "__reduce_ex__", reduce)
        legacy(OrderedDict(without_counts(state)), path)
    assert b"_rebuild_tensor\n" in path.read_bytes()


def without_counts(state):
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("write", [torch.save, legacy, of_2017])
@pytest.mark.parametrize("plain", [partial(UNet, 5), partial(ResNet, 1), partial(Patch, 3), Pixel])
def test_files_without_num_batches_tracked(tmp_path, plain, write):
    theirs = trained(plain())
    write(without_counts(theirs.state_dict()), tmp_path / "old.pth")
    ours = read_as(tmp_path / "old.pth", torch.float32)
    counts = [value for key, value in ours.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counts == [0] * sum(isinstance(module, nn.BatchNorm2d) for module in theirs.modules())
    assert save_to_bytes(without_counts(to_junyanz_state(ours))) == save_to_bytes(without_counts(theirs.state_dict()))


@pytest.mark.parametrize("plain", [partial(UNet, 5), partial(ResNet, 2), partial(Patch, 3), Pixel])
def test_statistics_of_instance_norms_are_dropped(tmp_path, plain):
    theirs = trained(plain(norm="instance"))
    plain_state = theirs.state_dict()
    state, norms = dict(plain_state), 0
    for name, module in theirs.named_modules():
        if isinstance(module, nn.InstanceNorm2d):
            state |= {f"{name}.{leaf}": torch.zeros(module.num_features) for leaf in ("running_mean", "running_var")}
            state[f"{name}.num_batches_tracked"] = torch.tensor(3)
            norms += 1
    assert len(state) == len(plain_state) + 3 * norms
    legacy(state, tmp_path / "old.pth")
    assert read_junyanz(tmp_path / "old.pth").description["norm"] == "instance"
    assert save_to_bytes(to_junyanz_state(read_as(tmp_path / "old.pth", torch.float32))) == save_to_bytes(plain_state)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(tmp_path, prefix):
    theirs = trained(Patch(2)).state_dict()
    torch.save({f"{prefix}{key}": value for key, value in theirs.items()}, tmp_path / "wrapped.pth")
    assert save_to_bytes(to_junyanz_state(read_as(tmp_path / "wrapped.pth", torch.float32))) == save_to_bytes(theirs)


def test_half_precision_is_kept_and_can_be_widened(tmp_path):
    theirs = trained(UNet(5)).half().state_dict()
    torch.save(theirs, tmp_path / "half.pth")
    read = read_junyanz(tmp_path / "half.pth")
    assert {value.dtype for value in read.state.values()} == {torch.float16, torch.int64}
    ours = read_as(tmp_path / "half.pth", torch.float32)
    assert {value.dtype for value in ours.state_dict().values()} == {torch.float32, torch.int64}
    back = {key: value.to(theirs[key].dtype) for key, value in to_junyanz_state(ours).items()}
    assert save_to_bytes(back) == save_to_bytes(theirs)


def test_parameters_and_channels_last_are_written_as_contiguous_tensors(tmp_path):
    theirs = trained(ResNet(1))
    torch.save(theirs.state_dict(keep_vars=True), tmp_path / "kept.pth")
    ours = read_as(tmp_path / "kept.pth", torch.float32).to(memory_format=torch.channels_last)
    write_junyanz(ours, tmp_path / "written.pth")
    written = torch.load(tmp_path / "written.pth", weights_only=True)
    assert all(value.is_contiguous() and not value.requires_grad for value in written.values())
    assert save_to_bytes(written) == save_to_bytes(theirs.state_dict())


class Mine(networks.UNetGenerator):
    def forward(self, x):
        return super().forward(x) / 2


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (networks.EncoderDecoderGenerator(base_channels=1), "EncoderDecoderGenerator has no form there"),
        (Mine(base_channels=1), "Mine has no form there"),
        (nn.Conv2d(1, 1, 1), "Conv2d has no form there"),
        (networks.UNetGenerator(base_channels=1, norm="none"), "norm=none is another network there"),
        (networks.ResNetGenerator(base_channels=1, norm="none"), "norm=none is another network there"),
        (networks.PatchDiscriminator(base_channels=1, norm="none"), "norm=none is another network there"),
        (networks.ResNetGenerator(base_channels=1, upsample="resize"), "upsample=resize has no form there"),
        (networks.UNetGenerator(base_channels=1, noise_channels=1), "noise_channels has no form there"),
        (networks.UNetGenerator(base_channels=1, num_downs=4), "a U-Net of 4 levels has no form there"),
        (
            nn.utils.parametrizations.spectral_norm(networks.PixelDiscriminator(base_channels=1).stages[0].conv),
            "no form there",
        ),
    ],
)
def test_networks_without_an_equivalent_are_not_written(tmp_path, network, reason):
    with pytest.raises(ValueError, match=f"^pytorch-CycleGAN-and-pix2pix could not read this network: .*{reason}"):
        write_junyanz(network, tmp_path / "latest_net_G.pth")
    assert not any(tmp_path.iterdir())


def test_layer_with_further_tensors_is_not_written(tmp_path):
    network = networks.PatchDiscriminator(base_channels=1)
    nn.utils.parametrizations.spectral_norm(network.stages[0].conv)
    with pytest.raises(ValueError, match=r"its PatchDiscriminator has no stages\.0\.conv\.parametrizations"):
        write_junyanz(network, tmp_path / "latest_net_D.pth")


def test_position_of_dropout_in_the_unet_leaves_no_trace(tmp_path):
    network = networks.UNetGenerator(base_channels=1, dropout_at="paper")
    write_junyanz(network, tmp_path / "latest_net_G.pth")
    read = read_as(tmp_path / "latest_net_G.pth", torch.float32)
    assert save_to_bytes(read.state_dict()) == save_to_bytes(network.state_dict())


def test_existing_file_is_overwritten_only_on_request(tmp_path):
    path = tmp_path / "latest_net_D.pth"
    path.write_text("mine")
    network = networks.PixelDiscriminator(base_channels=1)
    with pytest.raises(FileExistsError, match=r"latest_net_D\.pth"):
        write_junyanz(network, path)
    assert path.read_text() == "mine"
    write_junyanz(network, path, overwrite=True)
    assert save_to_bytes(read_junyanz(path).state) == save_to_bytes(network.state_dict())


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "latest_net_D.pth"
    path.write_text("mine")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_junyanz(networks.PixelDiscriminator(base_channels=1), path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["latest_net_D.pth"]
    assert path.read_text() == "mine"


def test_discriminator_next_to_the_generator(tmp_path):
    for name in ("latest_net_G.pth", "latest_net_D.pth", "5_net_G.pth", "latest_net_G_A.pth", "net_G_notes.txt"):
        (tmp_path / name).touch()
    assert find_discriminator(tmp_path / "latest_net_G.pth") == tmp_path / "latest_net_D.pth"
    for name in ("5_net_G.pth", "latest_net_G_A.pth", "latest_net_D.pth", "net_G_notes.txt"):
        assert find_discriminator(tmp_path / name) is None
