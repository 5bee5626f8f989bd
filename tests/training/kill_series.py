"""Kill runs at chosen moments, resume each until it is done, and compare it with a run that was left alone.

    python kill_series.py <folder of pairs> <empty folder> <number of kills> [<seed>]

Everything is imported once; each run is a fork of this process, which has no threads, so that a start takes a second.
A run kills itself at a moment that was drawn before: when it opens or renames a file of a kind, up to some
milliseconds later, or after a while. The kernel's timer does it, so that nothing of the process takes notice.
"""

import csv
import faulthandler
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import cv2
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port

import pix2pix_lightning.training.build  # noqa: F401
import pix2pix_lightning.training.callbacks  # noqa: F401
from pix2pix_lightning import compose
from pix2pix_lightning.train import train
from pix2pix_lightning.utils.errors import Interrupted

EPOCHS, MAX_KILLS = 3, 6  # of a series
COMMON = [
    "data=folder",
    "data.size=16",
    "data.batch_size=2",
    "generator=unet",
    "module.generator.num_downs=3",
    "module.generator.base_channels=4",
    "module.generator.norm=instance",
    "discriminator=patch_16",
    "module.discriminator.base_channels=4",
    "module.discriminator.norm=instance",
    "schedule=linear_decay",
    "module.schedule.hold_epochs=1",
    f"module.schedule.decay_epochs={EPOCHS - 1}",
    f"trainer.max_epochs={EPOCHS}",
    "trainer.log_every_n_steps=1",
    "trainer=cpu",
    "callbacks.progress=null",
    "callbacks.gallery.num_images=2",
    "+trainer.enable_progress_bar=false",
    "resume=auto",
    "run_dir=run",
]
EMA = ["callbacks=[default,ema]", "module.accumulate=2"]
BY_TIME = "saving.every_minutes=0.001"  # every second batch or so
VARIANTS = {
    "plain": (1, ["data.num_workers=0"]),
    "files in the foreground": (1, ["data.num_workers=0", "speed=off"]),
    "accumulation, EMA, by time": (1, ["data.num_workers=0", BY_TIME, *EMA]),
    "accumulation, EMA, workers": (1, ["data.num_workers=1", *EMA]),
    "two processes, accumulation, EMA, by time": (2, ["data.num_workers=0", "data.batch_size=1", BY_TIME, *EMA]),
}
TWO = ["trainer.devices=2", "trainer.strategy=ddp_per_network"]
MOMENTS = {
    "set-up": lambda path: path.endswith(("run", ".lock", "train.log")) or "config.yaml" in path,
    "checkpoint": lambda path: "checkpoints/" in path,
    "metrics.csv": lambda path: "metrics.csv" in path,
    "gallery": lambda path: "gallery/" in path,
    "any": lambda path: False,
    "SIGTERM": lambda path: False,
}
WEIGHTS = {"set-up": 2, "checkpoint": 4, "metrics.csv": 3, "gallery": 3, "any": 5, "SIGTERM": 2}


class Plan:
    """When a process ends itself: at the n-th file of a kind, and some milliseconds later; or after some seconds."""

    def __init__(self, rng, seconds):
        self.moment = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        self.victims = rng.choice([(0,), (1,), (0, 1)])
        self.number = rng.choice([1, 1, 2, 3, 5, 8]) if self.moment != "set-up" else rng.choice([1, 2, 3, 4])
        self.delay = rng.choice([0, 0.0003, 0.001, 0.003, 0.01])
        self.after = rng.uniform(0.05, seconds)

    def arm(self, rank, num_processes):
        """In the process that it is for."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if num_processes > 1 and rank not in self.victims:
            return
        if self.moment == "SIGTERM":
            pid = os.getpid()
            threading.Timer(self.after, lambda: os.kill(pid, signal.SIGTERM)).start()
        elif self.moment == "any":
            signal.setitimer(signal.ITIMER_REAL, self.after)
        else:
            sys.addaudithook(self.note)

    def note(self, event, args):
        path = str(args[0]) if event in ("open", "os.rename", "os.mkdir") else ""
        if event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if path and MOMENTS[self.moment](path):
            self.number -= 1
            if self.number == 0:
                if not self.delay:
                    os.kill(os.getpid(), signal.SIGKILL)
                signal.setitimer(signal.ITIMER_REAL, self.delay)


def start(folder, cfg, rank, num_processes, port, plan):
    """Fork a process that trains; return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        os.chdir(folder)
        log = os.open(f"log_{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.register(signal.SIGUSR2)
        if num_processes > 1:
            os.environ |= {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
            os.environ["MASTER_PORT"] = str(port)
        if plan is not None:
            plan.arm(rank, num_processes)
        train(cfg)
        status = 0
    except Interrupted as stop:
        status = stop.status
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def run_once(folder, cfg, num_processes, plan=None, seconds=120):
    """Train once; return the exit statuses, negative for signals, and None for a process that hung."""
    port = find_free_network_port() if num_processes > 1 else 0
    left = {start(folder, cfg, rank, num_processes, port, plan): rank for rank in range(num_processes)}
    statuses, deadline = [None] * num_processes, time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        for pid in list(left):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                statuses[left.pop(pid)] = os.waitstatus_to_exitcode(status)
                if any(statuses):  # as torchrun does: at the start, the others would wait for it for ten minutes
                    deadline = min(deadline, time.monotonic() + 8)
        time.sleep(0.002)
    for pid in left:
        os.kill(pid, signal.SIGUSR2)  # its log has where it is
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if any(statuses):
            statuses[left[pid]] = -signal.SIGKILL
    return statuses


def read_result(folder):
    """What a finished run has, in a form that is compared."""
    run = folder / "run"
    result = {}
    for name in ("last", "best"):
        saved = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)
        for key in ("state_dict", "ema_generator", "optimizer_states", "lr_schedulers"):
            result |= {f"{name}.ckpt {key}{path}": value for path, value in flatten(saved.get(key))}
    with (run / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            result |= {f"metrics.csv row {row['step']} {key}": value for key, value in row.items()}
    for path in sorted((run / "gallery").rglob("*.png")):
        result[f"gallery {path.relative_to(run)}"] = path.read_bytes()
    result |= {
        f"summary {key}": value for key, value in json.loads((run / "summary.json").read_text())["metrics"].items()
    }
    return result


def flatten(node, path=""):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else None
    if items is None:
        return [(path, node)]
    return [leaf for key, value in items for leaf in flatten(value, f"{path}.{key}")]


def list_differences(one, other):
    """The names of what differs, bit by bit."""

    def equal(a, b):
        return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b

    return sorted(
        name for name in {*one, *other} if name not in one or name not in other or not equal(one[name], other[name])
    )


def run_series(number, folder, cfg, num_processes, rng, seconds, counts):
    """Kill one run several times and let it end; return what went wrong, if anything did."""
    kills = []
    while True:
        plan = Plan(rng, seconds) if len(kills) < MAX_KILLS else None
        statuses = run_once(folder, cfg, num_processes, plan)
        if None in statuses:
            return kills, f"hung: {statuses}"
        if statuses == [0] * num_processes:
            return kills, None
        killed = any(status in (-signal.SIGKILL, -signal.SIGALRM, -signal.SIGTERM, 75) for status in statuses)
        if plan is None or not killed:
            log = (folder / "log_0.txt").read_text().strip().splitlines()
            return kills, f"ended with {statuses}: {log[-1] if log else ''}"
        kills.append(plan.moment)
        counts[plan.moment] += 1


def main(pairs, out, num_kills, seed=0):
    """Run series until there were so many kills; print and return a row for each variant."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rng, references, rows, counts = random.Random(seed), {}, {}, Counter()
    cfgs = {
        name: compose("train", [*COMMON, f"data.root={pairs}", *words, *(TWO if n == 2 else [])])
        for name, (n, words) in VARIANTS.items()
    }
    assert threading.active_count() == 1
    number = 0
    while sum(counts.values()) < num_kills:
        name = list(VARIANTS)[number % len(VARIANTS)]
        num_processes = VARIANTS[name][0]
        if name not in references:
            folder = out / f"whole_{number}"
            folder.mkdir()
            begin = time.monotonic()
            statuses = run_once(folder, cfgs[name].copy(), num_processes)
            assert statuses == [0] * num_processes, (name, statuses, (folder / "log_0.txt").read_text())
            references[name] = read_result(folder), time.monotonic() - begin
        reference, seconds = references[name]
        folder = out / f"series_{number}"
        folder.mkdir()
        kills, error = run_series(number, folder, cfgs[name].copy(), num_processes, rng, seconds, counts)
        differences = [] if error else list_differences(reference, read_result(folder))
        row = rows.setdefault(name, {"series": 0, "kills": 0, "errors": [], "differences": []})
        row["series"] += 1
        row["kills"] += len(kills)
        row["errors"] += [f"series {number} ({', '.join(kills)}): {error}"] if error else []
        row["differences"] += (
            [f"series {number} ({', '.join(kills)}): {', '.join(differences[:4])}"] if differences else []
        )
        print(
            f"series {number}, {name}: {', '.join(kills) or 'no kill'}; {error or differences[:4] or 'equal'}",
            flush=True,
        )
        if not error and not differences:
            shutil.rmtree(folder)
        number += 1
    return rows, counts


def format_table(rows, counts):
    lines = ["| run | series | kills | refused or hung | different |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {r['series']} | {r['kills']} | {len(r['errors'])} | {len(r['differences'])} |"
        for name, r in rows.items()
    ]
    lines += ["", "| moment | kills |", "|---|---|", *(f"| {name} | {counts[name]} |" for name in MOMENTS)]
    return "\n".join(lines)


if __name__ == "__main__":
    rows, counts = main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if sys.argv[4:] else 0)
    print(format_table(rows, counts))
    for row in rows.values():
        for line in row["errors"] + row["differences"]:
            print(line)
    sys.exit(any(row["errors"] or row["differences"] for row in rows.values()))
