"""Read the config, check it, run the actions it names."""

import importlib
import logging
import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from gaze_exp.command_line import explain, python_path_of_here, rewrite
from gaze_exp.config import check, conf_dir, register_schema, remove_if_empty
from gaze_exp.errors import ConfigError, DataError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Run the actions of a config in order.

    Returns:
        The last objective an action reports (mean angular error in degrees), for sweeps.
    """
    try:
        check(cfg)
        objective = None
        for name in cfg.actions:
            result = importlib.import_module(f"gaze_exp.actions.{name}").run(cfg)
            objective = objective if result is None else result
    except (ConfigError, DataError):
        remove_if_empty(Path(cfg.run_dir))
        raise
    return objective


def main() -> None:
    """Entry point of `python -m gaze_exp` and of the console script `gaze-exp`."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    python_path_of_here()
    wants_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors reach us instead of Hydra's own printer
    register_schema()
    try:
        sys.argv[1:] = rewrite(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")(run)()
    except (ConfigError, DataError, HydraException, OmegaConfBaseException) as error:
        if wants_trace:
            raise
        ours = isinstance(error, (ConfigError, DataError))
        sys.stderr.write(f"error: {error if ours else explain(error, sys.argv[1:])}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
