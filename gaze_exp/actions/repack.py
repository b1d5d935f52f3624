"""Rewrite crop files of any layout into the one that reads at memory speed."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from gaze_exp.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Rewrite every crop file below `data.root` into `repack.to`, keeping the folders.

    Args:
        cfg: the run; `repack.to` equal to `data.root` replaces the slow files in place.
    """
    from gaze_exp.data.repack import repack_root

    if not cfg.repack.to:
        raise ConfigError("repack.to: nothing given; a new folder for the rewritten files is right")
    if Path(cfg.repack.to).resolve() == Path(cfg.data.root).resolve():
        log.info("repack: the slow files in %s are replaced, each once its new one is whole", cfg.data.root)
    for done in repack_root(Path(cfg.data.root), Path(cfg.repack.to)):
        what = f"was {done.was}, {done.seconds:.1f} s" if done.seconds else "fast already"
        log.info("repack: %s (%d rows, %s)", done.target, done.num_rows, what)
    log.info("repack: done; read the new files with data.root=%s", cfg.repack.to)
