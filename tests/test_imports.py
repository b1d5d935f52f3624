"""Who may import whom, and how large a file and a function may grow."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gaze_exp"
FILES = sorted(PACKAGE.rglob("*.py"))
SWEEPS = {"multirun.py", "begin.py"}


def imported(path):
    """Every module that a file names in an import, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_of(*parts):
    return [p for p in FILES for part in parts if p == PACKAGE / f"{part}.py" or PACKAGE / part in p.parents]


def group_of(path):
    top = path.relative_to(PACKAGE).parts[0]
    return top.removesuffix(".py")


@pytest.mark.parametrize("name", ["geometry", "camera"])
def test_geometry_imports_torch_alone(name):
    assert {n.partition(".")[0] for n in imported(PACKAGE / f"{name}.py")} <= {"torch"}


def test_models_losses_metrics_augment_and_data_meet_in_the_batch_alone():
    apart = ("models", "losses", "metrics", "augment", "data")
    for path in files_of(*apart):
        others = {f"gaze_exp.{other}" for other in apart if other != group_of(path)}
        met = {n for n in imported(path) for o in others if n == o or n.startswith(f"{o}.")}
        assert not met, f"{path} imports {met}"


def test_hydra_is_known_at_the_top_alone():
    allowed = {"__main__.py", "config.py", "command_line.py", "assemble.py"}
    for path in FILES:
        at_hydras_door = PACKAGE / "plugins" in path.parents or (path.parent.name == "sweep" and path.name in SWEEPS)
        if path.name in allowed or path.parent.name == "actions" or at_hydras_door:
            continue
        assert not {n for n in imported(path) if n.partition(".")[0] in {"hydra", "omegaconf"}}, path


def test_nothing_below_imports_an_action():
    for path in FILES:
        if path.parent.name != "actions":
            assert not {n for n in imported(path) if n.startswith("gaze_exp.actions")}, path


def test_package_files_stay_empty():
    for path in PACKAGE.rglob("__init__.py"):
        assert path.parent == PACKAGE or not path.read_text().strip()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name
    assert path.stem not in {"utils", "util", "common", "helpers", "core", "base", "misc"}
