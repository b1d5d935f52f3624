"""What a job of a sweep is, apart from where and when it runs."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

NOT_THE_RESULT = ("run_dir", "resume", "hardware", "logger", "leaderboard", "benchmark", "run_name")
"""Parts of a config whose files may change without changing a run's numbers. As overrides they count."""
NOT_THE_JOB = ("sweep.resume=",)
"""Overrides that are for the sweep, not for its jobs."""


def job_overrides(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides of a sweep's job that are its own."""
    return tuple(each for each in overrides if not each.startswith(NOT_THE_JOB))


def key_of(overrides: Sequence[str], config: dict[str, Any]) -> str:
    """Sixteen letters that two jobs share exactly when they are the same job.

    Args:
        overrides: of the job, in any order.
        config: what they resolve to; a file of configs that was edited in between makes another job of it.
    """
    bearing = {name: value for name, value in config.items() if name not in NOT_THE_RESULT}
    if isinstance(bearing.get("sweep"), dict):
        bearing["sweep"] = {name: value for name, value in bearing["sweep"].items() if name != "resume"}
    content = [sorted(job_overrides(overrides)), bearing]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
