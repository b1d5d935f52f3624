"""Which files here a run needs, and its command line with their places there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaze_exp.errors import ConfigError
from gaze_exp.remote.content import Tree, tree_of

Plain = dict[str, Any]

READ = {
    "root", "source", "calibration_dir", "weights", "weights_file", "face_weights_file", "eye_weights_file",
    "frame_checkpoint", "checkpoint", "detector", "mesh", "onnx", "resume", "compare_with",
}  # fmt: skip
"""Last names of keys whose value is a file or folder to read."""
WRITTEN = {"run_dir", "leaderboard.folder", "leaderboard.page", "benchmark.log", "repack.to", "logger", "remote"}
"""Keys of what is written, or means another machine, with all below them."""
MAKES_ITS_ROOT = ("SyntheticDataModule", "EveOfficialDataModule")
"""Data that are made where they are missing: there too."""
RUNS_ALONE = {"train", "evaluate", "export", "predict", "finetune", "export_client", "benchmark"}
"""Actions that write nothing outside the run folder."""
OURS = re.compile(r"^(\+{0,2}|~)(remote(\.[\w.]+)?|dry_run|hydra\.run\.dir)(=|$)")


@dataclass(frozen=True)
class Input:
    """A file or folder here that the run reads there."""

    key: str
    here: Path
    tree: Tree

    @property
    def there(self) -> str:
        """Its path there, seen from the folder in which runs begin."""
        return f"../{self.folder}/{safe_name(self.here)}"

    @property
    def folder(self) -> str:
        """The folder there that holds it alone."""
        return f"data/{self.tree.key}"


def safe_name(path: Path) -> str:
    """A file's name without any character that a shell, Hydra or a file system reads otherwise."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", path.resolve().name).lstrip("-") or "data"


def refuse_what_writes_elsewhere(actions: list[str]) -> None:
    """Refuse actions whose results would stay there.

    Raises:
        ConfigError: with the action.
    """
    for name in actions:
        if name not in RUNS_ALONE:
            raise ConfigError(
                f"actions: {name} writes outside its run folder, which alone comes back from another machine; "
                "without remote=... it would be right"
            )


def inputs_of(config: Plain, *, there: list[str], config_dir: str | None = None) -> list[Input]:
    """Find the files and folders here that a config names, and hash them.

    Args:
        config: resolved.
        there: keys whose path is meant there.
        config_dir: the folder of configs of one's own.

    Returns:
        One input a key, in the config's order.
    """
    found = [
        Input(key, path, tree_of(path, name=safe_name(path)))
        for key, value in leaves(config)
        if key not in there and is_input(key, value, config) and (path := Path(value).expanduser()).exists()
    ]
    if config_dir:
        path = Path(config_dir)
        found.append(Input("--config-dir", path, tree_of(path, name=safe_name(path))))
    return found


def is_input(key: str, value: str, config: Plain) -> bool:
    """Whether a value may be a path to read."""
    parts = key.split(".")
    if any(".".join(parts[:n]) in WRITTEN for n in range(1, len(parts) + 1)) or parts[-1] == "_target_":
        return False
    if key == "data.root" and str(config["data"].get("_target_", "")).endswith(MAKES_ITS_ROOT):
        return False
    return bool(value) and (re.sub(r"\[\d+\]$", "", parts[-1]) in READ or "/" in value)


def only_there(config: Plain, *, there: list[str]) -> dict[str, str]:
    """Paths to read that are not here: they have to be there.

    Args:
        config: resolved.
        there: keys whose path is meant there although it is here too.

    Returns:
        Key -> path, as it is to be typed there.
    """
    return {
        key: _of_home(value)
        for key, value in leaves(config)
        if key in there
        or (key.rpartition(".")[2] in READ and is_input(key, value, config)
            and value != "auto" and not Path(value).expanduser().exists())
    }  # fmt: skip


def _of_home(value: str) -> str:
    """A path below the home folder here as one below the home folder there."""
    path = Path(value)
    return f"~/{path.relative_to(Path.home()).as_posix()}" if path.is_relative_to(Path.home()) else value


def leaves(node: Any, *, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a config with its dotted key."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from leaves(child, key=f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from leaves(child, key=f"{key}[{index}]")
    elif isinstance(node, str):
        yield key, node


def arguments_there(
    overrides: list[str], inputs: list[Input], *, run_dir: str, config: Plain, home: dict[str, str]
) -> list[str]:
    """The command line for the machine there: as typed, with the places that files have there.

    Args:
        overrides: as typed here.
        inputs: what is sent.
        run_dir: the run's folder there.
        config: resolved.
        home: keys whose path is there already, with that path.

    Returns:
        Arguments behind `python -m gaze_exp`.
    """
    moved = {i.key: i.there for i in inputs} | {key: path for key, path in home.items() if path.startswith("~")}
    flags = ["--config-dir", moved.pop("--config-dir")] if "--config-dir" in moved else []
    moved = _whole_lists(moved, config)
    kept = []
    for override in overrides:
        prefix, key = re.match(r"(\+{0,2})([^=]*)", override).groups()  # type: ignore[union-attr]
        if OURS.match(override):
            continue
        kept.append(f"{prefix}{key}={moved.pop(key)}" if key in moved and "=" in override else override)
    return [*flags, *kept, *(f"++{key}={path}" for key, path in moved.items()), f"hydra.run.dir={run_dir}"]


def _whole_lists(moved: dict[str, str], config: Plain) -> dict[str, str]:
    """One override a list: Hydra cannot change one item of it."""
    changed = {key: path for key, path in moved.items() if "[" not in key}
    for name in {key.partition("[")[0] for key in moved if "[" in key}:
        node: Any = config
        for part in name.split("."):
            node = node[part]
        if not all(isinstance(item, (str, int, float)) for item in node):
            raise ConfigError(f"{name}: holds files in a list of mappings, which cannot be moved; one folder is right")
        items = [moved.get(f"{name}[{index}]", item) for index, item in enumerate(node)]
        changed[name] = "[" + ",".join("'" + str(i).replace("'", "\\'") + "'" for i in items) + "]"
    return changed
