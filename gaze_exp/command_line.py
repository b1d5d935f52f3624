"""What a person types, made into what Hydra reads, and Hydra's refusals made into one helpful line."""

import difflib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from gaze_exp.errors import ConfigError

FLAGS_WITH_VALUE = {
    "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c",
    "--info", "-i", "--experimental-rerun",
}  # fmt: skip
FLAGS = FLAGS_WITH_VALUE | {
    "--multirun", "-m", "--run", "-r", "--resolve", "--hydra-help", "--version", "--shell-completion", "-sc",
}  # fmt: skip

_MODES = {"--multirun", "-m", "--run", "-r", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
"""Of which Hydra takes one."""


def rewrite(arguments: list[str]) -> list[str]:
    """Make `+task=X`, `logger=null`, `~/`, flags after overrides and `resume=FOLDER` acceptable to Hydra.

    Hydra takes either `task=X` or `+task=X` for a given defaults list, never both; it knows `~logger` alone for no
    choice of a group; and argparse stops at an override before a flag.

    Args:
        arguments: as typed, without the program's name.

    Returns:
        Flags first, then overrides; `resume=FOLDER` brings that run's own overrides and folder along.

    Raises:
        ConfigError: a flag that there is not, or `resume` names a folder that is no run.
    """
    flags, overrides = split_flags(arguments)
    _refuse_unknown(flags)
    overrides = [re.sub(r"^\+{1,2}(task=)", r"\1", override) for override in overrides]
    overrides = [re.sub(rf"^({_groups()})=null$", r"~\1", override) for override in overrides]
    # No shell expands a tilde behind `key=`, and Hydra's grammar has no word that begins with one.
    overrides = [re.sub(r"=~(?=/|$)", lambda _: f"={Path.home()}", override) for override in overrides]
    # The same launcher, with what a job of SLURM needs (conf/hydra/launcher/slurm.yaml).
    overrides = [re.sub("^hydra/launcher=submitit_slurm$", "hydra/launcher=slurm", override) for override in overrides]
    return [word for pair in flags.items() for word in pair if word] + _resumed(overrides)


def _refuse_unknown(flags: dict[str, str]) -> None:
    """Answer a wrong flag in a line, where argparse would print its usage or Hydra a traceback."""
    modes = [flag for flag in flags if flag in _MODES]
    if len(modes) > 1:
        raise ConfigError(f"{modes[0]} and {modes[1]}: one at a time would be right")
    for flag, value in flags.items():
        if flag not in FLAGS:
            typed = flag.lstrip("-")
            right = f"{typed}, without dashes, would be right" if "=" in flag else "--help shows those that there are"
            raise ConfigError(f"{flag}: there is no such flag; {right}")
        if flag in {"--cfg", "-c"} and value not in {"job", "hydra", "all"}:
            raise ConfigError(f"{flag}: {value!r} is no part of the configuration; job, hydra or all would be right")


def _groups() -> str:
    """The groups as alternatives of a pattern."""
    from gaze_exp.config import conf_dir

    return "|".join(folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir())


def split_flags(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Tell flags from overrides.

    Args:
        arguments: in any order.

    Returns:
        Flag -> its value, empty where it takes none; and the overrides.
    """
    flags: dict[str, str] = {}
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            overrides.append(argument)
        elif name in FLAGS_WITH_VALUE:
            flags[name] = value if equals else next(rest, "")
        else:
            flags[argument] = ""
    return flags, overrides


def quoted(path: Path | str) -> str:
    """A path as a value that the grammar of overrides takes whole, blanks and commas included.

    >>> quoted("two words")
    '"two words"'
    """
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def has_begun(folder: Path) -> bool:
    """Whether a run has left something to go on from: a checkpoint, or the split of a fine-tune's photos."""
    return (folder / "checkpoints" / "last.ckpt").is_file() or (folder / "split.json").is_file()


def _resumed(overrides: list[str]) -> list[str]:
    """Overrides of the run that `resume` names, then the new ones, in the same folder."""
    import yaml

    named = [o.removeprefix("resume=").strip("'\"") for o in overrides if o.startswith("resume=")]
    if not named or named[-1] in {"null", ""} or named[-1].endswith(".ckpt"):
        return overrides
    if any(o.startswith("hydra.run.dir=") for o in overrides):  # a DDP rank: its parent has done this
        return overrides
    folder = Path(named[-1])
    saved = folder / ".hydra" / "overrides.yaml"
    if not saved.is_file() or not has_begun(folder):
        raise ConfigError(
            f"resume: {folder} is no run to go on with (no .hydra/overrides.yaml or no checkpoints/last.ckpt); "
            "a folder below outputs/, or a .ckpt file, is right"
        )
    before = [o for o in yaml.safe_load(saved.read_text()) if not o.startswith("resume=")]
    return [*before, *overrides, f'hydra.run.dir="{folder}"']


def explain(error: Exception, overrides: list[str]) -> str:
    """Say what Hydra refused in one paragraph, with the nearest name that exists.

    Args:
        error: what Hydra or OmegaConf raised.
        overrides: the command line, flags included.

    Returns:
        `<what is wrong>; did you mean ...?`
    """
    cause = error.__cause__  # where Hydra says which override, and OmegaConf what is wrong with it
    text = str(cause if "full_key" in str(cause) else error).strip()
    first = _shortened(text)
    typed = [re.split(r"[=]", o.lstrip("+~"), maxsplit=1) for o in overrides if not o.startswith("-")]
    known_keys, choices = _known(overrides)
    for key, *value in typed:
        group = next((group for group in ("task", *choices) if key in choices.get(group, ()) and not value), None)
        if group:
            return f"{key}: is no key but a choice; {group}={key} would be right"
        if key in choices and value and value[0] and value[0] not in choices[key] and f"{key}/" in text:
            near = difflib.get_close_matches(value[0], choices[key], n=2)
            right = " or ".join(f"{key}={n}" for n in near) or f"one of {', '.join(sorted(choices[key]))}"
            return f"{key}: {value[0]!r} is no choice; {right} is"
        is_meant = key in text or f"'{key.partition('.')[0]}'" in text
        if key not in known_keys and not key.startswith("hydra") and is_meant:
            nearest = _nearest(key, known_keys)
            return f"{key}: there is no such key; " + (f"did you mean {nearest}?" if nearest else "see --cfg job")
    return first


def _shortened(text: str) -> str:
    match = re.search(r"full_key: (\S+)", text)
    converted = re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text)
    if match and converted:
        wanted = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
        right = wanted.get(converted[2], converted[2])
        return f"{match[1]}: {converted[1]!r} cannot be; {right} would be right"
    if match and "is not a ListConfig" in text:
        return f"{match[1]}: one value where a list is wanted; {match[1]}=[...] would be right"
    line = text.splitlines()[0] if text else "the configuration was refused"
    if match and "hydra" not in match.group(1):
        return f"{match.group(1)}: {line}; --cfg job shows what is expected"
    if "mismatched input" in text or "token recognition" in text or "no viable alternative" in text:
        return f"{line}; a value with blanks or signs needs quotes: 'key=\"value\"'"
    return text


def _nearest(key: str, known: Iterable[str]) -> str | None:
    known = list(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:  # `epochs` for `trainer.max_epochs`
        last = key.rpartition(".")[2]
        near = [k for k in known if last in k.rpartition(".")[2]][:1]
    return near[0] if near else None


def config_folders(arguments: list[str]) -> list[Path]:
    """The shipped config folder, then the one that `--config-dir` names."""
    from gaze_exp.config import conf_dir

    flags, _ = split_flags(arguments)
    own = [Path(flags[name]) for name in ("--config-dir", "-cd") if flags.get(name)]
    for folder in own:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir: no folder {folder} in {Path.cwd()}; a folder of configs is right")
    return [Path(conf_dir()), *own]


def _known(arguments: list[str]) -> tuple[set[str], dict[str, list[str]]]:
    """Dotted keys of all config files, and the choices of each group. Composing would take twice as long."""
    import yaml

    keys: set[str] = set()
    choices: dict[str, list[str]] = {}
    for folder in config_folders(arguments):
        for path in [*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]:
            group = path.parent.name if path.parent != folder else ""
            if group:
                choices.setdefault(group, []).append(path.stem)
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            keys |= _dotted(content, prefix="" if group in {"", "task"} else f"{group}.")
    return keys | set(choices), choices


def _dotted(node: object, *, prefix: str) -> set[str]:
    """Every dotted key of a mapping."""
    if not isinstance(node, dict):
        return set()
    own = {f"{prefix}{name}" for name in node if not str(name).startswith("_")} - {"defaults", "hydra"}
    return own.union(*(_dotted(child, prefix=f"{prefix}{name}.") for name, child in node.items() if name != "hydra"))


def python_path_of_here() -> None:
    """Let the console script import from the current folder, as `python -m` does."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
