"""Options files as the versions of junyanz write them."""

import pytest

from pix2pix_lightning.prepare.junyanz_options import DEFAULTS, read_options


def line(flag, value, default=None):
    """Format as its print_options does: widths of 25 and 30, and after a tab the default if it differs."""
    return f"{flag:>25}: {value:<30}" + (f"\t[default: {default}]\n" if default else "\n")


PRESENT = "".join(
    [
        "----------------- Options ---------------\n",
        line("batch_size", 4, 1),
        line("beta1", 0.5),
        line("dataroot", "/data/a: b [default: c]", "None"),
        line("dataset_mode", "aligned"),
        line("gpu_ids", "0,1", 0),
        line("isTrain", "True", "None"),
        line("lambda_L1", 100.0),
        line("max_dataset_size", float("inf")),
        line("model", "pix2pix", "cycle_gan"),
        line("suffix", ""),
        "----------------- End -------------------\n",
    ]
)
OF_2017 = """------------ Options -------------
batchSize: 2
dataroot: ./datasets/facades
dataset_mode: aligned
display_single_pane_ncols: 0
fineSize: 128
gpu_ids: [0]
identity: 0.0
isTrain: True
lambda_A: 50.0
lambda_B: 10.0
loadSize: 143
model: pix2pix
nThreads: 3
niter: 20
niter_decay: 30
no_dropout: True
no_lsgan: True
pool_size: 50
resize_or_crop: resize_and_crop
which_direction: BtoA
which_epoch: latest
which_model_netD: n_layers
which_model_netG: unet_128
-------------- End ----------------
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "opt.txt").write_text(text)
        return read_options(tmp_path / "opt.txt")

    return read


def test_present_file(read):
    expected = {"batch_size": "4", "dataroot": "/data/a: b [default: c]", "gpu_ids": "0,1", "model": "pix2pix"}
    assert read(PRESENT) == {**DEFAULTS, **expected}


def test_file_of_2017_gets_present_names(read):
    options = read(OF_2017)
    expected = {
        "batch_size": "2",
        "crop_size": "128",
        "display_ncols": "0",
        "direction": "BtoA",
        "gan_mode": "vanilla",
        "gpu_ids": "[0]",
        "lambda_L1": "50.0",
        "load_size": "143",
        "n_epochs": "20",
        "n_epochs_decay": "30",
        "netD": "n_layers",
        "netG": "unet_128",
        "no_dropout": "True",
        "num_threads": "3",
        "pool_size": "50",
    }
    assert options == {**DEFAULTS, "dataroot": "./datasets/facades", "model": "pix2pix", **expected}


def test_old_values_are_converted(read):
    text = OF_2017.replace("no_lsgan: True", "no_lsgan: False").replace("no_dropout: True", "use_dropout: True")
    options = read(text + "lr_policy: lambda\n")
    assert (options["gan_mode"], options["no_dropout"], options["lr_policy"]) == ("lsgan", "False", "linear")
    scaled = read(OF_2017.replace(": resize_and_crop", ": scale_width"))
    assert (scaled["load_size"], scaled["preprocess"]) == ("143", "resize_and_crop")  # pairs were squares until 2019


def test_without_gpu_ids_the_launcher_chooses(read):
    text = "".join(line for line in PRESENT.splitlines(True) if "gpu_ids" not in line)
    assert read(text)["gpu_ids"] == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (PRESENT.replace("pix2pix", "cycle_gan"), "model=cycle_gan"),
        (PRESENT.replace("pix2pix", "test").replace("True", "False"), "test"),
        (PRESENT + "results_dir: ./results/\n", "test"),
        (PRESENT.replace(": aligned", ": unaligned"), "dataset_mode=unaligned"),
        ("a letter\nDear model: hello\n", "dataroot"),
        (PRESENT.replace("dataroot", "data"), "dataroot"),
        ("\0\x01", "dataroot"),
    ],
)
def test_other_files_are_refused(read, text, named):
    with pytest.raises(ValueError, match=r"input=.*opt\.txt") as raised:
        read(text)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)
