"""What ssh, or the helper there, refuses: made into one line with the remedy."""

from typing import Any, NoReturn

from gaze_exp.errors import ConfigError
from gaze_exp.remote.settings import Remote


class ConnectionCut(Exception):  # noqa: N818  (no mistake of anyone's)
    """The line is lost; what was asked can be asked again."""


UNREACHABLE = (
    "Connection refused",
    "timed out",
    "No route to host",
    "Network is unreachable",
    "Connection reset",
    "Connection closed",
    "kex_exchange_identification",
)


def meaning_of(text: str, *, status: int, remote: Remote, was_up: bool) -> Exception:
    """Tell a mistake from a line that was lost.

    Args:
        text: standard error of ssh.
        status: its exit status; 255 where ssh itself failed.
        remote: the machine.
        was_up: it has answered before, so that a refused connection can be tried again.

    Returns:
        The error to raise.
    """
    host = remote.host
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), f"exit status {status}")
    wrong = _host_or_key(text, host=str(host))
    if wrong:
        return ConfigError(f"remote.host: {wrong}")
    if status == 127 or "not found" in last or (status == 126 and "ermission denied" in last):
        return ConfigError(
            f"remote.python: {host} has no {remote.python} ({last}); install it there, or remote.python=PATH of a "
            "Python 3.9 or newer"
        )
    if "is too old" in text:
        return ConfigError(f"remote.python: {host}: {last}; remote.python=PATH of 3.9 or newer would be right")
    if status == 255 and not was_up and any(word in text for word in UNREACHABLE):
        return ConfigError(
            f"remote.host: {host} cannot be reached ({last}); is it switched on, and does `ssh {host}` work?"
        )
    if status == 255 and not was_up:
        return ConfigError(f"remote.host: ssh cannot connect to {host}: {last}")
    if "Traceback" in text:
        return ConfigError(f"remote: the helper on {host} failed: {last}; please report this")
    return ConnectionCut(last)


def _host_or_key(text: str, *, host: str) -> str | None:
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
        return (
            f"{host} shows another host key than the one known here; nothing was sent. If the machine was set up "
            f"anew, `ssh-keygen -R {host}` forgets the old key; if not, someone else may be answering"
        )
    if "Host key verification failed" in text or "host key is known for" in text:
        return f"{host} is not known here yet; `ssh {host}` once by hand shows its key and asks"
    if "Could not resolve hostname" in text or "Name or service not known" in text:
        return f"there is no machine {host}; a Host of ~/.ssh/config, or user@address, would be right"
    if "Permission denied (" in text or "Too many authentication failures" in text:
        return (
            f"{host} refuses the key; `ssh-copy-id {host}` brings it there, `ssh-add` unlocks one with a "
            "passphrase, and remote.identity=FILE names another"
        )
    return None


REMEDIES = {
    "no_space": "remote.folder: {text} on {host}; make room there, or remote.folder=FOLDER on a larger disk",
    "no_access": "remote.folder: {text} on {host}; a folder of your own would be right",
    "environment": "remote.environment: {text} on {host}",
    "no_job": "remote.job: {text}",
    "exists": "remote.job: {text}; another hydra.run.dir would be right",
}


def refuse(remote: Remote, message: dict[str, Any]) -> NoReturn:
    """Raise what the helper there said it cannot do.

    Raises:
        ConfigError: with the remedy.
        ConnectionCut: bytes were lost on the way.
    """
    kind, text = message["refused"], message["text"]
    if kind in {"cut", "damaged"}:
        raise ConnectionCut(text)
    raise ConfigError(REMEDIES.get(kind, "remote: {text} on {host}").format(text=text, host=remote.host))
