"""Loggers that need a decision before they start."""

import hashlib
import logging
import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, WandbLogger

log = logging.getLogger(__name__)


def wandb_logger(
    *,
    project: str = "eve-gaze",
    name: str | None = None,
    save_dir: str = ".",
    mode: Literal["auto", "online", "offline", "disabled"] = "auto",
) -> "WandbLogger":
    """Make a W&B logger that never asks: online with a key, otherwise offline and said so.

    Args:
        project: W&B project.
        name: name of the run there; W&B makes one up for None.
        save_dir: the run folder; W&B writes below `wandb/`.
        mode: `auto` looks for a key and honours WANDB_MODE.
    """
    from lightning.pytorch.loggers import WandbLogger

    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")  # type: ignore[assignment]
    os.environ["WANDB_MODE"] = mode
    os.environ.setdefault("WANDB_SILENT", "true")
    if mode == "offline":
        why = "" if _has_key() else " (no key was found)"
        log.info("W&B: written offline%s; send it with: wandb sync %s/offline-run-*", why, Path(save_dir, "wandb"))
    folder = str(Path(save_dir).resolve())
    run_id = hashlib.sha256(folder.encode()).hexdigest()[:12]  # the folder's own: a resumed run goes on there
    logger = WandbLogger(
        project=project, name=name, save_dir=save_dir, offline=mode == "offline", log_model=False,
        id=run_id, resume="allow",
    )  # fmt: skip
    logger._wandb_init.pop("anonymous", None)  # which W&B no longer knows, and warns of
    return logger


def finish(loggers: "list[Logger]") -> None:
    """End the W&B runs among some loggers: the next training in this process gets one of its own."""
    from lightning.pytorch.loggers import WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
