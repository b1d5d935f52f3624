"""Two real processes train what one does: the same losses, every row once, one folder, one log."""

import pytest
import torch
from conftest import program
from rank_events import rows_of
from several_processes import ALIKE, environment, gaze_exp
from torch import distributed, multiprocessing, nn

from gaze_exp.processes.synced_norm import sync_batch_norm


@pytest.fixture(scope="module")
def alone(crops, tmp_path_factory):
    """One process."""
    cwd = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK_EVENTS", environment(cwd / "events")["RANK_EVENTS"])
        done = program(*ALIKE, f"data.root={crops}", "actions=[train,evaluate]", cwd=cwd)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def both(request, crops, tmp_path_factory):
    """Two processes, started by Lightning."""
    done = gaze_exp(
        *ALIKE, f"data.root={crops}", "hardware.devices=2", f"hardware.strategy={request.param}",
        "trainer.gradient_clip_val=1000", "actions=[train,evaluate]", cwd=tmp_path_factory.mktemp(request.param),
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    return done


def weights(run):
    return torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_losses_and_errors_are_those_of_one_process(alone, both):
    one, two = (run.read("history.json")["rows"] for run in (alone, both))
    assert [row["step"] for row in two] == [6, 12]
    for row_of_one, row_of_two in zip(one, two, strict=True):
        assert row_of_two == pytest.approx(row_of_one, abs=1e-5)


@pytest.mark.slow
def test_weights_and_running_statistics_are_those_of_one_process(alone, both):
    one, two = weights(alone), weights(both)
    assert one.keys() == two.keys()
    assert max((one[name].float() - two[name].float()).abs().max() for name in one) < 1e-5


@pytest.mark.slow
def test_every_row_is_seen_once_an_epoch(both):
    (first,), (second,) = (rows_of(both.cwd / "events", rank=rank) for rank in (0, 1))
    assert len(first) == len(second) == 12
    for epoch in (slice(0, 6), slice(6, 12)):
        assert sorted(row for batch in first[epoch] + second[epoch] for row in batch) == list(range(96))


@pytest.mark.slow
def test_the_test_set_is_measured_once_by_one_process(alone, both):
    assert both.out.count("evaluate on test: 2 persons") == 1
    one, two = (run.read("metrics.json") for run in (alone, both))
    assert two["num_kept"] == one["num_kept"] == 96
    assert two["mean"] == pytest.approx(one["mean"], abs=1e-4)


@pytest.mark.slow
def test_there_is_one_folder_and_one_log_and_the_split_is_in_both(both):
    assert [path.name for path in both.cwd.rglob("*.log")] == ["gaze_exp.log"]
    log = (both.folder / "gaze_exp.log").read_text()
    assert log.count("16 samples a step = 2 x 8 x 1 accumulated, 6 steps an epoch") == 1
    recorded = both.read("run.json")
    assert recorded["batch"] == {"device_batch": 8, "accumulate": 1, "num_devices": 2, "steps_per_epoch": 6}
    assert recorded["hardware"]["devices"] == 2


def _normalise(rank, world_size, folder):
    """Gradients and running statistics of a small net with batch norm, on this rank's share of 12 samples."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.BatchNorm1d(8)
    )
    trained = net
    if world_size > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
        assert sync_batch_norm(net, on_gpu=False) == 2
        assert sync_batch_norm(net, on_gpu=False) == 0
        trained = nn.parallel.DistributedDataParallel(net)
    images = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    share = images.chunk(world_size)[rank]
    (trained(share) ** 3).mean().backward()
    torch.save([p.grad for p in net.parameters()] + list(net.buffers()), folder / f"{world_size}_{rank}.pt")


@pytest.mark.slow
def test_batch_norm_over_two_processes_is_that_over_the_whole_batch(tmp_path):
    _normalise(0, 1, tmp_path)
    multiprocessing.spawn(_normalise, args=(2, tmp_path), nprocs=2)
    whole = torch.load(tmp_path / "1_0.pt")
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"2_{rank}.pt"), whole, atol=1e-5, rtol=1e-5)


def test_frozen_batch_norm_stays_as_it_is():
    net = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4).requires_grad_(requires_grad=False))
    assert sync_batch_norm(net, on_gpu=False) == 1
    assert type(net[1]) is nn.BatchNorm2d
