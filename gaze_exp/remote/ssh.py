"""The line to another machine: OpenSSH's client, a helper that is sent along, and what ssh's refusals mean."""

import contextlib
import json
import logging
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from gaze_exp.errors import ConfigError
from gaze_exp.remote.refusals import ConnectionCut, meaning_of, refuse
from gaze_exp.remote.settings import Remote

log = logging.getLogger(__name__)

BOOT = "import sys,json;i=sys.stdin.buffer;b=json.loads(i.read(int(i.readline())));exec(b['boot'])"
LOADER = """
import types
if sys.version_info < (3, 9):
    sys.exit("gaze_exp: python %d.%d is too old" % sys.version_info[:2])
for name, text in b["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
    exec(compile(text, name, "exec"), module.__dict__)
    if "." in name:
        parent, _, own = name.rpartition(".")
        setattr(sys.modules[parent], own, module)
sys.modules["gaze_exp.remote.there.serve"].main()
"""
HELPER = ("frames", "store", "environment", "jobs", "serve")
SILENCE_S = 60.0
"""Without a byte for so long, a line that should beat is dead."""

Result = TypeVar("Result")


class Line:
    """Requests to the helper on another machine, each a command over one shared connection."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.was_up = False
        self._sockets = tempfile.mkdtemp(prefix="gz-", dir="/tmp")  # short, as a socket's name has to be

    def arguments(self) -> list[str]:
        """The ssh command, up to what it shall run there."""
        remote = self.remote
        options = ["BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10", "ServerAliveCountMax=3"]
        options += ["ControlMaster=auto", f"ControlPath={self._sockets}/%C", "ControlPersist=60"]
        command = ["ssh", "-T", *(word for option in options for word in ("-o", option))]
        command += ["-p", str(remote.port)] if remote.port else []
        command += ["-i", str(Path(remote.identity).expanduser())] if remote.identity else []
        return [*command, *remote.ssh_options, "--", str(remote.host)]

    def command(self) -> list[str]:
        """What one request runs: the helper comes over standard input, so that nothing of ours is quoted there."""
        return [*self.arguments(), f"{_quoted(self.remote.python)} -c {shlex.quote(BOOT)}"]

    def ask(self, op: str, *, payload: Iterable[bytes] = (), **request: Any) -> dict[str, Any]:
        """Put one request and return its answer.

        Args:
            op: what to do there.
            payload: bytes that follow the request.
            request: its arguments, plain data.

        Raises:
            ConfigError: it was refused, with the remedy.
            ConnectionCut: the line was lost; it can be tried again.
        """
        answers = self.stream(op, payload=payload, **request)
        try:
            answer = next(answers)
        finally:
            answers.close()
        if isinstance(answer, bytes):
            raise ConnectionCut("bytes where a message was due")
        return answer

    def stream(self, op: str, *, payload: Iterable[bytes] = (), **request: Any) -> "Answers":
        """Put one request and return its answers as they come, messages and bytes, until it ends."""
        return Answers(self, _bundle({"op": op, "folder": self.remote.folder, **request}), payload)

    def patiently(self, work: Callable[[], Result]) -> Result:
        """Do something, and again where the line is lost in between.

        Args:
            work: can be done twice without harm.

        Raises:
            ConfigError: it was refused, or the line stayed lost for `remote.retry_minutes`.
        """
        until, pause = time.monotonic() + self.remote.retry_minutes * 60, 0.5
        while True:
            try:
                return work()
            except ConnectionCut as cut:
                if time.monotonic() + pause > until:
                    raise ConfigError(
                        f"remote.host: the line to {self.remote.host} is lost ({cut}); what runs there goes on, and "
                        "remote.attach=true follows it"
                    ) from cut
                log.info("remote: the line to %s is lost (%s); again in %.0f s", self.remote.host, cut, pause)
                self._forget_connection()
                time.sleep(pause)
                pause = min(30.0, pause * 2)

    def _forget_connection(self) -> None:
        command = [*self.arguments()[:-2], "-O", "exit", "--", str(self.remote.host)]
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=10)

    def close(self) -> None:
        """End the shared connection."""
        if any(Path(self._sockets).iterdir()):
            self._forget_connection()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Answers(Iterator[dict[str, Any] | bytes]):
    """What comes back for one request."""

    def __init__(self, line: Line, head: bytes, payload: Iterable[bytes]) -> None:
        from gaze_exp.remote.there.frames import HELLO

        self.line, self._hello = line, HELLO
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe could fill up)
        try:
            self._ssh = subprocess.Popen(
                line.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except FileNotFoundError as error:
            raise ConfigError("remote: there is no ssh here; install OpenSSH's client") from error
        self._send(head, payload)
        self._heard = time.monotonic()
        threading.Thread(target=self._kill_when_silent, daemon=True).start()

    def _send(self, head: bytes, payload: Iterable[bytes]) -> None:
        stdin = self._pipe(self._ssh.stdin)
        with contextlib.suppress(BrokenPipeError):  # why, is said by what comes back
            stdin.write(head)
            for piece in payload:
                stdin.write(piece)
            stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()

    def _kill_when_silent(self) -> None:
        while self._ssh.poll() is None:
            if time.monotonic() - self._heard > SILENCE_S:
                self._ssh.kill()
            time.sleep(1)

    def __next__(self) -> dict[str, Any] | bytes:
        while True:
            kind, data = self._frame()
            if kind == b"B":
                return data
            message: dict[str, Any] = json.loads(data)
            if "refused" in message:
                refuse(self.line.remote, message)
            if "beat" not in message:
                return message

    def _frame(self) -> tuple[bytes, bytes]:
        stdout = self._pipe(self._ssh.stdout)
        while self._hello:
            line = stdout.readline()
            if not line:
                self._explain()
            if line == self._hello:
                self._hello, self.line.was_up = b"", True
        head = stdout.readline()
        if not head.endswith(b"\n"):
            self._explain()
        size = int(head[1:])
        data = stdout.read(size)
        if len(data) < size:
            self._explain()
        self._heard = time.monotonic()
        return head[:1], data

    def _explain(self) -> None:
        """Say why nothing came."""
        status = self._ssh.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")
        raise meaning_of(text, status=status, remote=self.line.remote, was_up=self.line.was_up)

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe

    def close(self) -> None:
        """Hang up."""
        self._pipe(self._ssh.stdout).close()
        if self._ssh.poll() is None:
            try:
                self._ssh.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._ssh.terminate()
                self._ssh.wait()
        self._errors.close()

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _quoted(program: str) -> str:
    """A program's path for the shell there, which shall still expand a leading ~."""
    return f"~/{shlex.quote(program[2:])}" if program.startswith("~/") else shlex.quote(program)


def _bundle(request: dict[str, Any]) -> bytes:
    """The helper's source and a request, each behind its length."""
    folder = Path(__file__).parent / "there"
    modules = [[name, ""] for name in ("gaze_exp", "gaze_exp.remote", "gaze_exp.remote.there")]
    modules += [[f"gaze_exp.remote.there.{name}", (folder / f"{name}.py").read_text("utf-8")] for name in HELPER]
    parts = [json.dumps({"boot": LOADER, "modules": modules}).encode(), json.dumps(request).encode()]
    return b"".join(b"%d\n%s" % (len(part), part) for part in parts)
