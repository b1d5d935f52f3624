"""The wheel holds all it needs: it runs from any folder, with the configs inside."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's content in a folder of its own, far from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_wheel_runs_from_any_folder(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gaze_exp", "task=eve_baseline", "--cfg", "job", "-p", "model"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gaze_exp.models.gazetr_lite.GazeTRLite" in done.stdout


def test_the_wheel_holds_every_config_and_template_and_nothing_of_the_tests(installed):
    configs = {p.relative_to(ROOT) for p in (ROOT / "conf").rglob("*.yaml")}
    assert configs == {p.relative_to(installed / "gaze_exp") for p in (installed / "gaze_exp" / "conf").rglob("*.yaml")}
    assert (installed / "gaze_exp" / "report.html.j2").is_file()
    assert not list(installed.glob("tests*"))
