"""What a command names and is not there, said before anything heavy is imported and any weight is fetched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gaze_exp.data.splits import nothing_found
from gaze_exp.errors import DataError

_READS_A_CHECKPOINT = {"evaluate", "export", "predict"}


def refuse_missing(config: Mapping[str, Any]) -> None:
    """Refuse a run whose data folder or checkpoint is not there; whatever else may be wrong with them is seen later.

    Args:
        config: of the run, checked and resolved.

    Raises:
        DataError: with the path, and what would be right.
    """
    actions, data, checkpoint = {*config["actions"]}, config["data"], config["checkpoint"]
    is_crops = str(data.get("_target_", "")).endswith(".CropDataModule")
    if "train" in actions and is_crops and not (root := Path(data["root"]).expanduser()).is_dir():
        raise DataError(nothing_found(root, data["camera"]))
    if _READS_A_CHECKPOINT & actions and checkpoint and not Path(checkpoint).exists():
        raise DataError(no_checkpoint(Path(checkpoint)))


def no_checkpoint(path: Path) -> str:
    """What is said of a checkpoint that is not there."""
    return f"{path}: there is no such checkpoint; those of a run lie in RUN/checkpoints/*.ckpt"
