import resource

import pytest
import torch

from gaze_exp.checkpoint_writer import CheckpointWriter
from gaze_exp.errors import DataError


@pytest.fixture
def full_disk():
    """No file of this process grows beyond 10 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_is_read_back_with_weights_only(tmp_path):
    path = tmp_path / "new folder" / "last.ckpt"
    CheckpointWriter().save_checkpoint({"weight": torch.arange(3)}, path)
    assert torch.load(path, weights_only=True)["weight"].tolist() == [0, 1, 2]


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(tmp_path, full_disk):
    path = tmp_path / "last.ckpt"
    CheckpointWriter().save_checkpoint({"step": 1}, path)
    with pytest.raises(DataError, match=r"last.ckpt: cannot write: File too large; free space"):
        CheckpointWriter().save_checkpoint({"weight": torch.zeros(100_000)}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
