"""Where a run takes place, as data."""

from dataclasses import dataclass, field

from gaze_exp.errors import ConfigError


@dataclass
class Remote:
    """One file of `conf/remote`: a machine behind an ssh line, and what to do with it."""

    name: str = "here"
    host: str | None = None
    """As ssh knows it: an alias of ~/.ssh/config, or user@name."""
    folder: str = "~/gaze_exp"
    """There; all that this program writes there lies in it."""
    port: int | None = None
    identity: str | None = None
    """File of a private key, where ssh's own choice is not the right one."""
    ssh_options: list[str] = field(default_factory=list)
    """More arguments for ssh, such as [-o,ProxyJump=gate]."""
    python: str = "python3"
    """Runs this program's helper there; 3.9 or newer, nothing installed."""
    environment: str | None = None
    """An interpreter there that has everything installed; null: set one up from uv.lock."""
    there: list[str] = field(default_factory=list)
    """Keys whose path is meant there, although the same path exists here, such as [data.root]."""
    forward_env: list[str] = field(default_factory=list)
    """Environment variables that the run there shall get, such as [WANDB_API_KEY]; none unless named."""
    retry_minutes: float = 30.0
    """How long a lost connection is tried again."""
    job: str | None = None
    """Of attach, status and cancel; null: the latest."""
    attach: bool = False
    status: bool = False
    cancel: bool = False


def elsewhere(remote: Remote) -> bool:
    """Whether the config means another machine.

    Raises:
        ConfigError: it does, and does not say which; or the host's name is none.
    """
    if remote.name == "here" and not remote.host:
        asked = [key for key in ("attach", "status", "cancel") if getattr(remote, key)]
        if asked:
            raise ConfigError(f"remote.{asked[0]}: no other machine is chosen; remote=dgx_spark would be right")
        return False
    if not remote.host:
        raise ConfigError(
            "remote.host: none is named; remote.host=NAME of ~/.ssh/config, or GAZE_REMOTE_HOST=NAME in the "
            "environment, would be right"
        )
    if remote.host.startswith("-") or any(c.isspace() for c in remote.host):
        raise ConfigError(f"remote.host: {remote.host!r} is no name of a machine; an alias of ~/.ssh/config is")
    if sum((remote.attach, remote.status, remote.cancel)) > 1:
        raise ConfigError("remote: attach, status and cancel exclude each other; one of them is right")
    if not remote.folder.strip():
        raise ConfigError("remote.folder: is empty; ~/gaze_exp would be right")
    return True
