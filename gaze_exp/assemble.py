"""From a config to the objects of a run: data, module, trainer."""

import logging
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gaze_exp import checkpoint, hardware
from gaze_exp.config import build, hardware_of, plain, rebuild, without_weights
from gaze_exp.errors import ConfigError
from gaze_exp.hardware import BatchSplit, Hardware
from gaze_exp.processes import ranks, requeue

if TYPE_CHECKING:
    from lightning import LightningDataModule, Trainer
    from torch import nn

    from gaze_exp.checkpoint import Checkpoint
    from gaze_exp.lightning_module import GazeModule

log = logging.getLogger(__name__)

DECIDED_ELSEWHERE = {"batch_size": "global_batch", "num_workers": "hardware.num_workers", "seed": "seed"}


def machine_of(cfg: DictConfig) -> Hardware:
    """Resolve the machine, and set what is global to a process."""
    import torch

    launch = ranks.found()
    asked = hardware.launched(
        hardware_of(cfg), launcher=launch.launcher, per_node=launch.per_node, num_nodes=launch.num_nodes
    )
    machine = hardware.resolve(asked)
    if asked.accelerator == "auto":
        _say_once(hardware.say_what_was_chosen(asked, machine), run_dir=cfg.run_dir)
    if machine.tf32:
        torch.set_float32_matmul_precision("high")
    return machine


@cache
def _say_once(text: str, *, run_dir: str) -> None:
    """Every action of a run asks for the machine; the user wants to hear of it once."""
    del run_dir
    log.info(text)


def data_of(
    cfg: DictConfig,
    machine: Hardware,
    *,
    device_batch: int = 1,
    saved: "Checkpoint | None" = None,
    reader: "Checkpoint | None" = None,
) -> Any:
    """Build and set up the data module.

    Args:
        cfg: the run.
        machine: resolved.
        device_batch: training samples a device takes at once.
        saved: a checkpoint whose own data is used where the command line chooses none.
        reader: another checkpoint, which is to read the same data in windows as long as those of its training.

    Returns:
        A data module after `prepare_data` and `setup`, for reading outside a Trainer.

    Raises:
        DataError: as the data module says.
    """
    from gaze_exp.quiet import quieten  # imports Lightning, which a data module needs and other actions can do without

    quieten()
    node = cfg.data if saved is None else chosen_data(cfg, saved)
    if reader is not None:
        lengths = ("sequence_length", "eval_sequence_length")
        node = OmegaConf.merge(node, {name: reader.config["data"].get(name) for name in lengths if name in node})
    for name, right in DECIDED_ELSEWHERE.items():
        if name in node:
            raise ConfigError(f"data.{name}: is decided elsewhere; {right} would be right")
    data: LightningDataModule = build(
        node, key="data", batch_size=device_batch, num_workers=machine.num_workers, seed=cfg.seed
    )
    with ranks.first_goes_first("data") if saved is None else nullcontext():
        data.prepare_data()
    data.setup("fit" if saved is None else "test")
    return data


def chosen_data(cfg: DictConfig, saved: "Checkpoint") -> DictConfig:
    """The checkpoint's data, unless the command line names a data group or a task."""
    overrides = overrides_of_run()
    if "train" in cfg.actions or any(o.startswith(("data=", "task=")) for o in overrides):
        if not any(o.startswith("sequence_length=") for o in overrides):
            cfg.sequence_length = saved.config.get("sequence_length", 1)
        return cfg.data
    node = OmegaConf.create(saved.config["data"])
    for key in (o.lstrip("+").partition("=")[0] for o in overrides if o.lstrip("+").startswith("data.")):
        OmegaConf.update(node, key.removeprefix("data."), OmegaConf.select(cfg, key))
    return node


def overrides_of_run() -> list[str]:
    """What the command line changed; empty outside a Hydra run."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def saved_of(cfg: DictConfig) -> "Checkpoint":
    """The checkpoint that the config names, else the best of this run."""
    if cfg.checkpoint and any(o.startswith("model") for o in overrides_of_run()):
        raise ConfigError("model: a checkpoint brings its own model; drop the model override")
    named = Path(cfg.checkpoint or cfg.run_dir)
    if not cfg.checkpoint and not (named / "checkpoints").is_dir():
        raise ConfigError("checkpoint: nothing given; a run folder, or a .ckpt in RUN/checkpoints, would be right")
    return checkpoint.load(named)


def model_of(saved: "Checkpoint") -> "nn.Module":
    """The trained model, rebuilt from the checkpoint alone, on the CPU and in evaluation."""
    return saved.load_into(rebuild(saved.config, "model"))


def module_of(cfg: DictConfig, machine: Hardware, data: Any, *, model: "nn.Module") -> "GazeModule":
    """The module to train, with what its checkpoints shall carry.

    A model that took options from a file of weights says by `rebuild_options` what they came to: a checkpoint
    has to make it again without that file.
    """
    from gaze_exp.lightning_module import GazeModule

    _refuse_other_reading(model, length=getattr(data, "sequence_length", 1))
    config = plain(cfg)
    config["model"] |= getattr(model, "rebuild_options", {})
    seen_before = checkpoint.load(path).train_subjects if (path := cfg.model.get("frame_checkpoint")) else []
    provenance = {
        "config": config,
        "train_subjects": sorted({*data.train.subjects, *seen_before}),
        "train_mean_gaze": [float(x) for x in data.train_mean_gaze],
        "crop_sizes": [data.train.face_size[0], data.train.eye_size[0]],
    }
    module = GazeModule(
        model,
        loss=build(cfg.loss, key="loss"),
        augment=build(cfg.augment, key="augment"),
        optim=build(cfg.optim, key="optim"),
        seed=cfg.seed,
        provenance=provenance,
        channels_last=machine.channels_last,
        sync_batchnorm=machine.sync_batchnorm,
    )
    if machine.compile:
        module.model.compile()  # keeps the names of the weights; torch.compile(model) would not
    return module


def take_over_frame_model(cfg: DictConfig) -> None:
    """Let a temporal model be built on the single-frame model that its `frame_checkpoint` holds.

    Args:
        cfg: the run, in which that model's config takes the place of `model.frame_model`.
    """
    named = cfg.model.get("frame_checkpoint")
    if not named:
        return
    saved = checkpoint.load(named)
    OmegaConf.update(cfg, "model.frame_model", without_weights(saved.config["model"]), merge=False)
    cfg.model.frame_checkpoint = str(saved.path.resolve())


def _refuse_other_reading(model: "nn.Module", *, length: int) -> None:
    """Refuse single frames for a model that goes on from frame to frame, and windows for one that cannot read them."""
    name = type(model).__name__
    if hasattr(model, "go_on") and length == 1:
        raise ConfigError(f"sequence_length: 1 gives single frames, and {name} reads windows; 16 would be right")
    if length > 1 and not getattr(model, "reads_sequences", False):
        raise ConfigError(
            f"sequence_length: {length} gives windows, and {name} reads single frames; 1, or a model around it "
            "(task=eve_temporal), would be right"
        )


def whole_steps(data: Any, batches: BatchSplit) -> int | None:
    """Training batches of a device in an epoch, such that its last step is as large as the others.

    Without it, an epoch would have a step more, and a weaker one, where batches are accumulated than where not.

    Args:
        data: set up, outside of any group of processes.
        batches: how the global batch is spread.

    Returns:
        Number of batches; None where that is not known beforehand.

    Raises:
        ConfigError: the global batch is more than there are training rows.
    """
    loader = data.train_dataloader()
    try:
        num_batches = None if isinstance(loader, (list, dict)) else len(loader)
    except TypeError:  # of a stream
        num_batches = None
    if num_batches is None:
        return None
    at_once = batches.num_devices * batches.accumulate
    if num_batches < at_once:
        global_batch = batches.device_batch * at_once
        raise ConfigError(f"global_batch: {global_batch} is more than there are training rows; a smaller one is right")
    return num_batches // at_once * batches.accumulate


def trainer_of(cfg: DictConfig, machine: Hardware, batches: BatchSplit, *, num_batches: int | None = None) -> "Trainer":
    """The Trainer with its loggers and callbacks.

    Args:
        cfg: the run.
        machine: resolved.
        batches: how the global batch is spread.
        num_batches: of an epoch, from `whole_steps`.
    """
    from gaze_exp.checkpoint_writer import CheckpointWriter
    from gaze_exp.processes.strategy import strategy_of

    limited = cfg.trainer.get("limit_train_batches", 1.0) != 1.0 or num_batches is None
    loggers = [build(node, key=f"logger.{name}") for name, node in (cfg.logger or {}).items()]
    return build(
        cfg.trainer,
        key="trainer",
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.num_nodes,
        strategy=strategy_of(machine),
        precision=machine.precision,
        accumulate_grad_batches=batches.accumulate,
        logger=loggers,
        callbacks=_callbacks(cfg),
        plugins=[CheckpointWriter(), *_cluster()],
        default_root_dir=cfg.run_dir,
        **({} if limited else {"limit_train_batches": num_batches}),
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        use_distributed_sampler=False,  # our loaders know their rank
    )


def _cluster() -> list[Any]:
    """SLURM without Lightning's own requeue; `requeue` says why."""
    if ranks.found().launcher != "slurm":
        return []
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)]


def _callbacks(cfg: DictConfig) -> list[Any]:
    from lightning.pytorch.callbacks import (
        EarlyStopping,
        LearningRateMonitor,
        ModelCheckpoint,
        RichProgressBar,
    )

    from gaze_exp.callbacks import History, PlainProgress, ValidationPictures
    from gaze_exp.processes.rank_watch import RankWatch

    folder = Path(cfg.run_dir)
    best = ModelCheckpoint(
        dirpath=folder / "checkpoints",
        filename="epoch{epoch}-val_angular_error{val/angular_error:.2f}",
        auto_insert_metric_name=False,
        monitor="val/angular_error",
        save_top_k=cfg.keep_checkpoints,
        save_last=True,
    )
    stop = EarlyStopping("val/angular_error", patience=cfg.early_stopping_patience, verbose=False)
    progress = RichProgressBar() if sys.stdout.isatty() else PlainProgress()
    # The curves stand before the checkpoint, so that a checkpoint holds the row of its own validation.
    callbacks = [
        History(folder / "history.json"),
        ValidationPictures(folder / "pictures"),
        stop,
        progress,
        RankWatch(folder),
        best,
    ]
    if requeue.is_listening():
        from gaze_exp.processes.save_at_signal import SaveAtSignal

        callbacks.append(SaveAtSignal(folder / "checkpoints"))
    return callbacks + ([LearningRateMonitor("step")] if cfg.logger else [])
