"""The README promises only what is there."""

import re
import shlex
from pathlib import Path

import pytest

from gaze_exp.config import check, compose

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_readme_stays_short():
    assert README.count("\n") < 150


def test_every_file_of_the_package_is_on_the_map():
    tree = (ROOT / "docs" / "map.md").read_text()
    for path in (ROOT / "gaze_exp").rglob("*.py"):
        if path.name != "__init__.py" and path.parent.name != "benchmarks":
            assert path.name in tree, path


def test_every_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", DOCS, ids=lambda p: p.name)
def test_every_link_leads_to_a_file(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", DOCS, ids=lambda p: p.name)
def test_every_command_composes(page):
    commands = re.findall(r"python -m gaze_exp ([^\n`#]+)", page.read_text())
    for command in commands:
        typed = [word for word in shlex.split(command.replace("...", "X")) if not word.startswith("-")]
        if {"--config-dir", "-m"} & set(command.split()) or any(word.startswith("resume=") for word in typed):
            continue
        config = compose([*typed, "run_dir=X"])
        check(config)
