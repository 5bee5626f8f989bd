"""Train recipes for equal processor time on real pairs at 128 px, and measure what each of them reaches.

    python examples/ablate_recipe.py measure OUT --rows recipe=paper ingredient=perceptual recipe=modern
    python examples/ablate_recipe.py train OUT --rows recipe=paper ingredient=perceptual recipe=modern --seeds 0 1 2
    python examples/ablate_recipe.py table OUT --rows recipe=paper ingredient=perceptual recipe=modern --seeds 0 1 2
    python examples/ablate_recipe.py compare OUT --rows recipe=paper recipe=modern --seeds 0 1 2

A row is what is added to the command line of `train`; several words are joined by a space. `measure` steps all rows in
turn, so that a machine whose speed changes slows all of them, and writes to OUT/steps.json how long a step of each row
takes. `train` gives each row as many epochs as take the time of the first row's EPOCHS, runs two trainings at a time of
one thread each, and evaluates the last checkpoint with its trained and with its EMA weights. What is there already is
kept, so the same command goes on where it was stopped. `table` prints mean, lowest and highest of the seeds of the
rows, which had --share of the time, as Markdown. `compare` prints each seed of the first row next to each of the
others, which had --share of its time. OUT/results.csv has all results; rows in it whose runs are gone stay in it.

PIX2PIX_DATA_DIR is the folder of facades/, maps/ and edges2shoes/. The judges need the extra `judge`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

SMALL = "data.size=128 generator=unet_128 module.generator.base_channels=16 module.discriminator.base_channels=16"
SMALL += " trainer=cpu trainer.precision=32-true data.num_workers=0 callbacks.gallery=null"
TASKS = {  # words of the task, and the epochs of the first row: about 6,000 steps, 2,400 of batch 4
    "facades": ("experiment=facades", 15),
    "maps_to_map": ("experiment=maps data.direction=a_to_b", 40),
    "maps_to_aerial": ("experiment=maps data.direction=b_to_a", 40),
    "edges2shoes": ("experiment=edges2shoes data.batch_size=4", 16),
    "facades_100": ("experiment=facades data.max_pairs=100", 60),  # on request
}
DONE = "cpu_seconds"
METRICS = ("l1", "psnr", "ssim", "perceptual", "kid")
FIELDS = ("task", "row", "seed", "weights", "features", "epochs", "cpu_seconds", "sha256")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["measure", "train", "table", "compare"])
    parser.add_argument("out", type=Path, help="folder of the runs and results")
    parser.add_argument(
        "--rows", nargs="+", default=["recipe=paper"], help="words of train; the first is the reference"
    )
    parser.add_argument(
        "--tasks", nargs="+", default=[task for task in TASKS if task != "facades_100"], choices=[*TASKS]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the processor time, such as 0.333")
    parser.add_argument("--segmenter", type=Path, help="run of experiment=facades_segmenter, for the semantic score")
    parser.add_argument("--validate", action="store_true", help="validate after each epoch, to compare best.ckpt too")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.action == "measure":
        measure_steps(arguments)
    elif arguments.action == "train":
        jobs = [(task, row, seed) for seed in arguments.seeds for task in arguments.tasks for row in arguments.rows]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(arguments.jobs, mp_context=context, max_tasks_per_child=1) as pool:
            for job in [pool.submit(run_job, arguments, *job) for job in jobs]:
                job.result()
    if arguments.action == "compare":
        compare_rows(arguments, read_results(arguments.out))
    elif arguments.action != "measure":
        print_table(arguments, read_results(arguments.out))


def measure_steps(arguments: argparse.Namespace, rounds: int = 16) -> None:
    """Time training steps of each row, in turn, and write the ratios of the means to that of the first row.

    16 rounds, since `ingredient=r1` has its penalty in every 16th step.
    """
    import logging

    import torch

    from pix2pix_lightning.benchmark.bare_step import BareStep
    from pix2pix_lightning.cli.compose import compose
    from pix2pix_lightning.training.build import build_training

    torch.set_num_threads(1)
    logging.getLogger("lightning").setLevel(logging.ERROR)
    path = arguments.out / "steps.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    for task in arguments.tasks:
        steps: dict[str, Any] = {}
        for row in arguments.rows:
            words = f"{TASKS[task][0]} {SMALL} {row} run_dir={arguments.out / 'unused'}".split()
            training = build_training(compose("train", words))
            step = BareStep(training.module, training.trainer, torch.device("cpu"))
            images = step.prepare_batch(next(iter(training.data.train_dataloader())))
            step(*images)
            steps[row] = (step, images, [])
        for _ in range(rounds):
            for step, images, seconds in steps.values():
                started = time.process_time()
                step(*images)
                seconds.append(time.process_time() - started)
        reference = statistics.mean(steps[arguments.rows[0]][2])
        known.setdefault(task, {}).update(
            {row: statistics.mean(seconds) / reference for row, (_, _, seconds) in steps.items()}
        )
        for row, (_, _, seconds) in steps.items():
            print(f"{task} {row}: {statistics.mean(seconds) * 1e3:.1f} ms, {known[task][row]:.2f} of the first")
        path.write_text(json.dumps(known, indent=2))


def run_job(arguments: argparse.Namespace, task: str, row: str, seed: int) -> None:
    """Train one row with one seed, if that is not done, and evaluate it."""
    import torch

    from pix2pix_lightning import compose
    from pix2pix_lightning.train import train

    torch.set_num_threads(1)
    ratio = json.loads((arguments.out / "steps.json").read_text())[task][row]
    epochs = max(1, round(TASKS[task][1] * arguments.share / ratio))
    name = get_name(row, arguments.share)
    name += "__validated" if arguments.validate else ""
    run = arguments.out / task / name / f"seed_{seed}"
    if not (run / DONE).is_file():
        words = f"{TASKS[task][0]} {SMALL} {row} callbacks=[default,ema] seed={seed} trainer.max_epochs={epochs}"
        words += f" run_dir={run} resume=auto"
        words += "" if arguments.validate else f" trainer.check_val_every_n_epoch={epochs}"
        started = time.process_time()
        train(compose("train", words.split()))
        seconds = time.process_time() - started
        (run / DONE).write_text(f"{seconds:.1f}")
        print(f"{task} {row} {seed}: {epochs} epochs, {seconds:.0f} s", flush=True)
    for weights, features in (("trained", "lite1"), ("ema", "lite1"), ("ema", "lite2")):
        metrics, words = [*METRICS], f"weights={weights} features={features}"
        if arguments.segmenter and task.startswith("facades") and features == "lite1":
            metrics, words = [*metrics, "semantic"], f"{words} segmenter={arguments.segmenter}"
        measure(run, f"{weights}_{features}", f"{words} metrics=[{','.join(metrics)}]")


def get_name(row: str, share: float = 1) -> str:
    """Return the name of a row's folders and in the results."""
    name = row.replace("=", "-").replace(" ", "__").replace("/", ".")
    return name if share == 1 else f"{name}__share-{share}"


def measure(run: Path, name: str, words: str) -> None:
    """Evaluate the last checkpoint of a run, if that is not done with the same words."""
    from pix2pix_lightning import compose
    from pix2pix_lightning.evaluate import evaluate

    done = run / name / "words.txt"
    if not done.is_file() or done.read_text() != words:
        every = [f"checkpoint={run / 'checkpoints' / 'last.ckpt'}", f"output={run / name}", "overwrite=true"]
        evaluate(compose("evaluate", [*every, "data.num_workers=0", *words.split()]))
        done.write_text(words)


def read_results(out: Path) -> list[dict[str, Any]]:
    """Read the results of all jobs, one row for each run, kind of weights and judge, and write results.csv anew."""
    table = out / "results.csv"
    rows = {}
    if table.is_file():
        with table.open(newline="") as file:
            rows = {_key(row): row for row in map(_read_numbers, csv.DictReader(file))}
    for done in sorted(out.glob(f"*/*/seed_*/{DONE}")):
        run = done.parent
        summary = json.loads((run / "summary.json").read_text())
        facts = {"task": run.parts[-3], "row": run.parts[-2], "seed": run.name.removeprefix("seed_")}
        facts |= {"epochs": summary["epochs"], "cpu_seconds": float(done.read_text())}
        facts["sha256"] = hashlib.sha256((run / "checkpoints" / "last.ckpt").read_bytes()).hexdigest()[:16]
        for file in sorted(run.glob("*_*/metrics.json")):
            weights, _, features = file.parent.name.partition("_")
            values = json.loads(file.read_text())["metrics"]
            figures = {f"{k}{end}": v[part] for k, v in values.items() for part, end in _PARTS.items()}
            row = {**facts, "weights": weights, "features": features, **figures}
            rows[_key(row)] = row
    ordered = sorted(rows.values(), key=_key)
    columns = [*FIELDS, *dict.fromkeys(key for row in ordered for key in row if key not in FIELDS)]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    return ordered


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("task", "row", "seed", "weights", "features"))


def _read_numbers(row: dict[str, str]) -> dict[str, Any]:
    numbers = {name: float(text) for name, text in row.items() if text and name not in _WORDS}
    return {**numbers, **{name: row.get(name, "") for name in _WORDS}, "epochs": int(row["epochs"])}


_WORDS = ("task", "row", "seed", "weights", "features", "sha256")
_PARTS = {"mean": "", "low": "_low", "high": "_high"}


def find_result(
    found: dict[tuple[str, ...], dict[str, Any]], task: str, name: str, seed: int, weights: str, judge: str = "lite1"
) -> dict[str, Any] | None:
    """Return the result of a run, or of the same one with --validate, or None."""
    names = (name, f"{name}__validated")
    return next((row for each in names if (row := found.get((task, each, str(seed), weights, judge)))), None)


def print_table(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Print the mean, the lowest and the highest value of the seeds of each task and row, by EfficientNet-Lite1.

    All figures but the KID of the trained weights are of the EMA weights.
    """
    found = {_key(row): row for row in rows}
    print("| task | row | seeds | epochs | CPU s | L1 | SSIM | perceptual | KID x 1000, trained | EMA | semantic IoU |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    count = 0
    for task, words in product(arguments.tasks, arguments.rows):
        name = get_name(words, arguments.share)
        ema, trained = (
            [row for seed in arguments.seeds if (row := find_result(found, task, name, seed, kind))]
            for kind in ("ema", "trained")
        )
        if not ema:
            continue
        count += 1
        seconds = statistics.mean(row["cpu_seconds"] for row in ema)
        cells = [task, name, " ".join(row["seed"] for row in ema), str(ema[0]["epochs"]), f"{seconds:.0f}"]
        cells += [_show_mean(ema, key, digits) for key, digits in (("l1", 4), ("ssim", 3), ("perceptual", 3))]
        cells += [_show_mean(trained, "kid", 0, 1000), _show_mean(ema, "kid", 0, 1000)]
        print("| " + " | ".join([*cells, _show_mean(ema, "semantic_iou", 3)]) + " |")
    check_found(count, arguments)


def _show_mean(rows: list[dict[str, Any]], name: str, digits: int, factor: float = 1) -> str:
    values = [row[name] * factor for row in rows if row.get(name) is not None]
    low, mean, high = (f"{of(values):.{digits}f}" if values else "" for of in (min, statistics.mean, max))
    return f"{mean} ({low} to {high})" if len(values) > 1 else mean


def compare_rows(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Print each row next to the first one, for each task, seed and judge, with the weights that the recipe uses.

    What has no EMA weights by itself is measured with its trained weights. Of a task on fewer pairs the first row is
    that on all of them. "lower" says whether the 95 % intervals are disjoint.
    """
    found = {_key(row): row for row in rows}
    print("| task | row | seed | judge | CPU s | L1 | ratio | perceptual | lower | KID x 1000 | lower | semantic IoU |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    first, *others = arguments.rows
    count = 0
    for task, seed, judge in product(arguments.tasks, arguments.seeds, ("lite1", "lite2")):
        for words in others:
            names = get_name(first), get_name(words, arguments.share)
            weights = ["ema" if "ema" in row or "modern" in row or judge == "lite2" else "trained" for row in names]
            one = find_result(found, task.removesuffix("_100"), names[0], seed, weights[0], judge)
            other = find_result(found, task, names[1], seed, weights[1], judge)
            if one and other and "kid" in one and "kid" in other:
                count += 1
                print(_format_comparison([task, names[1], str(seed), judge], one, other))
    check_found(count, arguments)


def check_found(count: int, arguments: argparse.Namespace) -> None:
    """Exit with a line where there is nothing to print."""
    if not count:
        raise SystemExit(f"{arguments.out} has no results of {' and '.join(arguments.rows)}: train them first")


def _format_comparison(cells: list[str], one: dict[str, Any], other: dict[str, Any]) -> str:
    def show(row: dict[str, Any], name: str, factor: int, digits: int) -> str:
        value, low, high = (f"{row[name + end] * factor:.{digits}f}" for end in _PARTS.values())
        return f"{value} ({low} to {high})"

    cells = [*cells, f"{one['cpu_seconds']:.0f}, {other['cpu_seconds']:.0f}"]
    cells += [f"{one['l1']:.4f}, {other['l1']:.4f}", f"{other['l1'] / one['l1']:.3f}"]
    for name, factor, digits in (("perceptual", 1, 3), ("kid", 1000, 0)):
        cells += [f"{show(one, name, factor, digits)}, {show(other, name, factor, digits)}"]
        cells += ["yes" if other[f"{name}_high"] < one[f"{name}_low"] else "no"]
    ious = [row.get("semantic_iou") for row in (one, other)]
    return "| " + " | ".join([*cells, ", ".join(f"{iou:.3f}" for iou in ious if iou is not None)]) + " |"


if __name__ == "__main__":
    main()
