"""Files as the versions of J write them."""

import pytest

from pix2pix_lightning.prepare.junyanz_options import DEFAULTS, read_options


def line(flag, value, default=None):
    """As its print_options formats one: widths of 25 and 30, and the default behind a tab where it differs."""
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
    def reading(text):
        (tmp_path / "opt.txt").write_text(text)
        return read_options(tmp_path / "opt.txt")

    return reading


def test_a_file_of_today(read):
    said = {"batch_size": "4", "dataroot": "/data/a: b [default: c]", "gpu_ids": "0,1", "model": "pix2pix"}
    assert read(PRESENT) == {**DEFAULTS, **said}


def test_a_file_of_2017_has_today_s_names(read):
    options = read(OF_2017)
    said = {
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
    assert options == {**DEFAULTS, "dataroot": "./datasets/facades", "model": "pix2pix", **said}


def test_old_values(read):
    text = OF_2017.replace("no_lsgan: True", "no_lsgan: False").replace("no_dropout: True", "use_dropout: True")
    options = read(text + "lr_policy: lambda\n")
    assert (options["gan_mode"], options["no_dropout"], options["lr_policy"]) == ("lsgan", "False", "linear")
    scaled = read(OF_2017.replace(": resize_and_crop", ": scale_width"))
    assert scaled["load_size"] == "128"  # it scaled to fineSize then


def test_where_no_device_is_said_the_launcher_chose(read):
    text = "".join(line for line in PRESENT.splitlines(True) if "gpu_ids" not in line)
    assert read(text)["gpu_ids"] == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PRESENT.replace("pix2pix", "cycle_gan"), "model=cycle_gan: only pix2pix"),
        (PRESENT.replace("pix2pix", "colorization"), "model=colorization: only pix2pix"),
        (PRESENT.replace("pix2pix", "test").replace("True", "False"), "is of a test"),
        (PRESENT + "results_dir: ./results/\n", "is of a test"),
        (PRESENT.replace(": aligned", ": unaligned"), "dataset_mode=unaligned: only aligned"),
        ("a letter\nDear model: hello\n", "train_opt.txt"),
        (PRESENT.replace("dataroot", "data"), "says no model and dataroot"),
        ("\0\x01", "train_opt.txt"),
    ],
)
def test_what_is_no_pix2pix_training(read, text, says):
    with pytest.raises(ValueError, match=r"input=.*opt\.txt") as raised:
        read(text)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
