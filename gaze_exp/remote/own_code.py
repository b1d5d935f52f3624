"""Components of a user's own, found below the current folder, to be sent beside the program."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gaze_exp.remote.content import LEFT_OUT, Entry, entry_of


def own_code(config: dict[str, Any]) -> list[Entry]:
    """The packages and files that the config's `_target_`s name and that lie below the current folder.

    Args:
        config: resolved.

    Returns:
        Their Python files, named as they are imported.
    """
    names = {target.partition(".")[0] for target in _targets(config)} - {"gaze_exp"}
    found = [entry for name in sorted(names) for entry in _files(name)]
    return [entry_of(path, name) for name, path in found]


def _files(name: str) -> Iterator[tuple[str, Path]]:
    here = Path.cwd().resolve()
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    if spec.submodule_search_locations:
        for folder in (Path(place).resolve() for place in spec.submodule_search_locations):
            if folder.is_relative_to(here) and not _is_installed(folder):
                for path in sorted(p for p in folder.rglob("*") if p.is_file() and not LEFT_OUT & set(p.parts)):
                    yield f"{name}/{path.relative_to(folder).as_posix()}", path
    elif spec.origin and (path := Path(spec.origin).resolve()).is_relative_to(here) and not _is_installed(path):
        yield path.name, path


def _is_installed(path: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.suffix == ".so"


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)
    elif isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for child in node.values():
            yield from _targets(child)
