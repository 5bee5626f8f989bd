"""The evaluation: its numbers against the files that it wrote, and its error messages."""

import csv
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from skimage.color import rgb2lab
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import nn
from torchmetrics.image import UniversalImageQualityIndex
from torchmetrics.image.fid import FrechetInceptionDistance

from helpers import TINY, make_strips
from pix2pix_lightning import compose, evaluate, predict
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.data import PairedDataModule, ProceduralPairs
from pix2pix_lightning.training.build import build_training

CLASSES = ["accuracy", "class_accuracy", "mean_iou"]
PALETTE = [[0, 0, 170], [255, 85, 0], [0, 255, 255]]
SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "channel_axis": 2}


class OwnData(PairedDataModule):
    """A data module of a user's own."""


def make_run(folder, *words):
    """Write the folder of a run that has random weights. Return its data, module and trainer."""
    cfg = compose("train", [*TINY, "module.generator.base_channels=2", f"run_dir={folder}", "loss=l1", *words])
    cfg.callbacks = cfg.logger = None
    training = build_training(cfg)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in training.module.generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.normal_(0, 0.2)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    training.module.batches_seen = 7
    training.trainer.strategy.connect(training.module)
    training.trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    return training


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs") / "pairs", train=2, val=7)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run with seven validation pairs, shared by the tests."""
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture(scope="module", autouse=True)
def training(root, run):
    return make_run(run, f"data.root={root}", "module.generator.dropout=0.5")


@pytest.fixture(scope="module")
def measure():
    """The command as a function, which composes each choice of groups once."""
    composed = cache(lambda *groups: compose("evaluate", groups))

    def measured(checkpoint, output, *words):
        groups = [word for word in words if word.startswith("data=")]
        given = {"checkpoint": str(checkpoint), "output": output and str(output)}
        keys = OmegaConf.from_dotlist([word for word in words if word not in groups])
        return evaluate.evaluate(OmegaConf.merge(composed(*groups), given, keys))

    return measured


@pytest.fixture(scope="module")
def measured(measure, run, tmp_path_factory):
    """The folder of an evaluation with all metrics, shared by the tests."""
    output = tmp_path_factory.mktemp("measured") / "out"
    measure(run, output)
    return output


@pytest.fixture(scope="module")
def refused(measure):
    """The message of a command that fails, which is one line."""

    def line(*arguments):
        with pytest.raises((ValueError, OSError)) as caught:
            measure(*arguments)
        message = format_error(caught.value, "evaluate")
        assert message is not None
        assert "\n" not in message
        return message

    return line


def call(checkpoint, output, *more):
    return evaluate.main([f"checkpoint={checkpoint}", *([f"output={output}"] if output else []), *more])


def read_json(output):
    return json.loads((output / "metrics.json").read_text())


def read_rows(output):
    with (output / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_column(output, name):
    return np.array([float(row[name]) for row in read_rows(output)])


def read_images(output, kind):
    return [np.asarray(Image.open(output / "images" / row["name"] / f"{kind}.png")) for row in read_rows(output)]


def read_files(folder):
    """The files of a folder by their names, without what names the command and its settings."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files["metrics.json"] = json.loads(files["metrics.json"])["metrics"]
    del files["index.html"]
    return files


def assert_contains(line, *parts):
    for part in parts:
        assert str(part) in line


def assert_one_line(capsys, *parts):
    printed = capsys.readouterr()
    lines = [line for line in printed.err.strip().splitlines() if not line.startswith("weights: ")]
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    assert_contains(lines[0], *parts)


def test_values_of_images_against_scikit_image_on_the_written_files(measured):
    outputs, targets = read_images(measured, "output"), read_images(measured, "target")
    assert [row["name"] for row in read_rows(measured)] == [f"val_{number}" for number in range(7)]
    assert np.std([output.std() for output in outputs]) > 0
    expected = {
        "l1": lambda a, b: np.abs(a / 255 - b / 255).mean(),
        "l2": lambda a, b: mean_squared_error(a / 255, b / 255),
        "psnr": lambda a, b: peak_signal_noise_ratio(b, a, data_range=255),
        "ssim": lambda a, b: structural_similarity(a, b, **SSIM),
    }
    for name, metric in expected.items():
        values = [metric(output, target) for output, target in zip(outputs, targets, strict=True)]
        np.testing.assert_allclose(read_column(measured, name), values, rtol=1e-6)
        assert read_json(measured)["metrics"][name]["mean"] == pytest.approx(np.mean(values), rel=1e-6)


def test_values_over_all_pixels_against_numpy_on_the_written_files(measured):
    outputs, targets = (np.stack(read_images(measured, kind)) for kind in ("output", "target"))
    metrics = read_json(measured)["metrics"]

    def gradient(images):
        x = images / 255
        dx, dy = x[:, :-1, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, :-1]
        return np.hypot(dx, dy).mean((1, 2, 3))

    share = gradient(outputs) / gradient(targets)
    np.testing.assert_allclose(read_column(measured, "gradient"), share, rtol=1e-9)
    assert metrics["gradient"]["mean"] == pytest.approx(gradient(outputs).sum() / gradient(targets).sum(), rel=1e-9)

    def common(a, b, channel, edges):
        first, second = (np.histogram(rgb2lab(x)[..., channel], edges)[0] / x[..., 0].size for x in (a, b))
        return np.minimum(first, second).sum()

    for channel, name in enumerate(["histogram_l", "histogram_a", "histogram_b"]):
        edges = np.arange(0 if channel == 0 else -110, 102 if channel == 0 else 112) - 0.5
        whole = common(outputs, targets, channel, edges)
        each = [common(output, target, channel, edges) for output, target in zip(outputs, targets, strict=True)]
        assert metrics[name]["mean"] == pytest.approx(whole, rel=1e-9)
        np.testing.assert_allclose(read_column(measured, name), each, rtol=1e-9)
        assert 0 < metrics[name]["low"] < metrics[name]["high"] < 1


class Moments(nn.Module):
    """Features of an image: the mean of each channel."""

    num_features = 3

    def forward(self, images):
        return images.mean((2, 3))


def test_metrics_of_other_packages(run, tmp_path, capsys):
    quality = "{_target_: torchmetrics.image.UniversalImageQualityIndex}"
    features = f"{{_target_: {Moments.__module__}.Moments}}"
    fid = f"{{_target_: torchmetrics.image.fid.FrechetInceptionDistance, normalize: true, feature: {features}}}"
    assert call(run, tmp_path / "out", f"metrics={{uqi: {quality}, fid: {fid}, l1: l1}}") == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    written = read_json(tmp_path / "out")
    assert list(read_rows(tmp_path / "out")[0]) == ["name", "uqi", "l1"]
    outputs, targets = (
        torch.from_numpy(np.stack(read_images(tmp_path / "out", kind))).permute(0, 3, 1, 2) / 255
        for kind in ("output", "target")
    )
    expected = [UniversalImageQualityIndex()(a[None], b[None]).item() for a, b in zip(outputs, targets, strict=True)]
    np.testing.assert_allclose(read_column(tmp_path / "out", "uqi"), expected, rtol=1e-4)
    assert written["metrics"]["uqi"]["mean"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert written["metrics"]["uqi"]["low"] < np.mean(expected) < written["metrics"]["uqi"]["high"]
    reference = FrechetInceptionDistance(feature=Moments(), normalize=True)
    reference.update(targets, real=True)
    reference.update(outputs, real=False)
    value = pytest.approx(reference.compute().item(), rel=1e-3)
    assert written["metrics"]["fid"] == {"mean": value, "low": None, "high": None}
    infos = {name: (info["direction"], info["kind"]) for name, info in written["metric_info"].items()}
    assert infos == {"uqi": ("higher", "pairs"), "fid": ("lower", "distribution"), "l1": ("lower", "pairs")}
    assert printed[1] == ["fid", f"{written['metrics']['fid']['mean']:.4f}", "(no", "interval)"]
    page = (tmp_path / "out/index.html").read_text()
    assert page.count('data-metric="uqi"') == 7
    assert 'data-metric="fid"' not in page
    lowest = min(read_rows(tmp_path / "out"), key=lambda row: float(row["uqi"]))["name"]
    assert page.index(f"<h3>{lowest}</h3>") == page.index("<h3>val_")  # the worst first


def test_the_pixels_are_those_that_predict_writes(measure, run, tmp_path):
    measure(run, tmp_path / "out", "mode=paper", "metrics=[l1]")
    source = tmp_path / "out" / "images" / "val_3"
    words = [f"checkpoint={run}", f"input={source / 'input.png'}", f"output={tmp_path / 'predicted'}", "mode=paper"]
    assert predict.main(words) == 0
    assert (tmp_path / "predicted" / "input.png").read_bytes() == (source / "output.png").read_bytes()


def test_the_batch_size_changes_no_byte(measure, run, tmp_path):
    for size in (1, 3):
        measure(run, tmp_path / str(size), f"batch_size={size}", "mode=paper", "metrics=l1")
    whole = read_files(tmp_path / "1")
    assert len(whole) == 2 + 3 * 7
    assert read_files(tmp_path / "3") == whole


def test_modes_and_seeds(measure, run, tmp_path):
    written = {}
    for words in ("", "mode=paper", "mode=paper seed=1", "mode=paper dropout=off", "norm=running"):
        output = tmp_path / (words or "plain").replace("=", "_")
        measure(run, output, "metrics=l1", *words.split())
        written[words] = read_files(output)
    assert written[""] == written["mode=paper dropout=off"]
    assert len({json.dumps(files["metrics.json"]) for files in written.values()}) == 4
    paper = read_json(tmp_path / "mode_paper seed_1")
    assert [paper[key] for key in ("mode", "norm", "dropout", "seed")] == ["paper", "image", "on", 1]


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
def test_it_agrees_with_validation(training, measured):
    (validated,) = training.trainer.validate(training.module, training.data, verbose=False)
    metrics = read_json(measured)["metrics"]
    histograms = ["histogram_l", "histogram_a", "histogram_b"]
    judges = ["checkerboard", "perceptual", "kid"]
    assert list(metrics) == ["l1", "l2", "psnr", "ssim", "gradient", *histograms, *judges]
    assert read_json(measured)["features"] == "lite1"
    assert metrics["kid"]["low"] < metrics["kid"]["mean"] < metrics["kid"]["high"]
    for name, tolerance in (("l1", 5e-4), ("psnr", 0.02), ("ssim", 2e-3)):  # validation does not round to bytes
        assert metrics[name]["mean"] == pytest.approx(validated[f"val/{name}"], abs=tolerance)


def test_what_is_written_and_printed(run, tmp_path, capsys):
    assert call(run, tmp_path / "out", "metrics=[ssim,l1]", "flicker=true") == 0
    printed = capsys.readouterr().out.splitlines()
    written = read_json(tmp_path / "out")
    assert written["checkpoint"] == str(run / "checkpoints" / "best.ckpt")
    assert written["batches_seen"] == 7
    assert [written[key] for key in ("split", "mode", "seed", "num_images")] == ["val", "deterministic", 0, 7]
    assert written["command"].startswith("python -m pix2pix_lightning.evaluate checkpoint=")
    assert written["versions"]["torch"] == torch.__version__
    assert written["data"]["size"] == 32
    assert list(written["metrics"]) == ["ssim", "l1", "flicker", "flicker_targets"]
    for line, (name, figure) in zip(printed, written["metrics"].items(), strict=False):
        mean, low, high = (f"{figure[key]:.{6 if 'flicker' in name else 4}f}" for key in ("mean", "low", "high"))
        assert line.split() == [name, mean, low, "to", high]
        assert figure["low"] < figure["mean"] < figure["high"]
    cells = [row["flicker"] for row in read_rows(tmp_path / "out")]
    assert cells[0] == ""  # the first frame
    assert np.mean([float(cell) for cell in cells if cell]) == pytest.approx(written["metrics"]["flicker"]["mean"])
    assert printed[4:] == [f"7 pairs of val, 95 % intervals; {tmp_path / 'out' / 'index.html'}"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(f"images/val_{number}/output.png" in page for number in range(7))


def test_the_weights_that_were_chosen_are_recorded(training, run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    best, last = (folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    saved = torch.load(best, weights_only=True)
    ema = {key: value / 2 for key, value in training.module.generator.state_dict().items()}
    torch.save({**saved, "ema_generator": ema}, best)
    found = {}
    for weights in ("auto", "trained", "ema"):
        assert call(folder, tmp_path / weights, "metrics=l1", f"weights={weights}") == 0
        name = "trained" if weights == "trained" else "EMA"
        assert capsys.readouterr().err == f"weights: {best} (the best, epoch 1), {name} weights\n"
        found[weights] = read_json(tmp_path / weights)
    assert [one["weights"] for one in found.values()] == ["ema", "trained", "ema"]
    assert found["auto"]["metrics"] == found["ema"]["metrics"] != found["trained"]["metrics"]
    shutil.copyfile(best, last)
    assert call(folder, tmp_path / "best", "metrics=l1") == 0
    assert read_json(tmp_path / "best")["checkpoint"] == str(best)


def test_metrics_that_need_more_or_larger_images_are_left_out(measured, measure, refused, run, tmp_path):
    assert list(read_json(measured)["left_out"]) == ["ms_ssim"]
    assert "176" in read_json(measured)["left_out"]["ms_ssim"]
    assert_contains(refused(run, tmp_path / "no", "metrics=[l1,ms_ssim]"), "ms_ssim", "176", "32")
    assert_contains(refused(run, tmp_path / "no", "data.max_pairs=1", "metrics=[l1,kid]"), "kid", "1")
    measure(run, tmp_path / "one", "data.max_pairs=1")
    assert list(read_json(tmp_path / "one")["left_out"]) == ["ms_ssim", "kid"]


def test_the_split_and_other_data(measure, refused, run, root, tmp_path):
    moved = make_strips(tmp_path / "moved", val=2)
    (moved / "val").rename(moved / "test")
    measure(run, None, "split=test", f"data.root={moved}", "metrics=l1")
    assert read_json(run / "evaluation" / "test_deterministic")["num_images"] == 2
    measure(run, tmp_path / "val_split", f"data.root={moved}", "data.val_split=test", "metrics=l1")
    group = ["data=folder", f"data.root={moved}", "data.size=32", "data.num_workers=0", "split=test", "metrics=l1"]
    measure(run / "checkpoints" / "best.ckpt", tmp_path / "group", *group)
    assert read_files(tmp_path / "val_split") == read_files(tmp_path / "group")
    assert read_files(tmp_path / "group") == read_files(run / "evaluation" / "test_deterministic")
    assert_contains(refused(run, tmp_path / "no", "split=test"), root / "test", "does not exist")


def test_the_split_s_folder_may_have_a_number_as_name(measure, run, tmp_path):
    moved = make_strips(tmp_path / "moved", val=2)
    (moved / "val").rename(moved / "5")
    measure(run, tmp_path / "out", f"data.root={moved}", "data.val_split=5", "metrics=l1")
    assert read_json(tmp_path / "out")["num_images"] == 2


PROCEDURAL = ["data.num_train=1", "data.num_val=2", "data.size=32", "data.num_workers=0"]


def test_the_seed_of_the_noise_changes_no_pairs(measure, tmp_path):
    make_run(tmp_path / "run", "data=procedural", *PROCEDURAL, "seed=3")
    alone = tmp_path / "model.ckpt"
    alone.write_bytes((tmp_path / "run" / "checkpoints" / "best.ckpt").read_bytes())
    group = ["data=procedural", *PROCEDURAL]
    targets = {}
    for checkpoint, words in (
        (tmp_path / "run", ""),
        (tmp_path / "run", "data.seed=4"),
        (tmp_path / "run", "data=procedural seed=1"),
        (alone, "data=procedural seed=1"),
    ):
        output = tmp_path / "out" / f"{checkpoint.stem} {words}"
        keys = group if "data=" in words else []
        measure(checkpoint, output, "metrics=l1", *keys, *words.removeprefix("data=procedural").split())
        drawn = ProceduralPairs(2, size=32, seed=read_json(output)["data"]["seed"], split="val")
        targets[f"{checkpoint.stem} {words}"] = read_json(output)["data"]["seed"]
        for number, target in enumerate(read_images(output, "target")):
            assert np.array_equal(target, drawn[number][0])
    assert list(targets.values()) == [3, 4, 3, 0]


def test_a_key_that_an_older_run_lacks_can_be_set(measure, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    cfg = OmegaConf.load(folder / "config.yaml")
    del cfg.data.max_pairs
    OmegaConf.save(cfg, folder / "config.yaml")
    measure(folder, tmp_path / "out", "data.max_pairs=1", "metrics=l1")
    assert read_json(tmp_path / "out")["num_images"] == 1


def test_a_checkpoint_by_itself_needs_data_and_an_output(measure, refused, run, root, tmp_path):
    alone = tmp_path / "model.ckpt"
    alone.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    assert_contains(refused(alone, tmp_path / "out"), alone, "not in a run's folder", "data=<group>")
    group = ["data=folder", f"data.root={root}", "data.size=32", "data.num_workers=0", "metrics=l1"]
    assert_contains(refused(alone, None, *group), alone, "output=<folder>")
    measure(alone, tmp_path / "out", *group)
    measure(run, tmp_path / "own", "metrics=l1")
    assert read_files(tmp_path / "out") == read_files(tmp_path / "own")


def test_other_meanings_of_a_pixel_are_refused(measure, refused, run, root, tmp_path):
    group = ["data=folder", f"data.root={root}", "data.num_workers=0"]
    assert_contains(
        refused(run, tmp_path / "out", *group, "data.direction=b_to_a", "data.b.kind=grayscale"),
        "data.direction=b_to_a data.size=256 data.b.kind=grayscale",
        "data.direction=a_to_b data.size=32 data.b.kind=rgb",
    )
    palette = json.dumps(PALETTE, separators=(",", ":"))
    assert_contains(
        refused(run, tmp_path / "out", *group, "data.size=32", "data.a.kind=label", f"data.a.palette={palette}"),
        "data.a.kind=label",
        f"data.a.palette={palette}",
        "data.a.kind=rgb",
        "data.a.palette=null",
    )
    assert not (tmp_path / "out").exists()


def make_classes(root, colours):
    """Strips of noise and of three classes, each drawn in its colour."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("val", 4)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            classes = np.kron(rng.integers(0, 3, (4, 4)), np.ones((8, 8), int))
            a, b = rng.integers(0, 256, (32, 32, 3)), np.array(colours)[classes]
            Image.fromarray(np.concatenate([a[..., : b.shape[2]], b], 1).astype(np.uint8).squeeze()).save(
                root / split / f"{number}.png"
            )
    return root


def test_classes(measure, refused, tmp_path):
    root = make_classes(tmp_path / "pairs", [[0], [1], [2]])
    make_run(tmp_path / "run", f"data.root={root}", "data.b.kind=label", "data.b.num_classes=3")
    measure(tmp_path / "run", tmp_path / "out")
    outputs, targets = (np.stack(read_images(tmp_path / "out", kind)) for kind in ("output", "target"))
    for images in (outputs, targets):
        assert set(np.unique(images)) <= {0, 127, 254}  # spread over the gray levels
    expected = (outputs == targets).mean((1, 2))
    assert 0 < expected.mean() < 1
    np.testing.assert_allclose(read_column(tmp_path / "out", "accuracy"), expected)
    assert list(read_json(tmp_path / "out")["metrics"]) == CLASSES
    line = refused(tmp_path / "run", tmp_path / "no", "metrics=l1")
    assert_contains(line, "l1", "palette")


@pytest.mark.parametrize(
    ("side", "drawn", "ignored"),
    [
        ({"palette": PALETTE, "ignore_index": 0}, PALETTE, PALETTE[0]),
        ({"num_classes": 2, "ignore_index": 255}, [[255], [0], [1]], [255]),
    ],
    ids=["colours", "numbers"],
)
def test_pixels_and_pairs_without_a_class_are_not_measured(measure, refused, tmp_path, caplog, side, drawn, ignored):
    root = make_classes(tmp_path / "pairs", drawn)
    blank = np.asarray(Image.open(root / "val" / "2.png")).copy()
    blank[:, 32:] = np.squeeze(ignored)
    Image.fromarray(blank).save(root / "val" / "2.png")
    words = [f"data.b.{key}={value}".replace(" ", "") for key, value in side.items()]
    make_run(tmp_path / "run", f"data.root={root}", "data.b.kind=label", *words)
    measure(tmp_path / "run", tmp_path / "out")
    assert [row["name"] for row in read_rows(tmp_path / "out")] == ["0", "1", "3"]
    assert "1 of 4 pairs are left out" in caplog.records[-1].getMessage()
    outputs, targets = (
        np.stack(read_images(tmp_path / "out", kind)).reshape(3, 32, 32, -1) for kind in ("output", "target")
    )
    counts = (targets != ignored).any(-1)
    assert 0.5 < counts.mean() < 0.8
    assert (outputs != ignored).any(-1).all()
    right = (outputs == targets).all(-1)
    assert 0 < right[counts].mean() < 1
    expected = (right & counts).sum((1, 2)) / counts.sum((1, 2))
    np.testing.assert_allclose(read_column(tmp_path / "out", "accuracy"), expected)
    for images in (outputs, targets):
        colours = set(map(tuple, images.reshape(-1, images.shape[-1]).tolist()))
        assert colours <= set(map(tuple, PALETTE)) if "palette" in side else colours <= {(0,), (127,), (255,)}
    if "palette" in side:
        others = ["l1", "l2", "psnr", "ssim", "gradient", "checkerboard", "perceptual", "kid"]
        assert list(read_json(tmp_path / "out")["metrics"]) == [*CLASSES, *others]
        replaced = np.where(counts[..., None], outputs, targets)
        differences = np.abs(replaced / 255 - targets / 255).mean(3).sum((1, 2)) / counts.sum((1, 2))
        np.testing.assert_allclose(read_column(tmp_path / "out", "l1"), differences)
        inner = np.s_[5:-5, 5:-5]  # windows of 11 pixels
        similarity = [
            structural_similarity(a, b, full=True, **SSIM)[1][inner][count[inner]].mean()
            for a, b, count in zip(replaced, targets, counts, strict=True)
        ]
        np.testing.assert_allclose(read_column(tmp_path / "out", "ssim"), similarity, atol=1e-6)
    for number in (0, 1, 3):
        shutil.copy(root / "val" / "2.png", root / "val" / f"{number}.png")
    assert_contains(refused(tmp_path / "run", tmp_path / "no"), "no pixel", "class")


def test_a_perfect_model_has_valid_json(measure, tmp_path):
    black = tmp_path / "black" / "val"
    for folder in (black, black.with_name("train")):
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 32)).save(folder / "black.png")
    training = make_run(tmp_path / "run", f"data.root={black.parent}")
    with torch.no_grad():
        for name, parameter in training.module.generator.named_parameters():
            parameter.fill_(-100 if name.endswith("bias") else 0)  # black, whatever is given
    training.trainer.save_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    measure(tmp_path / "run", tmp_path / "out")
    metrics = read_json(tmp_path / "out")["metrics"]
    assert metrics["l1"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert metrics["psnr"]["mean"] == pytest.approx(10 * np.log10(255**2 * 32 * 32 * 3))
    assert metrics["gradient"] == {"mean": None, "low": None, "high": None}
    assert read_rows(tmp_path / "out")[0]["gradient"] == ""


def test_nothing_is_overwritten_unless_asked_for(measure, refused, run, tmp_path):
    output = tmp_path / "out"
    measure(run, output, "metrics=l1")
    before = read_files(output)
    assert_contains(refused(run, output, "mode=paper"), output, "exists", "overwrite=true")
    assert read_files(output) == before
    (output / "images" / "old").mkdir()
    measure(run, output, "mode=paper", "overwrite=true")
    assert not (output / "images" / "old").exists()
    assert read_files(output) != before
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_text("precious")
    assert_contains(refused(run, photos, "overwrite=true"), photos, "metrics.json")
    assert [path.name for path in photos.iterdir()] == ["a.png"]


def test_a_damaged_file_leaves_nothing_behind(run, tmp_path, capsys):
    moved = make_strips(tmp_path / "moved")
    (moved / "val" / "val_2.png").write_text("no picture")
    output = tmp_path / "new" / "out"
    assert call(run, output, f"data.root={moved}") == 1
    assert_one_line(capsys, "val_2.png", "cannot be decoded")
    assert list(output.parent.iterdir()) == []


def test_names_that_cannot_be_folders(measure, run, tmp_path):
    names = ["a b", "a_b", "a b_3", "(("]  # the last in order, a_b, is the pair with number 3
    moved = make_strips(tmp_path / "moved", val=len(names))
    for number, name in enumerate(names):
        (moved / "val" / f"val_{number}.png").rename(moved / "val" / f"{name}.png")
    measure(run, tmp_path / "out", f"data.root={moved}", "metrics=l1")
    assert {row["name"] for row in read_rows(tmp_path / "out")} == set(names)
    folders = sorted((tmp_path / "out" / "images").iterdir())
    assert len(folders) == len(names)
    assert all((folder / "output.png").is_file() for folder in folders)


def test_a_run_s_folder_is_data_not_code(measure, refused, run, tmp_path):
    config = shutil.copytree(run, tmp_path / "run") / "config.yaml"
    cfg = OmegaConf.load(config)
    ours = cfg.data._target_
    for target, named in (
        ("os.system", "os.system"),
        ("pix2pix_lightning.cli.main.os.system", "cannot be found"),
        ("pix2pix_lightning.utils.instantiate.build", "no class"),
        ("pix2pix_lightning.data.data_module.LightningDataModule", "no class"),  # but another package's
        ("pix2pix_lightning.networks.UNetGenerator", "no data module"),
        (f"{OwnData.__module__}.OwnData", f"trust=[{OwnData.__module__}]"),
    ):
        cfg.data._target_ = target
        OmegaConf.save(cfg, config)
        assert_contains(refused(config.parent, tmp_path / "out"), target, named)
    measure(config.parent, tmp_path / "out", "metrics=l1", f"trust=[{OwnData.__module__}]")
    cfg.data._target_ = ours
    cfg.data.archive = {"_target_": "subprocess.Popen", "args": "true"}
    OmegaConf.save(cfg, config)
    assert_contains(refused(config.parent, tmp_path / "no"), "subprocess.Popen", "trust=[subprocess]")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["metrics=[l1,lpips]"], ["'lpips'", "l1, l2, psnr"]),
        (["mode=papper"], ["mode='papper'", "deterministic, paper"]),
        (["data.num_val=3"], ["data.num_val=3", "root", "data=<group>"]),
        (["data=procedural", "data.root=pairs"], ["data:", "'root'"]),
        (["data=folder", "data.num_val=3"], ["num_val", "it takes root"]),
        (["data.root=nowhere"], ["data.root=nowhere is no folder"]),
        (["batch_size=0"], ["batch_size=0: a whole number of at least 1"]),
        (["batch_size=1.5"], ["batch_size=1.5: a whole number of at least 1"]),
        (["data.max_pairs=abc"], ["data.max_pairs=abc: a whole number of at least 1"]),
        (["data.seed=abc"], ["seed=abc: a whole number from 0"]),
        (["data=procedural", "data.num_looks=abc"], ["data.num_looks=abc: a whole number of at least 1"]),
        (["metrics=5"], ["metrics", "5"]),
        (["metrics=[l1,flicker]"], ["flicker=true"]),
        (["metrics=[[l1]]"], ["metrics", "['l1']"]),
        (["checkpoint=nowhere"], ["nowhere does not exist"]),
        (["weights=ema"], ["no EMA weights"]),
    ],
)
def test_errors_have_one_line(refused, run, tmp_path, words, parts):
    checkpoint = run
    if words[0].startswith("checkpoint="):
        checkpoint = words.pop().partition("=")[2]
    assert_contains(refused(checkpoint, tmp_path / "out", *words), *parts)
    assert not Path("runs").exists()
    assert not (tmp_path / "out").exists()


def test_errors_on_the_command_line(run, tmp_path, capsys):
    for words, parts in (
        (["split=train"], ["split='train'", "val, test"]),
        (["data=foldr"], ["data=foldr", "did you mean folder?"]),
        (["batch_sice=3"], ["batch_sice", "did you mean batch_size?"]),
    ):
        assert call(run, tmp_path / "out", *words) == 1
        assert_one_line(capsys, *parts)


def test_a_missing_checkpoint_is_named(capsys):
    assert evaluate.main([]) == 1
    assert_one_line(capsys, "checkpoint")
