"""The wheel holds all it needs: it runs from any folder, with the configs inside."""

import os
import subprocess
import sys
import tarfile
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


PLUGIN = "gaze_exp/plugins/hydra_plugins/gaze_exp_launcher/process.py"


@pytest.mark.slow
def test_the_wheel_brings_its_launcher_along(installed, crops, tmp_path):
    assert (installed / PLUGIN).is_file()
    assert not (installed / "hydra_plugins").exists()  # which would be everybody's
    done = subprocess.run(
        [
            sys.executable, "-m", "gaze_exp", "-m", "actions=[repack]", "data=eve_crops", f"data.root={crops}",
            "repack.to=${run_dir}/crops", "seed=0",
        ],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("outputs/sweeps/*/0/result.json"))) == 1


def test_the_sdist_holds_the_launcher_too(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {PLUGIN, "conf/hydra/launcher/process.yaml"} <= names
