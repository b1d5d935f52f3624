"""Train several models on the same people with the same budget, and rank them on one page."""

import hashlib
import json
import logging
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gaze_exp import assemble, record
from gaze_exp.atomic_write import atomic_write
from gaze_exp.config import build, compose, plain
from gaze_exp.errors import ConfigError, DataError
from gaze_exp.leaderboard import Row, is_finished, page, read_row, verdict

if TYPE_CHECKING:
    from gaze_exp.hardware import Hardware
    from gaze_exp.leaderboard import Speed

log = logging.getLogger(__name__)

NOT_THE_RESULT = ("run_dir", "hardware", "logger", "leaderboard", "benchmark", "run_name")
"""Parts of a config that leave a run's numbers as they are."""


@dataclass(frozen=True)
class Run:
    """One model with one seed."""

    name: str
    overrides: tuple[str, ...]
    folder: Path


def run(cfg: DictConfig) -> None:
    """Run what is not finished, unless that is forbidden, and write the page.

    Args:
        cfg: the run; `cfg.leaderboard` says which models, seeds and epochs.

    Raises:
        ConfigError: a name without a row.
        DataError: a run that failed, while the others were finished and are on the page; or none to rank.
    """
    board = cfg.leaderboard
    machine = assemble.machine_of(cfg)
    runs = plan(board, also=[o for o in assemble.overrides_of_run() if o.startswith("hardware")])
    failed = _run_all(runs) if board.train else {}
    there = {name: [run.folder for run in runs if run.name == name and is_finished(run.folder)] for name in board.names}
    finished = {name: folders for name, folders in there.items() if folders and name not in failed}
    if not finished and not failed:
        raise DataError(f"leaderboard.train: false, and nothing is finished in {board.folder}; true would be right")
    rows = [read_row(name, folders, typed=plain(board.rows[name])) for name, folders in finished.items()]
    if rows:
        speeds = _speeds({name: folders[0] for name, folders in finished.items()}, machine)
        text = page(rows, speeds=speeds, ours=plain(board.ours), told=_told(board, rows), failed=failed)
        with atomic_write(Path(board.page)) as temporary:
            temporary.write_text(text, encoding="utf-8")
        log.info("leaderboard: %s", verdict(sorted(rows, key=lambda row: row.mean_deg), ours=plain(board.ours)))
        log.info("leaderboard: written to %s", board.page)
    if failed:
        raise DataError("leaderboard: " + "; ".join(f"{name}: {why}" for name, why in failed.items()))


def plan(board: DictConfig, *, also: list[str]) -> list[Run]:
    """Every run of a board, seed by seed, so that a board cut short has all models with fewer seeds.

    Args:
        board: the `leaderboard` block.
        also: overrides that every run gets beside those of the block.

    Raises:
        ConfigError: a name without a row, or no seed.
    """
    unknown = [name for name in board.names if name not in board.rows]
    if unknown or not board.seeds or not board.names or not board.ours:
        what = (
            f"names: {unknown[0]!r} has no row; one of {', '.join(board.rows)}"
            if unknown
            else "names, seeds, ours: empty"
        )
        raise ConfigError(f"leaderboard.{what}, or leaderboard.rows.NAME=[...], would be right")
    budget = [f"trainer.max_epochs={board.epochs}", f"early_stopping_patience={board.epochs}"]
    told = {name: (*board.common, *budget, *board.rows[name]) for name in board.names}
    digests = {name: digest(overrides) for name, overrides in told.items()}
    return [
        Run(name, (*overrides, f"seed={seed}", *also), Path(board.folder, f"{name}_seed{seed}_{digests[name]}"))
        for seed in board.seeds
        for name, overrides in told.items()
    ]


def digest(overrides: tuple[str, ...]) -> str:
    """Ten letters for what a command means: every value it resolves to that bears on its numbers."""
    resolved = plain(compose([*overrides, "run_dir=."]))
    bearing = {key: value for key, value in resolved.items() if key not in NOT_THE_RESULT}
    return hashlib.sha256(json.dumps(bearing, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _run_all(runs: list[Run]) -> dict[str, str]:
    """Run what is missing; name -> why, of the models of which a run failed."""
    waiting = [each for each in runs if not is_finished(each.folder)]
    log.info("leaderboard: %d runs, %d of them finished before", len(runs), len(runs) - len(waiting))
    failed: dict[str, str] = {}
    started = time.monotonic()
    for number, each in enumerate(waiting):
        if each.name in failed:
            continue
        left = (time.monotonic() - started) / max(number, 1) * (len(waiting) - number) / 60
        log.info("leaderboard: %s%s", each.folder.name, f" (about {left:.0f} min left)" if number else "")
        why = _run_one(number, each)
        if why:
            failed[each.name] = why
            log.warning("leaderboard: %s failed: %s", each.name, why)
    return failed


def _run_one(number: int, each: Run) -> str | None:
    """Run the command that a person would type, as a sweep runs a job; None when it went well, else why not."""
    from gaze_exp.sweep.job import Job, command, run_job

    overrides = (*each.overrides, "actions=[train,evaluate,export]")
    job = Job(number, each.folder, overrides, key=each.folder.name)
    typed = shlex.join(command(job)[1:])
    outcome = run_job(job)
    if is_finished(each.folder):
        return None
    return f"{outcome.why or 'it ended without its results'} (python {typed})"


def _speeds(folders: dict[str, Path], machine: "Hardware") -> "dict[str, Speed]":
    """Train a few more steps of one run of each model, and ask its ONNX file."""
    import torch

    from gaze_exp.benchmarks.zoo_speed import Trained, measure

    models = {}
    for name, folder in folders.items():
        saved = OmegaConf.create(json.loads((folder / "run.json").read_text(encoding="utf-8"))["config"])
        data = assemble.data_of(saved, machine, device_batch=min(saved.global_batch, machine.max_device_batch))
        model = build(saved.model, key="model")
        optimizer, _ = build(saved.optim, key="optim")(model.parameters(), total_steps=1000, steps_per_epoch=100)
        models[name] = Trained(
            model=model,
            loss=build(saved.loss, key="loss"),
            augment=build(saved.augment, key="augment"),
            optimizer=optimizer,
            batch=next(iter(data.train_dataloader())),
            asked=next(iter(data.val_dataloader())),
            onnx=folder / "model.onnx",
        )
    return measure(models, device=torch.device("cuda" if machine.accelerator == "gpu" else "cpu"))


def _told(board: Any, rows: list[Row]) -> list[str]:
    described = record.describe(assemble.overrides_of_run())
    where, commit = described["machine"], (described["code"]["commit"] or "installed package")[:10]
    seeds = len(board.seeds)
    lacking = [f"{row.name} {len(row.errors_deg)}" for row in rows if len(row.errors_deg) < seeds]
    fewer = f" ({', '.join(lacking)} so far)" if lacking else ""
    return [
        f"`{described['command']}`, {time.strftime('%Y-%m-%d')}, commit {commit}"
        f"{' with changes' if described['code']['diff'] else ''}, {where['cpu']}, {where['cores']} cores, "
        f"{', '.join(where['gpus']) or 'no GPU'}.",
        "",
        f"All were trained from random numbers on the same rendered people for {board.epochs} epoch(s), "
        f"{rows[0].num_samples:,} samples, with {seeds} seed(s){fewer}, and told `{shlex.join(board.common)}`. The "
        f"error is on {len(rows[0].per_person_deg)} persons whom none has seen, mean over seeds. "
        "`against our baseline` is positive where the baseline is better; its interval draws persons. Training "
        "speed is augmentation, forward, backward and optimiser step, the median of five in turn; latency is one "
        "frame through onnxruntime on one thread, the least of five. They are rendered people: the order on real "
        "ones may differ.",
    ]
