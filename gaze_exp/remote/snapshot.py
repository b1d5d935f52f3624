"""The code of this program as a tree to be sent, from a checkout or from an installed wheel."""

import json
from pathlib import Path

from gaze_exp import record
from gaze_exp.config import conf_dir
from gaze_exp.errors import ConfigError
from gaze_exp.file_hash import sha256_of
from gaze_exp.remote.content import LEFT_OUT, Tree, entry_of

PACKAGE = Path(__file__).resolve().parents[1]
LOCKED = ("pyproject.toml", "uv.lock")
COMMIT = "commit.json"


def code_tree(scratch: Path) -> Tree:
    """The package with its configs, its lock file, and the commit that it was made from.

    Args:
        scratch: a folder for what is made on the way.

    Returns:
        A tree that lies there as it would in an installed wheel.
    """
    files = [p for p in sorted(PACKAGE.rglob("*")) if p.is_file() and not LEFT_OUT & set(p.parts)]
    named = {f"gaze_exp/{p.relative_to(PACKAGE).as_posix()}": p for p in files}
    configs = Path(conf_dir())
    named |= {f"gaze_exp/conf/{p.relative_to(configs).as_posix()}": p for p in sorted(configs.rglob("*.yaml"))}
    commit = scratch / COMMIT
    commit.write_text(json.dumps(record.code()) + "\n", encoding="utf-8")
    named[f"gaze_exp/{COMMIT}"] = commit
    named |= {name: locked(name) for name in LOCKED}
    return Tree([entry_of(path, name) for name, path in named.items()])


def locked(name: str) -> Path:
    """A file that says what is installed: beside the package in a checkout, inside it in a wheel."""
    for folder in (PACKAGE.parent, PACKAGE):
        if (folder / name).is_file() and (folder / "uv.lock").is_file():
            return folder / name
    raise ConfigError(f"remote: {name} is not beside the package; install gaze-exp again, or run from a checkout")


def environment_key() -> str:
    """Hash of what is installed, which names the environment there."""
    return sha256_of(locked("uv.lock"))[:16]
