"""A real OpenSSH server on loopback, with keys and a configuration of its own."""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SERVER = "/usr/sbin/sshd"
HOST = "spark"
"""An alias of the configuration that the tests give to ssh."""


@dataclass
class SshServer:
    """A server that runs, and how to reach it."""

    folder: Path
    port: int
    process: subprocess.Popen = field(repr=False, default=None)

    @property
    def config(self) -> Path:
        """For `ssh -F`."""
        return self.folder / "config"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [SERVER, "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(self.folder / "sshd.log").open("ab"),
        )  # fmt: skip
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        self.cut()
        self.process.terminate()
        self.process.wait()

    def cut(self) -> int:
        """Kill the server's side of every connection, as a network that goes away does; their number."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        sessions = [int(pid) for pid in found.stdout.split()]
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(sessions)

    def overrides(self, folder: Path, *more: str) -> list[str]:
        """What a command line says to use this server."""
        return [
            "remote=ssh", f"remote.host={HOST}", f"remote.ssh_options=[-F,'{self.config}']",
            f"remote.folder='{folder}'", *more,
        ]  # fmt: skip


def serve(folder: Path) -> SshServer:
    """Make keys and a configuration, and start a server.

    Skips the test where no server can be had.
    """
    _install()
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "user_key", "stranger_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host_key\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nMaxStartups 50\nPrintMotd no\n"
    )
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "config").write_text(
        f"Host {HOST}\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
    )
    server = SshServer(folder, port)
    server.start()
    return server


def _install() -> None:
    if Path(SERVER).exists():
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"no {SERVER}, and it cannot be installed (root and apt-get would be needed)")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = "apt-get update -q && apt-get install -y -q --no-install-recommends openssh-server openssh-client procps"
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)
    if not Path(SERVER).exists():
        pytest.skip(f"openssh-server could not be installed: {done.stderr.strip()[-200:]}")


STAND_IN = Path(__file__).parent / "remote_stand_in"


def send_stand_in(monkeypatch) -> None:
    """Send a small program in place of the whole one, which would take a minute to import."""
    from gaze_exp.remote import snapshot
    from gaze_exp.remote.content import Tree, entry_of

    names = ("gaze_exp/__init__.py", "gaze_exp/__main__.py")
    tree = Tree([entry_of(STAND_IN / name, name) for name in names])
    monkeypatch.setattr(snapshot, "code_tree", lambda scratch: Tree(list(tree.entries)))


def main() -> None:
    """Serve until Ctrl-C; say how the benchmark `remote_round` reaches it."""
    with tempfile.TemporaryDirectory(prefix="ssh_server_") as folder:
        server = serve(Path(folder))
        print(f"export GAZE_REMOTE_HOST={HOST} GAZE_REMOTE_SSH_CONFIG={shlex.quote(str(server.config))}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            server.stop()


if __name__ == "__main__":
    main()
