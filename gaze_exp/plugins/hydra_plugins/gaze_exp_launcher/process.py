"""Hydra's door to our launcher. No `from __future__ import annotations` here: Hydra's scan of plugins chokes on it."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ProcessLauncher(Launcher):
    """Run every job of a sweep as the command that a person would type, in a process of its own.

    Args:
        num_slots: jobs at a time.
    """

    def __init__(self, num_slots: int = 1) -> None:
        self.num_slots = num_slots

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives; the task function is left, since each job's process has its own."""
        del task_function
        self.context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and return when all have ended.

        Args:
            job_overrides: what is asked of each.
            initial_job_idx: number of the first.
        """
        from gaze_exp.sweep.multirun import launch

        return launch(self.config, self.context, job_overrides, first=initial_job_idx, num_slots=self.num_slots)
