"""The list of all runs: what it says of each, who writes it, and that it is cheap."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning.report import run_card, update_pages
from pix2pix_lightning.report.__main__ import main
from pix2pix_lightning.report.run_index import RunIndex
from pix2pix_lightning.training.run_dir import RunDir
from pix2pix_lightning.training.run_list import RunList, keep_in_list
from pix2pix_lightning.utils.lock import LOCK, is_locked, lock_folder

NASTY = """<script>alert(1)<_script>&"'#?%20"""
HOLD = "import sys; from pathlib import Path; from pix2pix_lightning.utils.lock import lock_folder\n"
HOLD += "with lock_folder(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"

ASK = "import sys; from pathlib import Path; from pix2pix_lightning.utils.lock import is_locked\n"
ASK += "print(is_locked(Path(sys.argv[1])))"


def make_run(folder, l1, *, finished=False, log="", checkpoint=True, seed=0, **parts):
    """Write what a training leaves; ``parts`` are nodes of its configuration."""
    (folder / "checkpoints").mkdir(parents=True)
    module = {"_target_": "pix2pix_lightning.Pix2PixModule", "optimizer_g": {"lr": 0.0002}}
    config = {"seed": seed, "data": {"num_workers": len(str(folder))}, "module": module, "trainer": {"max_epochs": 9}}
    (folder / "config.yaml").write_text(json.dumps({**config, **parts, "command": f"train {folder}"}))
    rows = [f"{epoch},{4 * epoch + 3},{value},{1 - value}" for epoch, value in enumerate(l1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,val/l1,val/ssim", *rows]) + "\n")
    (folder / "train.log").write_text(f"2026-01-01 10:00:00,000 INFO training in {folder}\n{log}")
    if checkpoint:
        (folder / "checkpoints/last.ckpt").touch()
    if finished:
        (folder / "summary.json").write_text(json.dumps({"metrics": {"val/l1": l1[-1]}}))
    pictures = folder / "gallery/images/000_a"
    pictures.mkdir(parents=True)
    for name in ("input", "target", *(f"epoch_{epoch:04d}" for epoch in range(len(l1)))):
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(pictures / f"{name}.png")
    (folder / "gallery/index.html").write_text("<!-- links --><!-- /links -->")
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two runs of an experiment, and a sweep of two jobs."""
    make_run(tmp_path / "runs/facades/2026-01-01_10-00-00", [0.5, 0.25], finished=True)
    make_run(tmp_path / "runs/facades/2026-01-02_10-00-00", [0.5, 0.125], seed=3)
    for loss, value in (("l1", 0.4), ("l1_cgan", 0.3)):
        part = None if loss == "l1" else {"_target_": "a.PatchDiscriminator", "num_layers": 3}
        module = {"_target_": "pix2pix_lightning.Pix2PixModule", "discriminator": part}
        make_run(tmp_path / f"runs/facades/sweep_loss/loss-{loss}", [value], finished=True, module=module)
    for folder in sorted((tmp_path / "runs").rglob("config.yaml")):
        os.utime(folder.parent / "metrics.csv")
    return tmp_path / "runs"


def read(runs):
    return (runs / "index.html").read_text()


def read_entry(runs, name):
    """The text of a run's entry, without tags."""
    page = read(runs)
    entry = next(part for part in page.split('<li class="run">') if f">{name}</a></h" in part)
    return " ".join(re.sub("<[^>]*>", " ", entry).split())


def test_each_run_has_its_state_figures_picture_and_what_sets_it_apart(runs):
    assert dict(RunIndex(runs).write()) == {"finished": 3, "stopped": 1}
    first, second = (read_entry(runs, f"2026-01-0{day}_10-00-00") for day in (1, 2))
    assert "finished epoch 2 of 9" in first
    assert "Validation L1 lower is better 0.2500" in first
    assert "Validation SSIM higher is better 0.7500" in first
    assert "seed 0" in first
    assert "seed 3" in second
    assert "num_workers" not in read(runs)  # it changes how batches are loaded alone
    assert "max_epochs" not in read(runs)  # it is the same in all
    assert "resume=runs/facades/2026-01-02_10-00-00" in second
    assert "resume=" not in first
    assert 'src="facades/2026-01-02_10-00-00/gallery/images/000_a/epoch_0001.png"' in read(runs)
    for address in re.findall(r'(?:src|href)="([^"]*)"', read(runs)):
        assert (runs / address).is_file()


def test_a_sweep_is_one_entry_that_leads_to_its_report(runs):
    RunIndex(runs).write()
    page = read(runs)
    assert page.count("sweep_loss</h3>") == 1
    assert "report runs=runs/facades/sweep_loss" in page
    assert "The best of its jobs, loss-l1_cgan:" in page
    assert "module.discriminator PatchDiscriminator" in read_entry(runs, "loss-l1_cgan")
    assert "module.discriminator null" in read_entry(runs, "loss-l1")
    assert "num_layers" not in page
    assert "discriminator" not in read_entry(runs, "2026-01-01_10-00-00")  # compared with runs, not with jobs
    (runs / "facades/sweep_loss/report").mkdir()
    for name in ("index.html", "report.md"):
        (runs / "facades/sweep_loss/report" / name).touch()
    update_pages([runs / "facades/sweep_loss/loss-l1"])
    assert read(runs).count('href="facades/sweep_loss/report/index.html"') == 2
    gallery = (runs / "facades/sweep_loss/loss-l1/gallery/index.html").read_text()
    assert 'href="../../report/index.html"' in gallery
    assert 'href="../../../../index.html"' in gallery


def test_running_killed_and_failed_runs_are_told_apart(runs):
    run = runs / "facades/2026-01-02_10-00-00"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "held\n"
        assert is_locked(run)
        RunIndex(runs).write()
        assert "running epoch 2" in read_entry(runs, run.name)
        assert "resume=" not in read_entry(runs, run.name)
        process.kill()
    assert (run / LOCK).exists()
    RunIndex(runs).write()
    assert "stopped epoch 2" in read_entry(runs, run.name)
    with (run / "train.log").open("a") as file:
        file.write("2026-01-02 10:05:00,000 ERROR failed: losses are <NaN>\n")
    RunIndex(runs).write()
    assert "failed epoch 2" in read_entry(runs, run.name)
    assert "losses are &lt;NaN&gt;" in read_entry(runs, run.name)
    with (run / "train.log").open("a") as file:
        file.write("2026-01-02 11:00:00,000 INFO resuming\n")
    (run / "checkpoints/last.ckpt").unlink()
    RunIndex(runs).write()
    assert "stopped" in read_entry(runs, run.name)
    assert "no checkpoint to resume" in read_entry(runs, run.name)


def test_the_own_lock_is_seen_and_kept(runs):
    run = runs / "facades/2026-01-02_10-00-00"
    with lock_folder(run):
        assert is_locked(run)
        RunIndex(runs).write()
        assert "running" in read_entry(runs, run.name)
        assert subprocess.run([sys.executable, "-c", ASK, run], capture_output=True, text=True).stdout == "True\n"
    assert not is_locked(run)


def test_names_and_values_are_text(tmp_path):
    for number, value in enumerate((NASTY, "plain")):
        make_run(
            tmp_path / "runs" / NASTY / f"{number}{NASTY}", [0.5], finished=True, about=NASTY, name=value, extra=value
        )
    RunIndex(tmp_path / "runs").write()
    page = read(tmp_path / "runs")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    for address in re.findall(r'src="([^"]*)"', page):
        assert not set(address) & set("<>\"'#?& ")


def test_only_files_that_have_changed_are_read_again(runs, monkeypatch):
    index = RunIndex(runs)
    index.write()
    opened = []
    read_card = run_card.read_card
    for name in ("pix2pix_lightning.report.run_index.read_card",):
        monkeypatch.setattr(name, lambda run, root: opened.append(run.name) or read_card(run, root))
    index.write()
    RunIndex(runs).write()  # another process
    assert opened == []
    with (runs / "facades/2026-01-02_10-00-00/metrics.csv").open("a") as file:
        file.write("2,11,0.0625,0.9\n")
    index.write()
    assert opened == ["2026-01-02_10-00-00"]
    assert "0.0625" in read(runs)
    (runs / ".index.json").write_text('{"version": 1, "runs": [{"path": 3}]}')
    RunIndex(runs).write()
    assert len(opened) == 5
    shutil.rmtree(runs / "facades/sweep_loss")
    assert dict(index.write()) == {"finished": 1, "stopped": 1}
    assert "sweep_loss" not in read(runs)


def test_a_large_metrics_file_is_read_at_its_end_alone(runs):
    run = runs / "facades/2026-01-02_10-00-00"
    with (run / "metrics.csv").open("a") as file:
        file.writelines(f"{2 + step // 500},{step},,\n" for step in range(12, 40_000))
        file.write("99,40000,0.03125,0.5\n99,40001,,\n99,4")
    card = run_card.read_card(run, runs)
    assert (card.metrics["val/l1"], card.epoch) == (0.03125, 100)


def test_what_cannot_be_read_does_not_hide_the_others(runs, monkeypatch):
    (runs / "facades/2026-01-01_10-00-00/config.yaml").write_text("seed: [")
    (runs / "facades/2026-01-02_10-00-00/metrics.csv").write_bytes(b"\xff\x00")
    (runs / "other").mkdir()
    (runs / "other/config.yaml").write_text("model: yolo\n")  # of another program
    (runs / "itself").symlink_to("itself")
    make_run(runs / "facades/other_users", [0.5])
    shutil.copytree(runs / "facades/other_users", runs / "facades/removed_meanwhile")
    stat, scandir = os.stat, os.scandir

    def refuse(path, *args, **kwargs):
        if "other_users" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *args, **kwargs)

    def miss(path):
        if "removed_meanwhile" in str(path):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(os, "scandir", miss)
    monkeypatch.setattr(Path, "iterdir", lambda path: (Path(entry.path) for entry in os.scandir(path)))
    assert sum(dict(RunIndex(runs).write()).values()) == 4
    assert "is damaged" in read_entry(runs, "2026-01-01_10-00-00")
    assert not re.search("yolo|other_users|removed_meanwhile", read(runs))


def test_the_command_writes_the_list_and_replaces_no_other_page(runs, monkeypatch, capsys):
    assert main(["runs=runs"]) == 0
    assert "1 stopped, 3 finished" in capsys.readouterr().out
    assert "sweep_loss" in read(runs)
    assert main(["runs=runs", "split=val"]) == 1
    assert "split=val" in capsys.readouterr().err
    (runs / "index.html").write_text("mine")
    assert main(["runs=runs"]) == 1
    assert "index.html" in capsys.readouterr().err
    assert read(runs) == "mine"
    (runs.parent / "empty/runs").mkdir(parents=True)
    assert main(["runs=empty/runs"]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_a_training_writes_the_list_of_its_own_folder_and_nothing_elsewhere(runs, tmp_path):
    with keep_in_list(RunDir(runs / "facades/2026-01-02_10-00-00", None)):
        pass
    assert (runs / "index.html").is_file()
    elsewhere = make_run(tmp_path / "mine/one", [0.5])
    with keep_in_list(RunDir(elsewhere, None)):
        pass
    (runs / "index.html").unlink()
    with keep_in_list(RunDir(runs / "facades/2026-01-02_10-00-00", None, is_first=False)):
        pass  # another process of the run
    assert not list(tmp_path.rglob("index.html.*"))
    assert not [page for page in tmp_path.rglob("index.html") if page.parent.name != "gallery"]


def test_a_list_that_cannot_be_written_is_one_warning(runs, full_disk, caplog):
    full_disk.append(runs / "index.html")
    listed = RunList(RunDir(runs / "facades/2026-01-02_10-00-00", None))
    listed.update()
    listed.update()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text
    assert not (runs / "index.html").exists()


def test_updates_after_validations_take_a_hundredth_of_the_time_at_most(runs, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("pix2pix_lightning.training.run_list.time.monotonic", lambda: clock[0])
    written = []

    def write(self):
        written.append(clock[0])
        clock[0] += 2.0

    monkeypatch.setattr(RunIndex, "write", write)
    listed = RunList(RunDir(runs / "facades/2026-01-02_10-00-00", None))
    listed.update()
    for clock[0] in (150.0, 301.0, 303.0, 400.0):
        listed.update_if_cheap()
    assert written == [100.0, 303.0]
    assert Path(listed._runs) == runs
