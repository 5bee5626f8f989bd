"""Evaluation and prediction by several processes: the figures of one."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from helpers import make_strips
from pix2pix_lightning import Pix2PixModule, Translator
from pix2pix_lightning.evaluation import Division, PairWriter, compute_scores
from pix2pix_lightning.evaluation.measures import check_divisible
from pix2pix_lightning.metrics import DistributionMetric, build_named_metrics
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import Process
from small_networks import UNET
from test_evaluate import make_run

METRICS = ["l1", "psnr", "ssim"]


def run_threads(total, work):
    """Run ``work(process, gather)`` in threads that stand for processes; return what each returns.

    One runs at a time: two threads that use torch's random numbers at once can wait for each other for ever.
    """
    barrier, given, results = threading.Barrier(total, timeout=30), [None] * total, [None] * total
    turn = threading.Lock()

    def run(rank):
        def wait():
            turn.release()
            try:
                barrier.wait()
            finally:
                turn.acquire()

        def gather(value):
            given[rank] = value
            wait()
            values = list(given)
            wait()
            return values

        with turn:
            results[rank] = work(Process(rank, total, can_gather=True), gather)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(total)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def make_batches(num_pairs):
    rng = np.random.default_rng(0)
    for start in range(0, num_pairs, 2):
        names = [f"pair{number}" for number in range(start, min(start + 2, num_pairs))]
        a, b = (make_side(rng, len(names)) for _ in range(2))
        yield {"source": a, "target": b, "name": names}


def make_side(rng, count):
    return torch.from_numpy(rng.integers(0, 256, (count, 3, 16, 16), np.uint8))


@pytest.mark.parametrize(("total", "num_pairs"), [(2, 7), (3, 7), (4, 3)])
def test_figures_and_intervals_are_those_of_one_process_to_the_last_digit(total, num_pairs):
    torch.manual_seed(0)
    module = Pix2PixModule(UNET, None)

    def measure(division):
        own = Pix2PixModule(UNET, None)
        own.load_state_dict(module.state_dict())
        seen = []
        scores = compute_scores(
            Translator(own),
            make_batches(num_pairs),
            build_named_metrics(METRICS, eight_bit=True, features="lite1"),
            on_pair=lambda pair: seen.append(pair.name),
            division=division,
        )
        return scores, seen

    alone, all_seen = measure(None)
    results = run_threads(total, lambda process, gather: measure(Division(process, gather)))
    assert sorted(name for _, seen in results for name in seen) == sorted(all_seen)
    for rank, (scores, seen) in enumerate(results):
        assert seen == all_seen[rank::total]
        assert scores.names == alone.names
        assert scores.figures == alone.figures
        assert all((scores.values[name] == alone.values[name]).all() for name in METRICS)


def test_pairs_keep_their_order_whatever_process_has_them():
    def work(process, gather):
        division = Division(process, gather)
        division.numbers = [number for number in range(10) if division.takes(number) and number != 4]  # 4: left out
        return division.merge([f"item {number}" for number in division.numbers])

    expected = [f"item {number}" for number in range(10) if number != 4]
    assert run_threads(3, work) == [expected] * 3


def test_processes_that_do_not_know_each_other_are_refused():
    with pytest.raises(UserError, match="4 processes"):
        Division(Process(1, 4, can_gather=False))
    assert not Division().is_divided


def test_folders_of_pairs_are_named_as_by_one_writer(tmp_path):
    writer = PairWriter(tmp_path / "whole", None)
    (tmp_path / "whole").mkdir()
    for number, name in enumerate(["a/b", "a b", "c"]):
        written = tmp_path / f"part_{number % 2}" / str(number)
        written.mkdir(parents=True)
        (written / "number.txt").write_text(str(number))
        writer.move(name, written)
    assert len(set(writer.folders)) == 3
    assert [(tmp_path / "whole" / each / "number.txt").read_text() for each in writer.folders] == ["0", "1", "2"]


def test_sums_over_images_are_not_divided():
    class Feature(torch.nn.Module):
        num_features = 4

        def forward(self, images):
            return images.flatten(1)[:, :4].float()

    metric = DistributionMetric(FrechetInceptionDistance(feature=Feature()))
    with pytest.raises(UserError, match="own"):
        check_divisible({"own": metric})
    named = build_named_metrics(METRICS, eight_bit=True, features="lite1")
    check_divisible(named)
    assert not any(metric.distributed_available_fn() for metric in named.values())


@pytest.mark.slow
@pytest.mark.parametrize("total", [2, 3])
def test_torchrun_gives_the_files_of_one_process(tmp_path, total):
    root, run = make_strips(tmp_path / "pairs", train=2, val=7), tmp_path / "run"
    make_run(run, f"data.root={root}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    starts = {
        "one": [sys.executable, "-m"],
        "many": [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={total}", "-m"],
    }

    def call(name, command, *words):
        words = [*starts[name], f"pix2pix_lightning.{command}", f"checkpoint={run}", *words]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    metrics = "metrics=[l1,psnr,ssim,perceptual,kid,fid]"
    texts = {}
    for name in starts:
        done = call(name, "evaluate", metrics, "mode=paper", "samples=2", f"output={tmp_path / name}")
        assert done.returncode == 0, done.stderr
        texts[name] = done.stdout.replace(str(tmp_path / name), "")
    assert texts["one"] == texts["many"]
    files = {
        name: sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*")) for name in starts
    }
    assert files["one"] == files["many"]
    for path in files["one"]:
        if path.endswith((".png", ".csv")):
            assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "many" / path).read_bytes(), path
    found = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in starts]
    assert found[0]["metrics"] == found[1]["metrics"]
    assert found[0]["num_images"] == 7
    assert len((tmp_path / "many" / "metrics.csv").read_text().splitlines()) == 8

    photos = tmp_path / "photos"
    shutil.copytree(tmp_path / "one" / "images", photos)
    done = [call(name, "predict", f"input={photos}", f"output={tmp_path / f'out_{name}'}") for name in starts]
    assert [each.returncode for each in done] == [0, 0], done[1].stderr
    assert done[1].stdout.count("images in") == 1
    assert "21 images in" in done[1].stdout
    for path in (tmp_path / "out_one").rglob("*.png"):
        assert (tmp_path / "out_many" / path.relative_to(tmp_path / "out_one")).is_file()
    broken = Path(next(photos.rglob("input.png")))
    broken.write_bytes(b"no picture")
    failed = call("many", "predict", f"input={photos}", f"output={tmp_path / 'out_failed'}")
    assert failed.returncode != 0
    assert failed.stderr.count("could not be translated") == 1
    assert "1 of 21" in failed.stderr
    assert len(list((tmp_path / "out_failed").rglob("*.png"))) == 20
