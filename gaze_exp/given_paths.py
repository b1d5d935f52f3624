"""What a command names and is not there, said before anything heavy is imported and any weight is fetched."""

from pathlib import Path

from omegaconf import DictConfig

from gaze_exp.data.splits import nothing_found
from gaze_exp.errors import DataError

_READS_A_CHECKPOINT = {"evaluate", "export", "predict"}


def refuse_missing(cfg: DictConfig) -> None:
    """Refuse a run whose data folder or checkpoint is not there; whatever else may be wrong with them is seen later.

    Args:
        cfg: the run, checked.

    Raises:
        DataError: with the path, and what would be right.
    """
    is_crops = str(cfg.data.get("_target_", "")).endswith(".CropDataModule")
    if "train" in cfg.actions and is_crops and not (root := Path(cfg.data.root).expanduser()).is_dir():
        raise DataError(nothing_found(root, cfg.data.camera))
    if _READS_A_CHECKPOINT & {*cfg.actions} and cfg.checkpoint and not Path(cfg.checkpoint).exists():
        raise DataError(no_checkpoint(Path(cfg.checkpoint)))


def no_checkpoint(path: Path) -> str:
    """What is said of a checkpoint that is not there."""
    return f"{path}: there is no such checkpoint; those of a run lie in RUN/checkpoints/*.ckpt"
