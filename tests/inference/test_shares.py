"""The division of files among jobs and processes."""

from pathlib import Path

import pytest

from pix2pix_lightning.inference.shares import Share, parse_shard, plan_share
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import Process, detect_process, gather_results

FILES = {Path(f"{number:02}.png"): number for number in range(29)}


@pytest.mark.parametrize(("jobs", "processes"), [(1, 1), (8, 1), (1, 4), (3, 5), (40, 1)])
def test_every_file_is_in_one_part_and_parts_are_equal(jobs, processes):
    parts = [
        plan_share(f"{job}/{jobs}", Process(rank, processes)).take(FILES)
        for job in range(1, jobs + 1)
        for rank in range(processes)
    ]
    assert sorted(number for part in parts for number in part.values()) == list(range(29))
    lengths = list(map(len, parts))
    assert max(lengths) - min(lengths) <= 1
    assert all(list(part) == sorted(part) for part in parts)


def test_the_third_of_eight():
    assert list(parse_shard("3/8").take(FILES).values()) == [2, 10, 18, 26]
    assert parse_shard(None) == Share(0, 1)
    assert parse_shard("1/1") == Share(0, 1)


@pytest.mark.parametrize(
    "shard", ["0/8", "9/8", "3", "3/0", "3/8/2", "-1/8", "3.0/8", "a/b", 3, 0.375, "", "³/8", True]
)
def test_what_is_no_part_is_refused(shard):
    with pytest.raises(UserError, match="shard="):
        parse_shard(shard)


ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def set_variables(monkeypatch, variables):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", *ADDRESS):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "", "WORLD_SIZE": ""}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, (3, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (0, 1)),  # a script of sbatch, without srun
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, (1, 2)),
    ],
)
def test_processes_of_torchrun_and_srun(variables, expected, monkeypatch):
    set_variables(monkeypatch, {**ADDRESS, **variables})
    assert detect_process()[:2] == expected
    assert detect_process().can_gather == bool(variables.get("RANK"))


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "0", "WORLD_SIZE": "2"},
        {**ADDRESS, "RANK": "3", "WORLD_SIZE": "2"},
        {**ADDRESS, "RANK": "0", "WORLD_SIZE": "0"},
        {**ADDRESS, "RANK": "x", "WORLD_SIZE": "2"},
        {"SLURM_PROCID": "-1", "SLURM_STEP_NUM_TASKS": "4"},
    ],
)
def test_variables_that_are_no_process_are_refused(variables, monkeypatch):
    set_variables(monkeypatch, variables)
    with pytest.raises(UserError, match=next(name for name in variables if name not in ADDRESS)[:4] + "|WORLD_SIZE"):
        detect_process()


def test_a_process_that_knows_no_other_gathers_its_own():
    with gather_results(Process(1, 4)) as gather:
        assert gather("x") == ["x"]
