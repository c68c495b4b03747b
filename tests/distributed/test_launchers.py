"""What srun tells of its processes, and two processes that it might have started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from two_processes import WORKER, environment, run

from mesomer.errors import MesomerError
from mesomer.training.context import Context
from mesomer.training.launchers import SlurmStep, processes

STEP = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[07-08,11]", "SLURM_PROCID": "9",
    "SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_TASKS_PER_NODE": "8(x2)", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
}  # fmt: skip


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_step_of_srun_needs_no_more_than_srun_tells(step: pytest.MonkeyPatch) -> None:
    launcher, local, nodes = processes()
    assert isinstance(launcher, SlurmStep) and (local, nodes) == (8, 2)
    ranks = launcher.world_size(), launcher.global_rank(), launcher.local_rank(), launcher.node_rank()
    assert ranks == (16, 9, 1, 1)
    assert (launcher.main_address, launcher.main_port) == ("gpu07", 19711)
    step.setenv("SLURM_STEP_ID", "1")  # another step of the same job, at the same time
    assert launcher.main_port != 19711
    step.setenv("MASTER_ADDR", "head")
    step.setenv("MASTER_PORT", "29500")
    assert (launcher.main_address, launcher.main_port) == ("head", 29500)


def test_a_job_without_srun_is_one_process(step: pytest.MonkeyPatch) -> None:
    step.delenv("SLURM_STEP_NUM_TASKS")
    step.setenv("SLURM_NTASKS", "16")
    assert processes()[1:] == (1, 1)


def test_nodes_with_different_numbers_of_processes_are_refused(step: pytest.MonkeyPatch) -> None:
    step.setenv("SLURM_STEP_TASKS_PER_NODE", "8,4")
    with pytest.raises(MesomerError, match="8,4"):
        processes()


def test_a_variable_that_is_not_there_is_named(step: pytest.MonkeyPatch) -> None:
    step.delenv("SLURM_PROCID")
    with pytest.raises(MesomerError, match="SLURM_PROCID"):
        processes()[0].global_rank()


def test_two_processes_of_srun_equal_one(tmp_path: Path) -> None:
    assert run(tmp_path / "one", 1, max_steps=4, accumulate=2) == 0
    (tmp_path / "two").mkdir()
    common = {
        "SLURM_JOB_ID": str(torch.randint(10_000, ()).item()), "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NODEID": "0", "SLURM_NTASKS": "2",
    }  # fmt: skip
    command = [sys.executable, str(WORKER), str(tmp_path / "two"), "max_steps=4"]
    started = [
        subprocess.Popen(command, env=environment() | common | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank})
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=240) for process in started] == [0, 0]
    for name, x in load_file(tmp_path / "one" / "weights-0.safetensors").items():
        for rank in (0, 1):
            found = load_file(tmp_path / "two" / f"weights-{rank}.safetensors")[name]
            torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-6)


def test_more_processes_than_gpus_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning_fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    def refuse(**_: object) -> None:
        raise MisconfigurationException("You requested gpu: [0, 1]\n But your machine only has: [0]")

    monkeypatch.setattr(lightning_fabric, "Fabric", refuse)
    with pytest.raises(MesomerError, match=r"1 processes: You requested gpu: \[0, 1\] But your machine only has"):
        Context.start("cuda")


def test_nobody_waits_for_what_is_sent_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary copy, or one from memory that is not pinned, waits until the GPU has done all that it was sent."""
    context = Context.__new__(Context)
    context.device = torch.device("cuda")
    done: list[object] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: done.append("pinned") or x)
    monkeypatch.setattr(torch.Tensor, "to", lambda x, device, non_blocking=False: done.append(non_blocking) or x)
    context.send(torch.zeros(2))
    assert done == ["pinned", True]


def test_figures_of_a_step_wait_for_that_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context.__new__(Context)
    context.device = torch.device("cuda")
    done: list[str] = []

    class Event:
        def record(self) -> None:
            done.append("marked")

        def synchronize(self) -> None:
            done.append("waited")

    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: empty(*shape, **options))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    figures = context.bring(torch.tensor([1.0, 2.0]))
    done.append("next step sent")
    assert figures() == [1.0, 2.0] and done == ["marked", "next step sent", "waited"]
