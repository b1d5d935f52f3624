"""Ranks that torchrun starts, on one machine or two, have one folder; a rank that is killed costs some steps."""

import itertools
import shutil
import subprocess
import sys

import pytest
import torch
from rank_events import rows_of
from several_processes import ALIKE, TESTS, TORCHRUN, ended, run, start

from gaze_exp.errors import ConfigError
from gaze_exp.hardware import Hardware, launched
from gaze_exp.processes import ranks

TORCHRUN_ENVIRONMENT = {
    "TORCHELASTIC_RUN_ID": "7f", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "first", "MASTER_PORT": "29500", "TORCHELASTIC_RESTART_COUNT": "1",
}  # fmt: skip

SLURM_ENVIRONMENT = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "gaze", "SLURM_PROCID": "3", "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2", "SLURM_NODELIST": "node[03-04]", "SLURM_RESTART_COUNT": "2",
}  # fmt: skip


def test_the_environment_says_who_started_this():
    assert ranks.found({}) == ranks.Launch()
    assert ranks.found({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}).launcher == "lightning"
    one_a_node = {"NODE_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "29500"}
    assert ranks.found(one_a_node).launcher == "nodes"
    assert ranks.found(one_a_node | {"LOCAL_RANK": "0"}).launcher == "alone"
    assert ranks.found(TORCHRUN_ENVIRONMENT) == ranks.Launch(
        launcher="torchrun", rank=5, world_size=8, address="first", port=29500, identity="torchrun 7f", restarts=1,
        per_node=4, num_nodes=2,
    )  # fmt: skip
    assert ranks.found(SLURM_ENVIRONMENT) == ranks.Launch(
        launcher="slurm", rank=3, world_size=4, address="node03", port=19711, identity="slurm 4711", restarts=2,
        per_node=2, num_nodes=2,
    )  # fmt: skip


def test_a_shell_inside_a_slurm_job_is_a_machine_like_any_other():
    assert ranks.found(SLURM_ENVIRONMENT | {"SLURM_JOB_NAME": "interactive"}).launcher == "alone"


def test_the_first_node_of_a_list_is_where_lightning_will_look_for_it():
    from lightning.fabric.plugins.environments import SLURMEnvironment

    for nodes in ("a", "a,b", "node[03-04]", "gpu[7,9-12]", "n[5]", "x1 x2"):
        found = ranks.found(SLURM_ENVIRONMENT | {"SLURM_NODELIST": nodes})
        assert found.address == SLURMEnvironment.resolve_root_node_address(nodes)


def test_the_launchers_numbers_count_where_no_others_were_asked_for():
    made = launched(Hardware(), launcher="torchrun", per_node=4, num_nodes=2)
    assert (made.devices, made.num_nodes, made.num_devices) == (4, 2, 8)
    with pytest.raises(ConfigError, match=r"torchrun started 4 in 2; hardware.devices=4 hardware.num_nodes=2"):
        launched(Hardware(devices=8), launcher="torchrun", per_node=4, num_nodes=2)


def test_several_nodes_without_a_launcher_that_spans_them_are_refused():
    with pytest.raises(ConfigError, match=r"hardware.num_nodes: 2, but this was started on one; torchrun --nnodes=2"):
        launched(Hardware(num_nodes=2), launcher="alone", per_node=0, num_nodes=0)


@pytest.fixture(scope="module")
def killed(crops, tmp_path_factory):
    """Two ranks, the second of which begins late and is killed in its 9th batch; torchrun starts both once more."""
    done = run(
        *TORCHRUN, "--nproc-per-node=2", "--max-restarts=1", "-m", "gaze_exp", *ALIKE, f"data.root={crops}",
        "actions=[train,evaluate]", cwd=tmp_path_factory.mktemp("torchrun"), END_RANK="9@1@9",
        PYTHONPATH=f"{TESTS / 'late_rank'}:{TESTS}:{TESTS.parent}",
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    return done


@pytest.mark.slow
def test_ranks_that_start_apart_share_one_folder_and_one_log(killed):
    assert len(list(killed.cwd.glob("outputs/run/*"))) == 1
    assert [path.name for path in killed.cwd.rglob("*.log")] == ["gaze_exp.log"]
    assert len(list(killed.folder.glob(".hydra/*"))) == 3


@pytest.mark.slow
def test_torchrun_decides_how_many_devices(killed):
    assert killed.read("run.json")["hardware"]["devices"] == 2
    assert "16 samples a step = 2 x 8 x 1 accumulated" in killed.out


@pytest.mark.slow
def test_a_killed_rank_is_started_again_and_the_run_goes_on_from_its_checkpoint(killed):
    assert [row["step"] for row in killed.read("history.json")["rows"]] == [6, 12]
    assert killed.read("metrics.json")["num_kept"] == 96
    assert len(killed.read("run.json")["resumed"]) == 1
    (_, first), (_, second) = (rows_of(killed.cwd / "events", rank=rank) for rank in (0, 1))
    assert sorted(itertools.chain(*first, *second)) == list(range(96))


@pytest.mark.slow
def test_its_record_holds_the_command_that_was_typed(killed):
    command = killed.read("run.json")["command"]
    assert command.endswith("'actions=[train,evaluate]'")
    assert "hydra.run.dir" not in command


def _in_a_network_of_its_own(name, address):
    """Commands that make a network namespace with an address, bridged to the others, where this machine lets us."""
    return [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i"],
        ["ip", "link", "set", f"{name}i", "netns", name],
        ["ip", "link", "set", f"{name}o", "master", "gazebridge", "up"],
        ["ip", "-n", name, "addr", "add", f"{address}/24", "dev", f"{name}i"],
        ["ip", "-n", name, "link", "set", f"{name}i", "up"],
        ["ip", "-n", name, "link", "set", "lo", "up"],
    ]


@pytest.fixture
def nodes():
    """Two machines as far as the network can tell: name -> (prefix of a command there, its address)."""
    places = {"gazenode0": "10.77.31.1", "gazenode1": "10.77.31.2"}
    make = [["ip", "link", "add", "gazebridge", "type", "bridge"], ["ip", "link", "set", "gazebridge", "up"]]
    make += [command for place in places.items() for command in _in_a_network_of_its_own(*place)]
    if shutil.which("ip") is None:
        pytest.skip("no `ip` here to make network namespaces with; apt install iproute2")
    try:
        for command in make:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no network namespaces here: {' '.join(command)}: {made.stderr.strip()}")
        yield {name: (["ip", "netns", "exec", name], address) for name, address in places.items()}
    finally:
        for command in (*(["ip", "netns", "del", name] for name in places), ["ip", "link", "del", "gazebridge"]):
            subprocess.run(command, capture_output=True, check=False)


@pytest.mark.slow
def test_two_nodes_train_one_model_in_one_folder(nodes, crops, tmp_path):
    processes = []
    for rank, (prefix, address) in enumerate(nodes.values()):
        processes.append(
            start(
                *prefix, *TORCHRUN, "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1",
                "--master-addr=10.77.31.1", "--master-port=29511", f"--local-addr={address}", "-m", "gaze_exp", *ALIKE,
                f"data.root={crops}", "trainer.max_epochs=1", "actions=[train]",
                cwd=tmp_path, GLOO_SOCKET_IFNAME=f"gazenode{rank}i",
            )
        )  # fmt: skip
    first, second = (ended(process, cwd=tmp_path) for process in processes)
    assert first.code == second.code == 0, first.out + first.err + second.out + second.err
    assert len(list(tmp_path.glob("outputs/run/*"))) == 1
    assert first.read("run.json")["hardware"]["num_nodes"] == 2
    seen = [batch for rank in (0, 1) for (process,) in [rows_of(tmp_path / "events", rank=rank)] for batch in process]
    assert sorted(itertools.chain(*seen)) == list(range(96))


JOIN = """
import sys
from gaze_exp.processes import ranks
try:
    with ranks.joined([], planned=ranks.Planned(folder=sys.argv[1], trains=False, resumes=False)) as arguments:
        print(arguments[0], flush=True)
        sys.stdin.read()
except Exception as error:
    print(type(error).__name__, error)
"""


def join(folder, *, cwd, **environment):
    """One rank that agrees on a folder, and stays until its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", JOIN, folder], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TESTS.parent)} | environment,
    )  # fmt: skip


@pytest.mark.slow
def test_one_command_a_node_shares_the_first_ones_folder(tmp_path):
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    second = join("outputs/second", cwd=tmp_path, NODE_RANK="1", **where)
    first = join("outputs/first", cwd=tmp_path, NODE_RANK="0", **where)
    said = [process.stdout.readline() for process in (first, second)]
    for process in (second, first):
        process.communicate("")
    assert said[0].startswith('hydra.run.dir="outputs/first"')
    assert said[1] == said[0]


@pytest.mark.slow
def test_a_requeued_slurm_job_has_the_same_folder_and_goes_on(tmp_path):
    environment = SLURM_ENVIRONMENT | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}
    first, _ = join("outputs/run/10-00", cwd=tmp_path, **environment | {"SLURM_RESTART_COUNT": "0"}).communicate("")
    (folder,) = tmp_path.glob("outputs/run/slurm4711_*")
    assert str(folder.relative_to(tmp_path)) in first
    (folder / "checkpoints").mkdir()
    torch.save({}, folder / "checkpoints" / "last.ckpt")
    again = subprocess.run(
        [sys.executable, "-c", JOIN.replace("arguments[0]", "arguments"), "outputs/run/11-00"], cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TESTS.parent)} | environment, input="",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert again.stdout.count(folder.name) == 2
    assert "resume=" in again.stdout


def _free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
