import csv

import pytest
import torch
from torch import nn

from gaze_exp.atomic_write import atomic_write
from gaze_exp.batch import model_inputs
from gaze_exp.errors import DataError
from gaze_exp.predictions import Predictions, collect, from_csv, to_csv


class MeanColour(nn.Module):
    """Answers with the mean of two channels of the face; dropout shows the mode it runs in."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.BatchNorm1d(2).eval()
        self.scale = nn.Parameter(torch.tensor(0.01))

    def forward(self, face):
        assert not torch.is_grad_enabled()
        return {"gaze": (self.dropout(face.float().mean((2, 3)))[:, :2] * self.scale).bfloat16()}


def batches(sizes, *, recycled=False, with_head=True):
    """A loader; a recycled one fills the same memory again for every batch."""
    row, memory = 0, {}
    for size in sizes:
        rows = torch.arange(row, row + size)
        batch = {
            "face": rows[:, None, None, None].expand(size, 3, 4, 4).to(torch.uint8),
            "left_eye": torch.zeros(size, 3, 2, 2, dtype=torch.uint8),
            "gaze": rows[:, None] * torch.tensor([0.01, 0.02]),
            "valid": rows % 3 != 0,
            "subject": rows % 2,
            "row": rows,
        }
        if with_head:
            batch["head"] = batch["gaze"] * 0.5
        if recycled:
            for key, value in batch.items():
                batch[key] = memory.setdefault(key, value.clone())[:size].copy_(value)
        row += size
        yield batch


def some_predictions(**changes):
    values = {
        "predicted": torch.tensor([[0.1, 0.2], [-0.3, 0.0], [0.0, 0.5]]),
        "target": torch.tensor([[0.1, 0.25], [torch.nan, torch.nan], [0.1, 0.4]]),
        "valid": torch.tensor([True, False, True]),
        "subject": torch.tensor([1, 0, 1]),
        "row": torch.tensor([7, 3, 12]),
        "subjects": ['a, "b"', "val02"],
        "head": torch.tensor([[0.1, 0.1], [torch.nan, torch.nan], [0.0, -0.2]]),
    }
    return Predictions(**(values | changes))


def test_collect_keeps_every_sample_in_order_from_recycled_buffers():
    p = collect(MeanColour(), batches([4, 4, 2], recycled=True), device="cpu", subjects=["a", "b"])
    assert p.row.tolist() == list(range(10))
    assert p.subject.tolist() == [0, 1] * 5
    assert p.valid.tolist() == [i % 3 != 0 for i in range(10)]
    torch.testing.assert_close(p.target, torch.arange(10)[:, None] * torch.tensor([0.01, 0.02]))
    torch.testing.assert_close(p.head, p.target * 0.5)
    torch.testing.assert_close(p.predicted[:, 0], torch.arange(10) * 0.01, atol=5e-4, rtol=0)
    assert p.predicted.dtype == torch.float32


def test_collect_puts_every_part_back_into_its_own_mode():
    model = MeanColour().train()
    model.frozen.eval()
    collect(model, batches([2]), device="cpu", subjects=["a", "b"])
    assert (model.training, model.dropout.training, model.frozen.training) == (True, True, False)


def test_collect_without_head_pose_says_so():
    assert collect(MeanColour(), batches([2], with_head=False), device="cpu", subjects=["a", "b"]).head is None


def test_collect_refuses_an_empty_loader():
    with pytest.raises(DataError, match="no sample"):
        collect(MeanColour(), [], device="cpu", subjects=[])


def test_progress_sees_every_batch():
    seen = []

    def watch(loader):
        for batch in loader:
            seen.append(len(batch["row"]))
            yield batch

    collect(MeanColour(), batches([3, 1]), device="cpu", subjects=["a", "b"], progress=watch)
    assert seen == [3, 1]


def test_model_inputs_passes_only_what_forward_names():
    class EyesOnly(nn.Module):
        def forward(self, left_eye, head=None, other=1, **rest): ...

    batch = next(batches([2], with_head=False))
    assert list(model_inputs(EyesOnly(), batch)) == ["left_eye"]
    assert list(model_inputs(torch.compile(MeanColour()), batch)) == ["face"]


def test_model_inputs_names_the_key_that_the_batch_lacks():
    class NeedsMore(nn.Module):
        def forward(self, face, depth): ...

    with pytest.raises(KeyError, match=r"NeedsMore\.forward reads.*depth"):
        model_inputs(NeedsMore(), next(batches([2])))


def test_error_is_nan_exactly_where_nothing_is_known():
    error_deg = some_predictions().error_deg()
    assert torch.isnan(error_deg).tolist() == [False, True, False]
    assert float(error_deg[0]) == pytest.approx(2.8504, abs=1e-3)


def test_csv_holds_degrees_names_and_empty_cells(tmp_path):
    to_csv(some_predictions(), tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        first, second, _ = csv.DictReader(file)
    assert first["subject"] == "val02"
    assert float(first["predicted_pitch_deg"]) == pytest.approx(5.729578, abs=1e-5)
    assert float(first["target_yaw_deg"]) == pytest.approx(14.323945, abs=1e-5)
    assert first["valid"] == "1"
    assert second["subject"] == 'a, "b"'
    assert second["target_pitch_deg"] == second["error_deg"] == second["head_yaw_deg"] == ""
    assert float(second["predicted_pitch_deg"]) == pytest.approx(-17.188734, abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"head": None}])
def test_csv_round_trip(tmp_path, changes):
    p = some_predictions(**changes)
    to_csv(p, tmp_path / "p.csv")
    q = from_csv(tmp_path / "p.csv")
    torch.testing.assert_close(q.predicted, p.predicted, atol=1e-7, rtol=0)
    torch.testing.assert_close(q.target, p.target, atol=1e-7, rtol=0, equal_nan=True)
    assert (q.valid.tolist(), q.row.tolist()) == (p.valid.tolist(), p.row.tolist())
    assert [q.subjects[i] for i in q.subject] == [p.subjects[i] for i in p.subject]
    assert (q.head is None) == (p.head is None)


def test_csv_without_a_column_is_refused_by_name(tmp_path):
    (tmp_path / "p.csv").write_text("row,subject\n1,a\n")
    with pytest.raises(DataError, match=r"p\.csv: no column predicted_pitch_deg"):
        from_csv(tmp_path / "p.csv")


def test_interrupted_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("old")

    def interrupted():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
