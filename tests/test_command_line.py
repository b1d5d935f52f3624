import os
import subprocess
import sys
from pathlib import Path

import pytest

from gaze_exp.command_line import rewrite
from gaze_exp.errors import ConfigError

ROOT = Path(__file__).parents[1]


def gaze_exp(*arguments, cwd=ROOT):
    """Run the program as a person does, without this process's Hydra setting."""
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", "gaze_exp", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("typed", ["task=quickstart", "+task=quickstart", "++task=quickstart"])
def test_task_is_accepted_with_and_without_plus(typed):
    assert rewrite([typed]) == ["task=quickstart"]


def test_flags_go_before_overrides_wherever_they_were_typed():
    typed = ["task=quickstart", "--resolve", "seed=1", "--config-dir", "mine", "--cfg", "job"]
    assert rewrite(typed) == ["--resolve", "--config-dir", "mine", "--cfg", "job", "task=quickstart", "seed=1"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--task=quickstart"], "no such flag; task=quickstart, without dashes, would be right"),
        (["--hlp"], "--hlp: there is no such flag; --help shows"),
        (["--cfg", "jobb"], "'jobb' is no part of the configuration; job, hydra or all"),
        (["-m", "task=quickstart", "--cfg", "job"], "-m and --cfg: one at a time"),
    ],
)
def test_a_wrong_flag_is_refused_in_a_line(typed, expected):
    with pytest.raises(ConfigError, match=expected):
        rewrite(typed)


def test_another_plus_is_left_alone():
    assert rewrite(["+trainer.fast_dev_run=true"]) == ["+trainer.fast_dev_run=true"]


def test_a_tilde_is_the_home_folder_as_the_value_of_a_key_alone():
    typed = ["client_dir=~/eye tracker", "data.root=~", "run_name=a~b", "~logger"]
    home = Path.home()
    assert rewrite(typed) == [f"client_dir={home}/eye tracker", f"data.root={home}", "run_name=a~b", "~logger"]


def test_resume_brings_the_overrides_and_the_folder_of_its_run(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- task=quickstart\n- seed=3\n")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    made = rewrite([f"resume={tmp_path}", "trainer.max_epochs=9"])
    assert made == [
        "task=quickstart", "seed=3", f"resume={tmp_path}", "trainer.max_epochs=9", f'hydra.run.dir="{tmp_path}"',
    ]  # fmt: skip


def test_resume_of_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"resume: .* is no run"):
        rewrite([f"resume={tmp_path}"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["task=quickstar"], "task: 'quickstar' is no choice; task=quickstart is"),
        (["task=quickstart", "model=gazetr_lit"], "model=gazetr_lite"),
        (["modle=timm_face"], "did you mean model?"),
        (["tsk=quickstart"], "did you mean task?"),
        (["task=quickstart", "optm.lr=1"], "did you mean optim.lr?"),
        (["task=eve_baseline", "data.root=nowhere"], "data.root: nowhere is not there"),
        (["actions=[evaluate]", "data=eve_crops", "checkpoint=no.ckpt"], "no.ckpt: there is no such checkpoint"),
        (["task=quickstart", "trainer.max_epoch=3"], "did you mean trainer.max_epochs?"),
        (["task=quickstart", "optim.learning_rate=3"], "optim.learning_rate: there is no such key"),
        (["task=quickstart", "trainer.max_epochs=abc"], "trainer.max_epochs: 'abc' is str"),
        (["task=quickstart", "seed=abc"], "seed: "),
        (["task=quickstart", "hardware.devices=two"], "hardware.devices: "),
        (["task=quickstart", "+model.wings=2"], "model.wings: "),
        (["task=quickstart", "data.root=/a(b"], "quotes"),
        (["task=quickstart", "actions=[trian]"], "actions: 'trian' is no action; train is"),
        ([], "task=quickstart"),
    ],
)
def test_a_wrong_choice_ends_in_one_helpful_line_and_leaves_nothing(arguments, expected, tmp_path):
    done = gaze_exp(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_names_every_task_and_group_and_five_examples():
    text = gaze_exp("--help").stdout
    for folder in ("model", "data", "loss", "optim", "augment", "logger", "hardware"):
        assert f"{folder}: " in text
    for task in (ROOT / "conf" / "task").glob("*.yaml"):
        assert task.stem in text.partition("Groups")[0]
    examples = text.partition("Examples")[2].partition("\n\n")[0]
    assert examples.count("python -m gaze_exp") == 5


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["task=quickstart", "--cfg", "job"], ["task=quickstart", "trainer.max_epochs=x"]],
)
def test_help_config_and_errors_take_little_more_than_importing_hydra(arguments):
    # 1 s on a warm disk is three to five times a bare `import hydra` here and elsewhere; importing torch alone
    # would be six. In CPU seconds, the best of several: a busy or slow machine does not fail it.
    hydra = [sys.executable, "-c", "import hydra.main, hydra.utils, omegaconf"]
    limit = 5 * min(cpu_seconds(lambda: subprocess.run(hydra, cwd=ROOT, check=True)) for _ in range(3))
    assert min(cpu_seconds(lambda: gaze_exp(*arguments)) for _ in range(3)) < limit


def cpu_seconds(call):
    """Of the processes that a call starts and waits for."""
    before = os.times()
    call()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import gaze_exp.__main__, sys\n"
        "print([m for m in ('torch', 'lightning', 'wandb', 'timm', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_completion_of_the_console_script_offers_tasks():
    code = "import sys; sys.argv = ['gaze-exp', '-sc', 'query=bash']; from gaze_exp.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, "COMP_LINE": "gaze-exp task=", "COMP_POINT": "14"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "task=quickstart" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["quickstart"], "quickstart: is no key but a choice; task=quickstart would be right"),
        (["task=quickstart", "--config-dir", "nowhere"], "--config-dir: no folder nowhere"),
        (["--config-dir", "nowhere", "--help"], "--config-dir: no folder nowhere"),
        (["task=quickstart", "global_batch=7.5"], "global_batch: '7.5' cannot be; a whole number would be right"),
        (
            ["task=quickstart", "actions=train"],
            "actions: one value where a list is wanted; actions=[...]",
        ),
        (["task=quickstart", "hydra.run.dir=/proc/x"], "another run folder is chosen with hydra.run.dir=FOLDER"),
    ],
)
def test_what_a_newcomer_gets_wrong_is_answered_in_his_words(arguments, expected, tmp_path):
    done = gaze_exp(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_an_impossible_rate_is_refused_by_name():
    from gaze_exp.optim import AdamWCosine

    with pytest.raises(ConfigError, match=r"optim\.lr: -1 cannot be; 0 or more would be right"):
        AdamWCosine(lr=-1)
