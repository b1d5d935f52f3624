"""Rewrite crop files of any layout into the one that reads at memory speed."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from gaze_exp.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Rewrite every crop file below `data.root` into `repack.to`, keeping the folders."""
    from gaze_exp.data.repack import repack_root

    if not cfg.repack.to:
        raise ConfigError("repack.to: nothing given; a new folder for the rewritten files is right")
    repack_root(Path(cfg.data.root), Path(cfg.repack.to), camera=cfg.data.get("camera", "basler"))
