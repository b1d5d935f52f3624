"""What calibration is worth on people never seen: the whole round with a real detector, in processes of its own."""

import pytest
import torch
from detectors import ULTRAFACE, detector_file
from l2cs_files import Official, lively

from gaze_exp.benchmarks import personal_round
from gaze_exp.benchmarks.personal_round import ANOTHER_DAY, LEFT_OUT, Place, go_round, rows_of
from gaze_exp.errors import ConfigError
from gaze_exp.hardware import Hardware
from gaze_exp.personal import comparison
from gaze_exp.personal.fit import Recipe

RECIPE = Recipe(epochs=1, views_per_epoch=1, patience=1, batch_size=8)
CPU = Hardware(accelerator="cpu", precision="32-true")


@pytest.mark.slow
@pytest.mark.machines
def test_a_round_measures_every_method_on_other_photos_and_goes_on_where_it_was(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "random.pkl"
    torch.save(lively(Official()).state_dict(), weights)
    place = Place(CPU, weights=weights, detector=str(detector_file(ULTRAFACE)), finished=tmp_path / "finished")
    samples = go_round([1], [9], place=place, recipe=RECIPE)
    assert [(s.person, s.num_targets, s.measured) for s in samples] == [
        (1, 9, LEFT_OUT),
        (1, 9, ANOTHER_DAY),
    ]  # fmt: skip
    for sample in samples:
        assert len(sample.labels_deg) > 18, "most photos have a face"
        assert set(sample.predicted) == set(comparison.METHODS)
        assert all(torch.isfinite(answers).all() for answers in sample.predicted.values())
    rows = rows_of(samples, measured=LEFT_OUT)
    assert [row["method"] for row in rows][:-2] == list(samples[0].predicted)
    assert rows[0]["9 targets, deg"].startswith(f"{samples[0].error_deg(comparison.CONSTANT):.2f} (")
    folds = sorted((tmp_path / "finished" / "person1_targets9").iterdir())
    assert len(folds) == personal_round.NUM_FOLDS + 1
    ages = [path.stat().st_mtime_ns for path in folds]
    again = go_round([1], [9], place=place, recipe=RECIPE)
    assert [path.stat().st_mtime_ns for path in folds] == ages, "finished folds are not made again"
    assert again[1].error_deg(comparison.FINE_TUNED) == samples[1].error_deg(comparison.FINE_TUNED)


def test_a_round_without_a_base_or_a_detector_is_refused_before_anything_is_rendered(tmp_path):
    with pytest.raises(ConfigError, match="needs a base model"):
        personal_round.run(CPU, checkpoint=None, detector=None)
    with pytest.raises(ConfigError, match="detector"):
        personal_round.run(CPU, checkpoint=str(tmp_path), detector=None)
