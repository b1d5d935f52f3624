"""The configuration: its root types, how it is composed, checked and built.

With `command_line` and the actions the only place that knows Hydra. Nothing here imports torch: a config
error answers before the second is over.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from gaze_exp.errors import ConfigError
from gaze_exp.given_paths import refuse_missing
from gaze_exp.hardware import Hardware
from gaze_exp.processes.ranks import Planned
from gaze_exp.remote.settings import Remote
from gaze_exp.signature import check_component

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

ACTIONS = (
    "train",
    "evaluate",
    "export",
    "predict",
    "repack",
    "synthetic",
    "benchmark",
    "leaderboard",
    "prepare_eve",
    "prepare_calibration",
    "export_client",
    "handback",
    "finetune",
)


@dataclass
class RunSchema:
    """Root of every run: what is ours is typed here, a component by its constructor's signature."""

    model: Any = None
    data: Any = None
    loss: Any = None
    optim: Any = None
    augment: Any = None
    logger: Any = None
    hardware: Hardware = field(default_factory=Hardware)
    remote: Remote = field(default_factory=Remote)
    dry_run: bool = False
    task_name: str = "run"
    run_name: str | None = None
    seed: int = 0
    global_batch: int = 64
    sequence_length: int = 1
    actions: list[str] = field(default_factory=list)
    checkpoint: str | None = None
    resume: str | None = None
    run_dir: str = "."
    trainer: Any = None
    early_stopping_patience: int = 10
    keep_checkpoints: int = 3
    evaluate: Any = None
    export: Any = None
    predict: Any = None
    repack: Any = None
    layout: str = "crops"
    persons: int = 12
    frames: int | None = None
    synthetic: Any = None
    benchmark: Any = None
    leaderboard: Any = None
    screen: Any = None
    faces: Any = None
    crop: str = "client"
    adapt: Any = None
    finetune: Any = None
    client_dir: str | None = None
    onnx: str | None = None
    mapping: str = "native"
    undo: bool = False
    force: bool = False
    handback: Any = None
    export_client: Any = None
    sweep: Any = None


def conf_dir() -> str:
    """Folder of the shipped configs: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return str(folder)
    raise ConfigError(f"conf: no config.yaml in {package}/conf or beside the package; install gaze-exp again")


def register_schema() -> None:
    """Make the root types known to Hydra, under the name that `conf/config.yaml` calls, and our launcher findable.

    Hydra takes a launcher from the namespace `hydra_plugins` alone; ours has its part of it inside the package.
    """
    from hydra.core.config_store import ConfigStore

    plugins = str(Path(__file__).resolve().parent / "plugins")
    if plugins not in sys.path:
        sys.path.append(plugins)
    ConfigStore.instance().store(name="run_schema", node=RunSchema)
    OmegaConf.register_new_resolver("gpus", _gpus, replace=True)


def _gpus(accelerator: str, devices: int) -> int | None:
    """GPUs of a node, to be asked of SLURM; `auto` takes what is there."""
    return devices if accelerator == "gpu" else None


def compose(overrides: list[str], *, config_dir: str | None = None, with_hydra: bool = False) -> DictConfig:
    """Compose a config as the command line does, for notebooks, tests, and runs that start others.

    Args:
        overrides: as typed, `+task=` included.
        config_dir: a folder of configs of your own.
        with_hydra: keep Hydra's own part, which says among other things whether this is a sweep.

    Returns:
        The config; `run_dir` is left open until a run has a folder.
    """
    import hydra

    from gaze_exp.command_line import rewrite

    overrides = rewrite(overrides)
    if config_dir:
        overrides = [f'hydra.searchpath=["{Path(config_dir).resolve()}"]', *overrides]
    with hydra_here():
        return hydra.compose("config", overrides=overrides, return_hydra_config=with_hydra)


@contextlib.contextmanager
def hydra_here() -> "Iterator[ConfigLoader]":
    """Hydra on the shipped configs, also inside a run, where it would refuse to begin once more.

    Yields:
        What loads its configs.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register_schema()
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    try:
        with hydra.initialize_config_dir(conf_dir(), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = running


def check_early(arguments: list[str]) -> Planned | None:
    """Check a plain run before Hydra makes its folder and composes twice, so that a mistake is answered at once.

    Args:
        arguments: flags and overrides.

    Returns:
        What a run started now would do; None for a sweep and the flags that only show something, which are left to
        Hydra.
    """
    from gaze_exp.command_line import split_flags

    flags, overrides = split_flags(arguments)
    if not set(flags) <= {"--config-dir", "-cd"}:
        return None
    own = flags.get("--config-dir") or flags.get("-cd")
    cfg = compose([*overrides, "run_dir=."], config_dir=own, with_hydra=True)
    if str(cfg.hydra.mode) == "RunMode.MULTIRUN":
        raise ConfigError("hydra.mode: MULTIRUN makes a sweep of this command; -m would be right")
    folder = str(cfg.hydra.run.dir)
    with open_dict(cfg):
        del cfg["hydra"]
    check(cfg)
    refuse_missing(plain(cfg))
    return Planned(folder=folder, trains="train" in cfg.actions, resumes=bool(cfg.resume))


def plain(node: Any) -> Any:
    """A config node as plain dicts, lists and scalars, every interpolation resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def hardware_of(cfg: DictConfig) -> Hardware:
    """The machine of a run as its dataclass."""
    return Hardware(**plain(cfg.hardware))


def check(cfg: DictConfig) -> None:
    """Check every choice against the code that will receive it, before any data or weight is touched.

    Raises:
        ConfigError: `<dotted key>: <what is wrong>; <what would be right>`.
    """
    import difflib

    tasks = sorted(path.stem for path in Path(conf_dir(), "task").glob("*.yaml"))
    if not cfg.actions:
        raise ConfigError(
            f"actions: nothing to do; choose a task ({', '.join('task=' + t for t in tasks)}) or name verbs, "
            "such as actions=[evaluate] checkpoint=RUN/checkpoints/last.ckpt (--help shows more)"
        )
    for action in cfg.actions:
        if action not in ACTIONS:
            near = difflib.get_close_matches(action, ACTIONS, n=1) or [", ".join(ACTIONS)]
            raise ConfigError(f"actions: {action!r} is no action; {near[0]} is")
    for group in ("model", "data", "loss", "optim", "augment"):
        if cfg[group] is None:
            choices = sorted(f"{group}={path.stem}" for path in Path(conf_dir(), group).glob("*.yaml"))
            raise ConfigError(f"{group}: nothing is chosen; {' or '.join(choices)} would be right")
    if cfg.global_batch < 1:
        raise ConfigError(f"global_batch: {cfg.global_batch} is no number of samples; 1 or more is")
    _check_components(plain(cfg), key="")


def _check_components(node: Any, *, key: str) -> None:
    if isinstance(node, list):
        for index, child in enumerate(node):
            _check_components(child, key=f"{key}[{index}]")
    if not isinstance(node, dict):
        return
    for name, child in node.items():
        _check_components(child, key=f"{key}.{name}" if key else str(name))
    if "_target_" in node:
        check_component(node, key=key)


def build(node: Any, *, key: str = "", **kwargs: Any) -> Any:
    """Construct the object that a config node describes.

    Args:
        node: a mapping with `_target_`.
        key: its dotted name, for the error.
        kwargs: arguments that only the run knows; they win over the node's.

    Raises:
        ConfigError: the constructor refused; its reason is in the text.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, **kwargs, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (TypeError, ValueError, ImportError)):
            target = node.get("_target_", "?")
            raise ConfigError(f"{key or target}: {target} refused: {cause}; see its docstring") from error
        raise cause or error from None


def rebuild(saved: dict[str, Any], group: str, **kwargs: Any) -> Any:
    """Construct a component of a checkpoint's own config.

    Pretrained weights are never loaded again: the checkpoint's replace them.
    """
    return build(OmegaConf.create(without_weights(saved[group])), key=group, **kwargs)


def without_weights(node: Any) -> Any:
    """A component's config with every source of first weights switched off, in the components inside it too.

    Args:
        node: plain data.
    """
    if not isinstance(node, dict):
        return [without_weights(child) for child in node] if isinstance(node, list) else node
    return {name: _without_weight(name, without_weights(child)) for name, child in node.items()}


def _without_weight(name: str, value: Any) -> Any:
    if name == "pretrained":
        return value if value == "none" else False
    return None if name in {"weights", "frame_checkpoint"} or name.endswith("weights_file") else value
