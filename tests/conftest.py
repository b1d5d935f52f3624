"""One small data set and one small run, made once and shared by the tests that run the whole program."""

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# Tests that run beside each other share the cores; set before torch is imported, and inherited by what they start.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // WORKERS)))

from user_project.my_lab import convert  # noqa: E402

# A shell's background job is deaf to Ctrl-C and so would be the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

PERSONS = {"train01": ("p1", "p2"), "val01": ("p3",), "test01": ("p4", "p5")}

TINY = (
    "data=eve_crops", "model=gazetr_tiny", "model.dropout=0.1", "hardware=cpu", "global_batch=16",
    "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "optim.lr=3e-3", "optim.warmup_epochs=0.5",
)  # fmt: skip
"""6 steps an epoch of a net of 0.45 M parameters, on 32 px faces and 16 px eyes."""


@dataclass(frozen=True)
class Ended:
    """What a run of the program came to."""

    code: int
    out: str
    err: str
    cwd: Path

    @property
    def folder(self) -> Path:
        """The one run folder below outputs/."""
        (folder,) = (p.parent for p in self.cwd.glob("outputs/*/*/.hydra"))
        return folder

    def read(self, name):
        """A JSON file of the run folder."""
        return json.loads((self.folder / name).read_text())


def program(*arguments, cwd) -> Ended:
    """Run the program's own `main` in this process: as on the command line, without importing torch again."""
    from gaze_exp.__main__ import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    cwd = Path(cwd)
    cwd.mkdir(parents=True, exist_ok=True)
    with _as_found(), contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["gaze_exp", *map(str, arguments)]
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue(), cwd)


@contextlib.contextmanager
def _as_found() -> Iterator[None]:
    """Put back what a process may change for itself: argv, environment, log handlers, Hydra's state."""
    from hydra.core.singleton import Singleton

    root = logging.getLogger()
    argv, environment, hydra = sys.argv, dict(os.environ), Singleton.get_state()
    handlers, level = root.handlers[:], root.level
    try:
        with warnings.catch_warnings():
            yield
    finally:
        Singleton.set_state(hydra)
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers, root.level = handlers, level


def write_crops(root: Path) -> Path:
    """Five persons whose pictures are brighter on the side to which they look, 48 frames each."""
    for split, names in PERSONS.items():
        for name in names:
            convert(root / split / f"participant_{name}" / "frames_basler.h5", seed=int(name[1]))
    return root


@pytest.fixture(scope="session")
def crops(tmp_path_factory):
    """A data set to read."""
    return write_crops(tmp_path_factory.mktemp("crops"))


@pytest.fixture
def own_crops(crops, tmp_path):
    """A copy of the data set to spoil."""
    return Path(shutil.copytree(crops, tmp_path / "own_crops"))


@pytest.fixture(scope="session")
def trained(crops, tmp_path_factory):
    """A run that trained, evaluated and exported: 3 epochs, validated twice in each, dropout and augmentation on."""
    done = program(
        *TINY, f"data.root={crops}", "trainer.val_check_interval=0.5", "actions=[train,evaluate,export]",
        cwd=tmp_path_factory.mktemp("trained"),
    )  # fmt: skip
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="session")
def checkpoint(trained):
    """The best checkpoint of the shared run, away from its run folder."""
    from gaze_exp.checkpoint import best_in

    alone = trained.cwd / "alone"
    alone.mkdir()
    return Path(shutil.copy(best_in(trained.folder), alone / "gaze.ckpt"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real OpenSSH server on loopback, for the tests of a file."""
    from ssh_server import serve

    server = serve(tmp_path_factory.mktemp("ssh"))
    yield server
    server.stop()
