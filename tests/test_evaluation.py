import json

import numpy as np
import pytest
import torch

from gaze_exp.errors import DataError
from gaze_exp.evaluation import evaluate
from gaze_exp.predictions import Predictions
from gaze_exp.verdict import sample_counts, verdict


def predictions_at(errors_deg, *, subject, num_subjects, valid=None):
    """Targets at zero, predictions this many degrees of yaw beside them."""
    num = len(errors_deg)
    yaw = torch.deg2rad(torch.tensor(errors_deg, dtype=torch.float64)).float()
    return Predictions(
        predicted=torch.stack((torch.zeros(num), yaw), dim=1),
        target=torch.zeros(num, 2),
        valid=torch.ones(num, dtype=torch.bool) if valid is None else torch.tensor(valid),
        subject=torch.tensor(subject),
        row=torch.arange(num),
        subjects=[f"val{i:02d}" for i in range(num_subjects)],
    )


def constant(yaw_deg):
    return torch.tensor([0.0, np.radians(yaw_deg)])


def many_persons(num_persons=30, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 60, num_persons)
    subject = np.repeat(np.arange(num_persons), sizes)
    errors = np.abs(rng.normal(5, 2, num_persons))[subject] + rng.random(len(subject))
    return errors, subject


def test_sample_mean_and_person_mean_are_both_reported():
    p = predictions_at([10.0] * 10 + [2.0] * 30, subject=[0] * 10 + [1] * 30, num_subjects=2)
    m = evaluate(p, constant_gaze=constant(12), dropped={})
    assert m["mean"] == pytest.approx(4.0, abs=1e-4)
    assert m["person_mean"] == pytest.approx(6.0, abs=1e-4)
    assert m["median"] == pytest.approx(2.0, abs=1e-4)
    assert m["per_subject"]["val01"] == {
        "mean": pytest.approx(2, abs=1e-4),
        "median": pytest.approx(2, abs=1e-4),
        "num": 30,
    }
    assert m["constant"]["mean"] == pytest.approx(12.0, abs=1e-4)
    assert m["constant"]["yaw"] == pytest.approx(12.0, abs=1e-4)
    assert m["gain"]["mean"] == pytest.approx(8.0, abs=1e-4)


def test_percentiles_and_medians_equal_numpy():
    errors, subject = many_persons()
    m = evaluate(predictions_at(errors, subject=subject, num_subjects=30), constant_gaze=constant(0), dropped={})
    assert m["mean"] == pytest.approx(errors.mean(), abs=1e-4)
    assert m["p95"] == pytest.approx(np.percentile(errors, 95), abs=1e-4)
    for person in range(30):
        numbers = m["per_subject"][f"val{person:02d}"]
        assert numbers["median"] == pytest.approx(np.median(errors[subject == person]), abs=1e-4)
        assert numbers["num"] == (subject == person).sum()


def test_interval_equals_a_plain_loop_over_resampled_persons():
    errors, subject = many_persons()
    m = evaluate(predictions_at(errors, subject=subject, num_subjects=30), constant_gaze=constant(0), dropped={})
    rng = np.random.default_rng(99)
    parts = [errors[subject == person] for person in range(30)]
    means = [np.concatenate([parts[i] for i in rng.integers(0, 30, 30)]).mean() for _ in range(4000)]
    assert m["ci95"] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.1)
    person_means = np.array([part.mean() for part in parts])[rng.integers(0, 30, (4000, 30))].mean(axis=1)
    assert m["person_mean_ci95"] == pytest.approx(np.percentile(person_means, [2.5, 97.5]), abs=0.1)


def test_interval_is_over_persons_not_samples():
    once = predictions_at([2.0, 4.0, 6.0, 8.0], subject=[0, 1, 2, 3], num_subjects=4)
    often = predictions_at([2.0, 4.0, 6.0, 8.0] * 500, subject=[0, 1, 2, 3] * 500, num_subjects=4)
    widths = [np.ptp(evaluate(p, constant_gaze=constant(9), dropped={})["ci95"]) for p in (once, often)]
    assert widths[0] == pytest.approx(widths[1], abs=1e-3)
    assert widths[0] > 2


def test_gain_interval_is_paired():
    """Persons differ by 20 degrees, model and constant by 1 on each of them: the gain is certain."""
    p = predictions_at([1.0, 1.0, 1.0], subject=[0, 1, 2], num_subjects=3)
    p.target[:, 1] = torch.deg2rad(torch.tensor([11.0, 21.0, 31.0]))
    m = evaluate(p, constant_gaze=constant(0), dropped={})
    assert np.ptp(m["constant"]["ci95"]) > 10
    assert m["gain"]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert m["gain"]["ci95"] == pytest.approx([1.0, 1.0], abs=1e-4)


def test_same_seed_same_interval_other_seed_other_draws():
    errors, subject = many_persons()
    p = predictions_at(errors, subject=subject, num_subjects=30)
    a, b, c = (evaluate(p, constant_gaze=constant(0), dropped={}, seed=s)["ci95"] for s in (3, 3, 4))
    assert a == b != c


def test_one_person_has_no_interval_and_says_why():
    m = evaluate(predictions_at([3.0, 5.0], subject=[0, 0], num_subjects=1), constant_gaze=constant(9), dropped={})
    assert m["ci95"] is m["person_mean_ci95"] is m["gain"]["ci95"] is m["constant"]["ci95"] is None
    assert "one person" in m["bootstrap"]["note"]


def test_invalid_samples_are_counted_and_change_no_number():
    clean = predictions_at([2.0, 6.0], subject=[0, 1], num_subjects=2)
    mixed = predictions_at(
        [2.0, 6.0, 50.0, 50.0], subject=[0, 1, 1, 2], num_subjects=3, valid=[True, True, False, False]
    )
    mixed.target[2:] = torch.nan
    a, b = (evaluate(p, constant_gaze=constant(9), dropped={"not finite": 1, "none": 0}) for p in (clean, mixed))
    assert b["num_dropped"] == {"not finite": 1, "no valid label": 1}
    assert (b["num_kept"], b["num_persons"]) == (2, 2)
    assert b["per_subject"].pop("val02") == {"mean": None, "median": None, "num": 0}
    for key in ("mean", "median", "p95", "ci95", "person_mean_ci95", "constant", "gain", "per_subject"):
        assert a[key] == b[key]


def test_result_is_plain_json_without_nan():
    p = predictions_at([2.0, 6.0, 1.0], subject=[0, 1, 1], num_subjects=3, valid=[True, True, False])
    m = evaluate(p, constant_gaze=constant(9), dropped={"not finite": np.int64(4)})
    assert json.loads(json.dumps(m, allow_nan=False)) == m


def test_no_valid_label_is_refused():
    with pytest.raises(DataError, match="none of the 1 samples has a valid label"):
        evaluate(
            predictions_at([2.0], subject=[0], num_subjects=1, valid=[False]), constant_gaze=constant(0), dropped={}
        )


def test_a_diverged_model_is_refused_not_averaged_away():
    with pytest.raises(DataError, match="1 of 2 predictions are not finite"):
        evaluate(predictions_at([2.0, np.nan], subject=[0, 1], num_subjects=2), constant_gaze=constant(0), dropped={})


@pytest.mark.parametrize(
    ("errors_deg", "constant_deg", "words"),
    [
        ([2.0, 4.0, 3.0], 12, "better by 9.00° (8."),
        ([12.0, 14.0, 13.0], 3, "worse by 10.00° (9."),
        ([2.0, 14.0, 8.0], 8.5, "does not tell them apart"),
    ],
)
def test_verdict_claims_only_what_the_interval_allows(errors_deg, constant_deg, words):
    p = predictions_at(errors_deg, subject=[0, 1, 2], num_subjects=3)
    assert words in verdict(evaluate(p, constant_gaze=constant(constant_deg), dropped={}))


def test_verdict_on_one_person_warns():
    m = evaluate(predictions_at([3.0], subject=[0], num_subjects=1), constant_gaze=constant(9), dropped={})
    assert verdict(m).endswith("On this one person the model is better by 6.00°; others may differ.")
    assert sample_counts(m) == "1 person, 1 sample; none left out."
