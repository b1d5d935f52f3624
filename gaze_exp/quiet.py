"""Silence for what libraries only repeat, or warn of where all is well."""

import logging
import warnings

import lightning  # noqa: F401  (its own log handler must exist before it can be cleared)


def quieten() -> None:
    """Leave in the log what a person can act upon."""
    # Under Hydra every line of Lightning's would come twice: by its own handler and by the root's.
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # resumed
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message="Found .* in eval mode at the start of training")  # frozen batch norm
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*optimizer.step.*")
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log\\('train/loss'")  # is done: the mean
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
