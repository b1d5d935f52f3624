"""Runs there: started apart from any connection, watched, followed, stopped.

A job is `jobs/NAME/`: job.json (what it is), log, lock (held while it runs), pid, rc (its exit status).
Runs on the other machine with its system's Python and nothing installed: the standard library of 3.9 alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from gaze_exp.remote.there.environment import set_up
from gaze_exp.remote.there.frames import Refusal, refusal_of, say, send_bytes
from gaze_exp.remote.there.store import SENT, listing, root_of

MARK = "GAZE_EXP_REMOTE_JOB"
POLL_S = 0.1


def start(request: dict[str, Any]) -> None:
    """Begin a job, unless this very request has begun it before."""
    root = root_of(request)
    described = {k: request[k] for k in ("job", "token", "arguments", "code", "key", "environment", "run_dir", "about")}
    folder = root / "jobs" / request["job"]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        (root / "work").mkdir(exist_ok=True)
        folder.mkdir()
        described["started"] = time.time()
        (folder / "rc").write_bytes(b" " * 64)  # its space is taken now: a full disk does not hide how it ended
        (folder / "log").touch()
        (folder / "job.json").write_text(json.dumps(described), encoding="utf-8")
        _detach(root, folder, described, env=request["env"])
    except FileExistsError as error:
        if _read(folder).get("token") != request["token"]:
            raise Refusal("exists", f"a job {request['job']} is there already") from error
    except OSError as error:
        if not (folder / "lock").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise refusal_of(error) from error
    say({"job": request["job"], "folder": str(folder)})


def _read(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "job.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _detach(root: Path, folder: Path, described: dict[str, Any], *, env: dict[str, str]) -> None:
    """Leave a process behind that belongs to no connection; it holds the job's lock before this returns."""
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        has_begun = os.read(told, 1)
        os.close(told)
        if not has_begun:
            raise Refusal("system", f"{folder.name} could not be started")
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        with (folder / "lock").open("w") as lock, (folder / "log").open("ab") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.write(tell, b"1")
            os.close(tell)
            _supervise(root, folder, described, env=env, lock=lock, log=log)
    finally:
        os._exit(0)


def _supervise(
    root: Path, folder: Path, described: dict[str, Any], *, env: dict[str, str], lock: IO[str], log: IO[bytes]
) -> None:
    """Set up the environment, run the command, keep its exit status."""
    base = {**os.environ, **env, MARK: str(folder), "PYTHONUNBUFFERED": "1"}

    def run(command: list[str], more: dict[str, str]) -> int:
        if (folder / "cancelled").exists():
            return 130
        process = subprocess.Popen(
            command, cwd=root / "work", env={**base, **more}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(lock.fileno(),),
        )  # fmt: skip
        (folder / "pid").write_text(str(process.pid), encoding="ascii")
        return process.wait()

    code, status = root / described["code"], 1
    try:
        if given := described["environment"]:
            python = str(Path(given).expanduser())
        else:
            python = set_up(root, key=described["key"], code=code, run=run, log=log)
        status = run([python, "-m", "gaze_exp", *described["arguments"]], {"PYTHONPATH": str(code)})
    except Refusal as refusal:
        log.write(f"error: remote: {refusal}\n".encode())
        status = 2
    except OSError as error:
        with contextlib.suppress(OSError):
            log.write(f"error: remote: {error}\n".encode())
    finally:
        with (folder / "rc").open("r+b") as file:
            file.write(b"%-63d\n" % status)


def state_of(folder: Path) -> dict[str, Any]:
    """What a job is and how it stands: running, ended with a status, or lost with its machine."""
    described = _read(folder)
    rc = (folder / "rc").read_bytes().strip() if (folder / "rc").is_file() else b""
    state = "running" if _is_held(folder / "lock") else "ended" if rc else "lost"
    size = (folder / "log").stat().st_size if (folder / "log").is_file() else 0
    return {
        "job": folder.name,
        "state": "cancelled" if state != "running" and (folder / "cancelled").exists() else state,
        "rc": int(rc) if rc else None,
        "started": described.get("started"),
        "run_dir": described.get("run_dir"),
        "about": described.get("about", {}),
        "arguments": described.get("arguments", []),
        "log_bytes": size,
        "last_line": _last_line(folder / "log", size),
    }


def _last_line(path: Path, size: int) -> str:
    if not size:
        return ""
    with path.open("rb") as file:
        file.seek(max(0, size - 2000))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _is_held(path: Path) -> bool:
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _folder(request: dict[str, Any]) -> Path:
    """The job that is meant, or the latest."""
    jobs = root_of(request) / "jobs"
    there = sorted((p for p in jobs.glob("*") if _read(p)), key=lambda p: float(_read(p)["started"]))
    wanted = request.get("job")
    found = [p for p in there if p.name == wanted] if wanted else there[-1:]
    if not found:
        names = ", ".join(p.name for p in there[-5:]) or "none yet"
        raise Refusal("no_job", f"no job {wanted or ''} there; there are: {names}")
    return found[0]


def status(request: dict[str, Any]) -> None:
    """Say how one job stands, or all of them."""
    jobs = root_of(request) / "jobs"
    if request.get("job") or request.get("latest"):
        say({"jobs": [state_of(_folder(request))]})
        return
    states = [state_of(p) for p in jobs.glob("*") if _read(p)]
    say({"jobs": sorted(states, key=lambda s: float(s["started"]))})


def follow(request: dict[str, Any]) -> None:
    """Send the log of a job from a byte on, until it ends."""
    folder = _folder(request)
    with (folder / "log").open("rb") as log:
        log.seek(request["offset"])
        while True:
            ended = not _is_held(folder / "lock")
            while piece := log.read(SENT):
                send_bytes(piece)
            if ended:
                break
            time.sleep(POLL_S)
    say({"end": True, **state_of(folder)})


def results(request: dict[str, Any]) -> None:
    """List the files of a job's run folder with their hashes."""
    folder = _folder(request)
    run_dir = root_of(request) / "work" / _read(folder)["run_dir"]
    say({"folder": f"work/{_read(folder)['run_dir']}", "files": listing(run_dir) if run_dir.is_dir() else []})


def cancel(request: dict[str, Any]) -> None:
    """Stop a job as Ctrl-C does; what does not listen within `grace_s` is killed. Its files stay."""
    folder = _folder(request)
    if _is_held(folder / "lock"):
        (folder / "cancelled").touch()
        for number, patience in ((signal.SIGINT, request["grace_s"]), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for pid in _processes(folder):
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            if _gone(folder, patience=patience):
                break
    say({**state_of(folder), "left": _processes(folder)})


def _gone(folder: Path, *, patience: float) -> bool:
    until = time.monotonic() + patience
    while _processes(folder) or _is_held(folder / "lock"):
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


def _processes(folder: Path) -> list[int]:
    """Every process of a job: those that carry its mark, or where that cannot be read, the group of its first."""
    mark = f"{MARK}={folder}".encode()
    if Path("/proc/self/environ").exists():
        return [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/environ") if mark in _environ(p)]
    return _group(folder)


def _environ(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:  # another user's, or gone
        return []


def _group(folder: Path) -> list[int]:
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "pid").read_text(encoding="ascii"))
        done = subprocess.run(["pgrep", "-g", str(pid)], capture_output=True, text=True, check=False)
        return [int(line) for line in done.stdout.split()]
    return []
