"""A rank that is gone: the others say so and end, and the run goes on as if nothing had been."""

import signal
import time

import pytest
import torch
from conftest import program
from rank_events import rows_of
from several_processes import ALIKE, environment, gaze_exp

pytestmark = [pytest.mark.slow, pytest.mark.machines]


def last(run):
    return torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)


def seconds_after_the_end_of_rank(one, *, cwd):
    """How long ago a rank wrote its last row."""
    (path,) = (cwd / "events").glob(f"{one}_*.jsonl")
    return time.time() - path.stat().st_mtime


@pytest.fixture(scope="module")
def killed(crops, tmp_path_factory):
    """Rank 1 of 2 is killed in its 9th batch, after the checkpoint of step 6."""
    cwd = tmp_path_factory.mktemp("killed")
    done = gaze_exp(*ALIKE, f"data.root={crops}", "hardware.devices=2", "actions=[train]", cwd=cwd, END_RANK="9@1@9")
    return done, seconds_after_the_end_of_rank(1, cwd=cwd)


def test_the_others_end_within_a_minute_and_say_how_to_go_on(killed):
    done, seconds = killed
    assert done.code != 0
    assert seconds < 60
    assert "another process of this run has ended" in done.err or "terminated with code -9" in done.out
    assert last(done)["global_step"] == 6


def test_the_resumed_run_ends_like_one_process_that_was_never_stopped(killed, crops, tmp_path):
    done, _ = killed
    resumed = gaze_exp(f"resume={done.folder}", cwd=done.cwd)
    assert resumed.code == 0, resumed.out + resumed.err
    assert [row["step"] for row in resumed.read("history.json")["rows"]] == [6, 12]
    again = [rows_of(done.cwd / "events", rank=rank)[-1] for rank in (0, 1)]
    assert sorted(row for batches in again for batch in batches for row in batch) == list(range(96))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK_EVENTS", environment(tmp_path / "events")["RANK_EVENTS"])
        alone = program(*ALIKE, f"data.root={crops}", "actions=[train]", cwd=tmp_path)
    one, two = last(alone)["state_dict"], last(resumed)["state_dict"]
    assert max((one[name].float() - two[name].float()).abs().max() for name in one) < 1e-5


def test_a_rank_that_hangs_ends_the_others_within_a_minute(crops, tmp_path):
    """A stopped process keeps its connections open, as one does that waits for a card or whose machine lost power."""
    done = gaze_exp(
        *ALIKE, f"data.root={crops}", "hardware.devices=2", "actions=[train]", cwd=tmp_path,
        END_RANK=f"{int(signal.SIGSTOP)}@1@9",
    )  # fmt: skip
    assert done.code == 70, done.out + done.err
    assert seconds_after_the_end_of_rank(1, cwd=tmp_path) < 60
    assert "no sign of life from rank 1" in done.err
    assert f"resume={done.folder}" in done.out
