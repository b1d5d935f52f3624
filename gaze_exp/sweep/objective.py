"""The one number of a job by which a sweep ranks it."""

import json
import math
from pathlib import Path
from typing import Any

from gaze_exp.errors import ConfigError, DataError


def choose(objectives: dict[str, float], *, wanted: str, folder: Path) -> float | None:
    """The number that a sweep asks for.

    Args:
        objectives: action -> the number it reports, degrees, in the order they ran.
        wanted: `auto` is the best validation error where the job trains (choosing by the error on test persons
            would make them no test), else the last number reported; or an action's name; or a dotted key of
            `metrics.json`.
        folder: of the run.

    Returns:
        The number; None with `auto` where no action has one.

    Raises:
        ConfigError: there is nothing by that name.
        DataError: it is no finite number.
    """
    if wanted == "auto":
        value: Any = objectives.get("train", next(reversed(objectives.values()), None))
    else:
        value = objectives.get(wanted, _of_metrics(folder / "metrics.json", wanted))
        if value is None:
            known = ", ".join([*objectives, "auto"])
            raise ConfigError(
                f"sweep.objective: {wanted!r} is no action with a number and no key of {folder}/metrics.json; "
                f"{known}, or a dotted key such as median, would be right"
            )
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"sweep.objective: {wanted} is {value!r}, no number to rank by; another would be right")
    return float(value)


def _of_metrics(path: Path, dotted: str) -> Any:
    node: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in dotted.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node
