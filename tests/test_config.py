"""Which choice wins, and that every choice that is shipped fits the code that receives it."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gaze_exp.assemble import DECIDED_ELSEWHERE
from gaze_exp.command_line import rewrite
from gaze_exp.config import check, compose, conf_dir, plain
from gaze_exp.errors import ConfigError
from gaze_exp.signature import check_component

CONF = Path(conf_dir())
MINE = Path(__file__).parent / "user_project" / "my_conf"
COMPONENTS = ("model", "data", "loss", "optim", "augment", "logger")

SUPPLIED = {"steps_per_epoch", "total_steps", "parameters"}
"""Arguments that the code gives, beside those of `DECIDED_ELSEWHERE`."""


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def components():
    return [(group, choice) for group in COMPONENTS for choice in choices(group)]


@pytest.mark.parametrize("hardware", choices("hardware"))
@pytest.mark.parametrize("task", choices("task"))
def test_every_task_on_every_hardware_composes_and_fits_the_code(task, hardware):
    cfg = compose([f"task={task}", f"hardware={hardware}", "run_dir=here"])
    check(cfg)
    assert cfg.task_name == task
    assert cfg.hardware.name == hardware


@pytest.mark.parametrize(("group", "choice"), components())
def test_every_choice_fits_the_constructor_it_names(group, choice):
    for key, node in described(group, choice):
        check_component(node, key=key)


@pytest.mark.parametrize(("group", "choice"), components())
def test_every_choice_of_ours_shows_every_argument_there_is(group, choice):
    for key, node in described(group, choice):
        if node["_target_"].startswith("gaze_exp."):
            hidden = optional_arguments(node["_target_"]) - node.keys() - SUPPLIED - DECIDED_ELSEWHERE.keys()
            assert not hidden, f"{key} hides {hidden}"


def test_checking_every_choice_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from gaze_exp.config import check, compose\n"
        "for choice in sys.argv[1:]:\n"
        "    check(compose(['task=quickstart', 'run_dir=here', choice]))\n"
        "print([m for m in ('torch', 'lightning', 'timm') if m in sys.modules])"
    )
    every = [f"{group}={choice}" for group, choice in components()]
    done = subprocess.run([sys.executable, "-c", code, *every], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("choice", choices("data"))
def test_no_data_says_what_task_and_hardware_decide(choice):
    assert not DECIDED_ELSEWHERE.keys() & compose([f"data={choice}"]).data.keys()


def described(group, choice):
    """The nodes with a `_target_` of one file: itself, or each of a mapping of loggers."""
    node = plain(compose([f"{group}={choice}", "run_dir=here"])[group])
    nodes = {group: node} if "_target_" in node else {f"{group}.{name}": child for name, child in node.items()}
    assert nodes
    return nodes.items()


def optional_arguments(target):
    module, _, name = target.rpartition(".")
    component = getattr(importlib.import_module(module), name)
    parameters = inspect.signature(component).parameters.values()
    return {p.name for p in parameters if p.default is not p.empty}


def test_the_command_line_wins_over_the_task_and_the_task_over_its_groups():
    assert compose([]).optim.lr == 1e-4
    assert compose(["task=mine"], config_dir=str(MINE)).optim.lr == 1e-2
    assert compose(["optim.lr=0.5", "task=mine"], config_dir=str(MINE)).optim.lr == 0.5


def test_a_task_wins_over_config_yaml_and_config_yaml_over_a_group(tmp_path):
    (tmp_path / "hardware").mkdir()
    (tmp_path / "hardware" / "bold.yaml").write_text("# @package _global_\ntrainer: {max_epochs: 1}\n")
    usual = compose([]).trainer.max_epochs
    assert compose(["hardware=bold"], config_dir=str(tmp_path)).trainer.max_epochs == usual
    assert compose(["task=mine"], config_dir=str(MINE)).trainer.max_epochs == 3 != usual


def test_a_group_on_the_command_line_wins_over_the_one_that_the_task_chose():
    cfg = compose(["model=timm_face", "task=eve_baseline"])
    assert cfg.model._target_.endswith("TimmFace")
    assert cfg.task_name == "eve_baseline"


def test_a_task_leaves_no_value_of_its_model_in_another():
    alone, in_task = (compose([*task, "model=timm_face"]).model for task in ([], ["task=quickstart"]))
    assert alone == in_task


@pytest.mark.parametrize("task", choices("task"))
def test_a_task_is_the_same_with_and_without_plus(task):
    assert compose([f"+task={task}"]) == compose([f"task={task}"])
    assert rewrite([f"+task={task}", "-m"]) == rewrite(["-m", f"task={task}"])


def test_a_group_can_be_switched_off_where_a_run_can_go_without():
    assert compose(["task=eve_baseline", "logger=null"]).logger is None
    with pytest.raises(ConfigError, match="augment: nothing is chosen; augment=none or augment=photometric"):
        check(compose(["task=eve_baseline", "run_dir=here", "augment=null"]))


def test_several_loggers_can_be_chosen_at_once():
    assert set(compose(["logger=[csv,tensorboard,wandb]"]).logger) == {"csv", "tensorboard", "wandb"}


def test_a_task_can_change_one_value_of_one_logger():
    cfg = compose(["task=eve_baseline", "logger.wandb.mode=offline"])
    assert cfg.logger.wandb.mode == "offline"
    assert cfg.logger.wandb.project == "eve-gaze"


@pytest.mark.parametrize("override", ["global_batch=0", "actions=[]"])
def test_what_cannot_run_is_refused_by_its_key(override):
    with pytest.raises(ConfigError, match=f"^{override.partition('=')[0]}: "):
        check(compose(["task=quickstart", "run_dir=here", override]))


def test_a_resolved_config_is_plain_data():
    cfg = plain(compose(["task=quickstart", "run_dir=here"]))
    assert OmegaConf.create(cfg) == cfg
    assert "${" not in str(cfg)
