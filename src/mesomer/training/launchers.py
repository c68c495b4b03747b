"""The processes that share a training, as torchrun or srun started them; each says so in environment variables.

Lightning's own reading of SLURM stops a step that was not started with `--ntasks-per-node`; this one takes what srun
tells of every step, and wants as many processes on each node.
"""

from __future__ import annotations

import os
import re

from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from mesomer.errors import MesomerError

_FIRST_PORT, _PORTS = 15_000, 10_000  # below those that the system gives away


class SlurmStep(ClusterEnvironment):
    """One process of those that one `srun` started."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        """The first node, unless MASTER_ADDR names another."""
        nodes = os.environ.get("SLURM_STEP_NODELIST") or _said("SLURM_JOB_NODELIST")
        return os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)

    @property
    def main_port(self) -> int:
        """MASTER_PORT, or one that every process finds by itself and other jobs and steps hardly take."""
        own = int(_said("SLURM_JOB_ID")) + 97 * int(os.environ.get("SLURM_STEP_ID", "0"))
        return int(os.environ.get("MASTER_PORT") or _FIRST_PORT + own % _PORTS)

    @staticmethod
    def detect() -> bool:
        """Whether srun started this process beside others.

        A batch script that starts one process without srun has several SLURM_NTASKS, but no step.
        """
        return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1

    def world_size(self) -> int:
        return int(_said("SLURM_STEP_NUM_TASKS"))

    def global_rank(self) -> int:
        return int(_said("SLURM_PROCID"))

    def local_rank(self) -> int:
        return int(_said("SLURM_LOCALID"))

    def node_rank(self) -> int:
        return int(_said("SLURM_NODEID"))

    def set_world_size(self, size: int) -> None:
        """Nothing: srun has decided."""

    def set_global_rank(self, rank: int) -> None:
        """Nothing: srun has decided."""

    def on_each_node(self) -> int:
        """Processes on each node, which have to be equally many."""
        told = _said("SLURM_STEP_TASKS_PER_NODE")
        found = re.fullmatch(r"(\d+)(\(x\d+\))?", told)
        if found is None:
            raise MesomerError(
                f"srun started processes on its nodes in these numbers: {told}; they have to be equal.",
                "Give srun --ntasks-per-node.",
            )
        return int(found[1])


def processes() -> tuple[ClusterEnvironment, int, int]:
    """The launcher's environment, processes on this node, and nodes."""
    if TorchElasticEnvironment.detect():
        local = int(_said("LOCAL_WORLD_SIZE"))
        return TorchElasticEnvironment(), local, int(_said("WORLD_SIZE")) // local
    if SlurmStep.detect():
        step = SlurmStep()
        local = step.on_each_node()
        return step, local, step.world_size() // local
    return LightningEnvironment(), 1, 1


def _said(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise MesomerError(f"This process was started beside others, but its environment has no {name}.")
    return value
