"""Write rendered people into a folder, in the layout that is asked for, and show what they look like."""

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from gaze_exp.config import plain
from gaze_exp.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Write `layout` with `persons`, `frames` and `seed` into `data.root`; the same command again goes on.

    Args:
        cfg: the run; the `synthetic` block holds what belongs to one layout.

    Raises:
        ConfigError: a plan that makes no sense.
        DataError: a folder that cannot or must not be written.
    """
    from gaze_exp.data.synthetic.contact_sheet import write_contact_sheet
    from gaze_exp.data.synthetic.layouts import write_set
    from gaze_exp.data.synthetic.set_plan import DEFAULT_FRAMES, SetPlan

    frames = cfg.frames if cfg.frames is not None else DEFAULT_FRAMES.get(cfg.layout, cfg.synthetic.targets)
    try:
        plan = SetPlan(layout=cfg.layout, persons=cfg.persons, frames=frames, seed=cfg.seed, **plain(cfg.synthetic))
    except TypeError as error:
        raise ConfigError(f"synthetic: {error}; --cfg job shows which keys there are") from error
    root = Path(cfg.data.root).expanduser()
    try:
        write_set(root, plan)
    except KeyboardInterrupt:
        log.warning("synthetic: stopped; what is whole is kept in %s, and the same command goes on", root)
        sys.exit(130)
    log.info("synthetic: contact sheet: %s", write_contact_sheet(root, layout=plan.layout))
