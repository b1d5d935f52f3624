"""Convert a copy of the EVE release into crop files."""

import logging
import sys

from omegaconf import DictConfig

from gaze_exp.config import plain

log = logging.getLogger(__name__)

_SETTINGS = (
    "source", "root", "camera", "persons", "workers", "sample_hz", "face_size", "eye_size", "swap_halves", "strict",
)  # fmt: skip


def run(cfg: DictConfig) -> None:
    """Convert `data.source` into `data.root`; the same command again goes on where it was stopped.

    Args:
        cfg: the run; the `data` block says what to convert.

    Raises:
        ConfigError: no source, or settings that make no sense.
        DataError: a source or a disk that will not do.
    """
    from gaze_exp.data.sources.eve_official import preparation
    from gaze_exp.data.sources.eve_prepare import MANIFEST, prepare

    data = plain(cfg.data)
    plan = preparation(**{name: data[name] for name in _SETTINGS})
    try:
        told = prepare(plan)
    except KeyboardInterrupt:
        log.warning("eve: stopped; what is whole is kept in %s, and the same command goes on", plan.root)
        sys.exit(130)
    log.info("eve: %s (hash %s)", plan.root / MANIFEST, told["hash"][:16])
    log.info("eve: train on it with task=eve_baseline data.root=%s", plan.root)
