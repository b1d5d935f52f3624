"""What `--help` prints: tasks, groups and examples, read from the config folder.

Hydra's own help loads every option of every group before it prints; this reads file names and first lines.
"""

from pathlib import Path

TEXT = """\
gaze_exp: train, evaluate and export gaze models, from one command to a report.

Usage: python -m gaze_exp task=NAME [group=choice] [key=value] [-m] [--config-dir DIR]

Tasks (task=..., or +task=...)
{tasks}

Groups (group=choice)
{groups}

Examples
  python -m gaze_exp task=quickstart
  python -m gaze_exp +task=eve_baseline hardware=h200x8 data.root=/tmp/eve_dataset
  python -m gaze_exp task=eve_baseline data=synthetic trainer.max_epochs=3 logger=[csv,tensorboard]
  python -m gaze_exp -m task=quickstart optim.lr=1e-3,3e-3 seed=0,1
  python -m gaze_exp actions=[evaluate,export] checkpoint=outputs/quickstart/RUN/checkpoints/last.ckpt

See a choice before it runs: --cfg job (the whole config), --cfg job -p model (one group).
Go on with a run that stopped: python -m gaze_exp resume=outputs/TASK/RUN
Your own models and data: --config-dir my_conf (docs/add_a_model.md, docs/add_a_dataset.md).
The whole trace of an error: GAZE_EXP_TRACE=1. Hydra's own flags: --hydra-help.
Completion: eval "$(gaze-exp -sc install=bash)"
"""


def help_text(folders: list[Path]) -> str:
    """Compose the help.

    Args:
        folders: config folders, ours first, then the user's own.

    Returns:
        The page, without a line end.
    """
    choices: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            choices.setdefault(path.parent.name, {})[path.stem] = path
    tasks = choices.pop("task", {})
    width = max(map(len, tasks), default=0) + 2
    return TEXT.format(
        tasks="\n".join(f"  {name:<{width}}{_first_comment(path)}" for name, path in tasks.items()),
        groups="\n".join(f"  {group}: {', '.join(names)}" for group, names in sorted(choices.items())),
    ).rstrip()


def _first_comment(path: Path) -> str:
    """The first line of a config that says what it is for."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    comments = (line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line)
    return next(comments, "")
