import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from crop_samples import sample_rows, write_plain

from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
from gaze_exp.errors import DataError

NUM = 53


@pytest.fixture
def crops(tmp_path):
    rows = sample_rows(NUM) | {"validity": np.arange(NUM) != 5}
    return CropDataset([write_plain(tmp_path / "a.h5", rows)])


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


def seen(loader):
    return [batch["row"].tolist() for batch in loader]


@pytest.mark.parametrize(("num_workers", "layout"), [(0, "contiguous"), (3, "contiguous"), (3, "lzf and shuffle")])
def test_batches_hold_the_files_pixels_and_labels(tmp_path, num_workers, layout):
    rows = sample_rows(11) | {"head": np.arange(22.0).reshape(11, 2)}
    crops = CropDataset([write_plain(tmp_path / "participant_009" / "a.h5", rows, layout=layout)])
    batches = list(BatchLoader(crops, batch_size=4, num_workers=num_workers))
    assert [len(batch["row"]) for batch in batches] == [4, 4, 3]
    whole = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    for key, stored in (("face", "face"), ("left_eye", "leye"), ("right_eye", "reye")):
        assert whole[key].dtype == torch.uint8
        np.testing.assert_array_equal(whole[key].permute(0, 2, 3, 1).numpy(), rows[stored])
        assert all(batch[key].is_contiguous(memory_format=torch.channels_last) for batch in batches)
    np.testing.assert_array_equal(whole["gaze"], rows["gaze"])
    np.testing.assert_array_equal(whole["head"], rows["head"])
    assert whole["gaze"].dtype == whole["head"].dtype == torch.float32
    assert whole["row"].tolist() == list(range(11))
    assert whole["subject"].tolist() == [0] * 11
    assert whole["subject"].dtype == whole["row"].dtype == torch.int64
    assert whole["valid"].all()
    assert whole["valid"].dtype == torch.bool


def test_without_head_poses_there_is_no_head(crops):
    assert "head" not in next(iter(BatchLoader(crops, batch_size=4)))


def test_evaluation_gives_every_labelled_row_once_in_order(crops):
    batches = seen(BatchLoader(crops, batch_size=10))
    assert joined(batches) == [row for row in range(NUM) if row != 5]
    assert max(map(len, batches)) <= 10
    assert len(batches) == len(BatchLoader(crops, batch_size=10)) == 6


def test_given_rows_are_gone_through_labelled_or_not(crops):
    assert joined(seen(BatchLoader(crops, batch_size=4, rows=np.array([7, 5, 6])))) == [7, 5, 6]


def test_training_order_depends_on_seed_and_epoch_alone(crops):
    def order(*, seed=0, epoch=0, num_workers=2):
        loader = BatchLoader(crops, batch_size=8, shuffle=True, seed=seed, num_workers=num_workers)
        loader.set_epoch(epoch)
        return seen(loader)

    first = order()
    assert [len(rows) for rows in first] == [8] * 6
    flat = joined(first)
    assert len(set(flat)) == 48
    assert 5 not in flat
    assert flat != sorted(flat)
    assert first == order() == order(num_workers=0)
    assert first != order(epoch=1)
    assert first != order(seed=1)


def test_kept_batches_keep_their_pixels_while_the_loader_goes_on(crops, tmp_path):
    rows = sample_rows(NUM)
    loader = BatchLoader(crops, batch_size=4, shuffle=True)
    for _ in range(3):
        faces = [(batch["row"], batch["face"][1:3]) for batch in loader]  # the batch is gone, a view is kept
        gc.collect()
        list(loader)
        for row, face in faces:
            np.testing.assert_array_equal(face.permute(0, 2, 3, 1), rows["face"][row[1:3]])


def test_buffers_are_used_again(crops):
    loader = BatchLoader(crops, batch_size=4, shuffle=True)
    places = set()
    for epoch in range(5):
        loader.set_epoch(epoch)
        for batch in loader:
            places.add(batch["face"].data_ptr())
            del batch
    assert len(places) <= 7  # 5 epochs x 13 batches


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_pass_gives_exactly_the_rest(crops, shuffle, num_workers):
    def make():
        return BatchLoader(crops, batch_size=8, shuffle=shuffle, num_workers=num_workers)

    loader = make()
    loader.set_epoch(3)
    expected = seen(loader)
    interrupted = make()
    interrupted.set_epoch(3)
    iterator = iter(interrupted)
    first = [next(iterator)["row"].tolist() for _ in range(2)]
    state = json.loads(json.dumps(interrupted.state_dict()))
    resumed = make()
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert first + seen(resumed) == expected
    assert seen(resumed) == expected, "only the first pass after loading is shorter"


def test_a_state_of_a_finished_epoch_does_not_shorten_the_next(crops):
    loader = BatchLoader(crops, batch_size=8, shuffle=True)
    list(loader)
    state = loader.state_dict()
    loader.load_state_dict(state)
    loader.set_epoch(1)
    assert len(seen(loader)) == len(loader)


def test_a_state_saved_before_the_first_batch_of_an_epoch_is_its_start(crops):
    loader = BatchLoader(crops, batch_size=8, shuffle=True)
    list(loader)
    loader.set_epoch(1)
    resumed = BatchLoader(crops, batch_size=8, shuffle=True)
    resumed.load_state_dict(loader.state_dict())
    assert len(seen(resumed)) == len(loader)


def test_resuming_with_other_data_warns(crops, caplog):
    loader = BatchLoader(crops, batch_size=8, shuffle=True)
    next(iter(loader))
    other = BatchLoader(crops, batch_size=8, shuffle=True, seed=1)
    other.load_state_dict(loader.state_dict())
    next(iter(other))
    assert "seed" in caplog.text


def crop_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("crops")]


def test_stopping_early_leaves_no_thread(crops):
    for _ in BatchLoader(crops, batch_size=2, num_workers=4):
        assert crop_threads()
        break
    assert not crop_threads()


def test_making_an_iterator_starts_nothing(crops):
    iterator = iter(BatchLoader(crops, batch_size=2))
    assert not crop_threads()
    next(iterator)
    iterator.close()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_while_reading_reaches_the_consumer(crops, num_workers):
    path = crops.files[0].path
    loader = BatchLoader(crops, batch_size=2, num_workers=num_workers)
    list(loader)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=r"a\.h5: .* cut short"):
        list(loader)
    assert not crop_threads()


INTERRUPTED = """
import sys
from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
crops = CropDataset([sys.argv[1]])
while True:
    for batch in BatchLoader(crops, batch_size=2, num_workers=2):
        print("batch", flush=True)
"""


def test_ctrl_c_ends_the_program(crops):
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", INTERRUPTED, str(crops.files[0].path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        process.stdout.readline()
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert process.returncode == -signal.SIGINT
    assert time.monotonic() - begin < 10


RANK = """
import json, sys
from torch import distributed
from gaze_exp.data.batch_loader import BatchLoader
from gaze_exp.data.crop_dataset import CropDataset
rank, meeting, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=3)
crops = CropDataset([path])
result = {}
for name, options in {"train": {"shuffle": True}, "eval": {}, "few": {"rows": crops.usable[:4]}}.items():
    loader = BatchLoader(crops, batch_size=4, **options)
    result[name] = [batch["row"].tolist() for batch in loader]
    result[name + " len"] = len(loader)
print(json.dumps(result))
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_share_the_rows_without_repeating_any(crops, tmp_path):
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = [str(tmp_path / "meeting"), str(crops.files[0].path)]
    commands = [[sys.executable, "-c", RANK, str(rank), *arguments] for rank in range(3)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=env) for command in commands]
    ranks = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in running]
    train = [joined(rank["train"]) for rank in ranks]
    assert [len(rank["train"]) for rank in ranks] == [rank["train len"] for rank in ranks] == [4, 4, 4]
    assert len(set(joined(train))) == 48
    # The steps of three devices are the steps of one with three times the batch.
    alone = [batch["row"].tolist() for batch in BatchLoader(crops, batch_size=12, shuffle=True)]
    assert [joined(rank["train"][step] for rank in ranks) for step in range(4)] == alone
    assert joined(joined(rank["eval"]) for rank in ranks) == crops.usable.tolist()
    assert len({len(rank["eval"]) for rank in ranks}) == 1, "no rank waits for another"
    assert joined(joined(rank["few"]) for rank in ranks) == crops.usable[:4].tolist()
