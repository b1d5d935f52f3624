"""Run our code and its rivals side by side, and append what was measured to a Markdown file."""

import importlib
import inspect
import itertools
import logging
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gaze_exp import assemble, record
from gaze_exp.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Run the benchmarks that `benchmark.names` lists, each a module of `gaze_exp.benchmarks`."""
    machine = assemble.machine_of(cfg)
    described = record.describe(assemble.overrides_of_run())
    for name in cfg.benchmark.names:
        try:
            module = importlib.import_module(f"gaze_exp.benchmarks.{name}")
        except ModuleNotFoundError as error:
            folder = Path(__file__).parents[1] / "benchmarks"
            known = ", ".join(sorted(p.stem for p in folder.glob("[a-z]*.py")))
            raise ConfigError(f"benchmark.names: {name!r} is none; {known} are") from error
        needs = inspect.signature(module.run).parameters
        inputs = {"checkpoint": cfg.checkpoint, "detector": cfg.faces.detector}
        rows = module.run(machine, **{name: value for name, value in inputs.items() if name in needs})
        text = section(name, rows, described)
        log.info("%s", text)
        if cfg.benchmark.log:
            with Path(cfg.benchmark.log).open("a", encoding="utf-8") as file:
                file.write(text)


def section(name: str, rows: list[dict[str, Any]], described: dict[str, Any]) -> str:
    """One benchmark's rows as a Markdown section.

    Args:
        name: of the benchmark.
        rows: dicts whose keys are the columns; where they change, a new table begins.
        described: from `record.describe`.
    """
    where = described["machine"]
    commit = (described["code"]["commit"] or "installed package")[:10]
    changed = " with changes" if described["code"]["diff"] else ""
    head = [
        f"\n## {name}, {time.strftime('%Y-%m-%d')}\n",
        f"`{described['command']}`, commit {commit}{changed}, {where['cpu']}, {where['cores']} cores, "
        f"{', '.join(where['gpus']) or 'no GPU'}, torch {described['versions']['torch']}\n",
    ]
    tables = [_table(columns, list(same)) for columns, same in itertools.groupby(rows, key=tuple)]
    return "\n".join(head + tables)


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    """Rows with the same columns as a Markdown table."""
    lines = [" | ".join(columns), "|".join(["---"] * len(columns))]
    lines += [" | ".join(str(row[column]) for column in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n"
