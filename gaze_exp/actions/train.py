"""Train a model on a data set; leave checkpoints, curves and pictures in the run folder."""

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gaze_exp import assemble, loggers, record
from gaze_exp.config import build, plain
from gaze_exp.errors import ConfigError
from gaze_exp.hardware import Hardware, split, steps_per_epoch
from gaze_exp.processes import requeue

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Train, and return the best validation error.

    Args:
        cfg: the run.

    Returns:
        Best mean angular error on the validation persons, degrees.
    """
    import lightning

    machine = assemble.machine_of(cfg)
    batches = split(machine, cfg.global_batch)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    assemble.take_over_frame_model(cfg)
    model = build(cfg.model, key="model")  # first: weights that cannot be had should not wait for the data
    data = assemble.data_of(cfg, machine, device_batch=batches.device_batch)
    module = assemble.module_of(cfg, machine, data, model=model)
    num_batches = assemble.whole_steps(data, batches)
    steps = steps_per_epoch(batches, num_batches=num_batches, limit=cfg.trainer.get("limit_train_batches", 1.0))
    trainer = assemble.trainer_of(cfg, machine, batches, num_batches=num_batches)
    num_parameters = sum(p.numel() for p in module.model.parameters())
    log.info(
        "train: %s, %.2f M parameters, on %s (%s); %s, %s steps an epoch",
        type(module.model).__name__, num_parameters / 1e6, machine.accelerator, machine.precision, batches,
        "no known number of" if steps is None else steps,
    )  # fmt: skip
    described = record.describe(assemble.overrides_of_run()) | {
        "hardware": vars(machine), "batch": vars(batches) | {"steps_per_epoch": steps},
        "num_parameters": num_parameters, "data": data.summary(), "config": plain(cfg),
    }  # fmt: skip
    if trainer.is_global_zero:
        record.write_run(Path(cfg.run_dir, "run.json"), described)
    started = time.monotonic()
    _fit(cfg, machine, trainer, module=module, data=data)
    _leave_other_ranks(trainer)
    loggers.finish(trainer.loggers)
    return _finish(trainer, seconds=time.monotonic() - started)


def _fit(cfg: DictConfig, machine: Hardware, trainer: Any, *, module: Any, data: Any) -> None:
    from gaze_exp.processes.rank_watch import lost_peer
    from gaze_exp.processes.strategy import meet_after_restart

    folder = Path(cfg.run_dir)
    try:
        meet_after_restart(machine)
        with requeue.training():
            trainer.fit(module, datamodule=data, ckpt_path=_resume_from(cfg))
    except RuntimeError as error:
        lost = lost_peer(error, folder=folder)
        if lost is None:
            raise
        raise lost from error
    except SystemExit as ended:
        if ended.code == requeue.SAVED:
            raise
        _say_how_to_go_on(folder)  # Lightning's answer to Ctrl-C, after an orderly end
        sys.exit(130)


def _leave_other_ranks(trainer: Any) -> None:
    """End the group and every process but the first: what follows training is done once, on all rows."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
    if not trainer.is_global_zero:
        sys.exit(0)


def _say_how_to_go_on(folder: Path) -> None:
    if (folder / "checkpoints" / "last.ckpt").is_file():
        log.warning("train: stopped before its end; go on with: %s -m gaze_exp resume=%s", record.python(), folder)
    else:
        log.warning("train: stopped before the first checkpoint; nothing is kept in %s", folder)


def _finish(trainer: Any, *, seconds: float) -> float:
    best = trainer.checkpoint_callback
    if best.best_model_score is None:
        raise ConfigError(
            "trainer: no validation took place; trainer.max_epochs of 1 or more, and limits above 0, would be right"
        )
    if not math.isfinite(best.best_model_score):
        raise ConfigError(
            "optim.lr: training diverged, no validation gave a number; a smaller one, "
            "or trainer.gradient_clip_val=1.0, would be right"
        )
    if trainer.early_stopping_callback.stopping_reason_message:
        why = trainer.early_stopping_callback.stopping_reason_message.partition(" Signaling")[0]
        log.info("train: stopped before trainer.max_epochs=%d: %s", trainer.max_epochs, why)
    log.info(
        "train: best val angular error %.2f deg after %d steps in %.1f min -> %s",
        best.best_model_score, trainer.global_step, seconds / 60, best.best_model_path,
    )  # fmt: skip
    return float(best.best_model_score)


def _resume_from(cfg: DictConfig) -> str | None:
    if not cfg.resume:
        return None
    path = Path(cfg.resume)
    path = path if path.suffix == ".ckpt" else path / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise ConfigError(f"resume: {path} is not there; a run folder or a .ckpt is right")
    log.info("train: going on from %s", path)
    return str(path)
