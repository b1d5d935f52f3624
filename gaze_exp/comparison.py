"""Two models on the same frames: the difference of their errors, and how sure it is.

Paired: each frame's error with one model is set against its error with the other, so that what makes a
frame or a person hard falls out. The interval draws persons, as that of every other number.
"""

import numpy as np
import torch

from gaze_exp.errors import DataError
from gaze_exp.evaluation import draw_persons, summary, what_was_drawn
from gaze_exp.predictions import Predictions

SAME_LABEL_RAD = 1e-5
"""Labels that were written as text and read again differ by less."""


def compare(predictions: Predictions, other: Predictions, *, name: str, seed: int = 0) -> dict[str, object]:
    """Set one model's errors against another's.

    Args:
        predictions: of the model in question.
        other: of the model that it is compared with, on the same data.
        name: of the other model, for the reader.
        seed: of the bootstrap.

    Returns:
        Plain values for JSON, degrees: `with`, `mean` and `ci95` of the model in question on the frames
        both answered, `other` the same of the other one, `gain` (other minus model) with `mean`, `ci95`,
        `person_mean`, `person_mean_ci95`, `per_subject`; `num_frames`, `num_persons`, `bootstrap`.

    Raises:
        DataError: the two share no labelled frame, or their labels differ.
    """
    ours, theirs = _shared(predictions, other, name=name)
    error_deg, other_deg = predictions.error_deg()[ours].numpy(), other.error_deg()[theirs].numpy()
    subject = predictions.subject[ours].numpy()
    persons = np.unique(subject)
    draws = draw_persons(len(persons), seed=seed)
    model, rival, gain = (
        summary(values, subject=subject, persons=persons, draws=draws)
        for values in (error_deg, other_deg, other_deg - error_deg)
    )
    of_person = {predictions.subjects[p]: float((other_deg - error_deg)[subject == p].mean()) for p in persons}
    return {
        "with": name,
        **{key: model[key] for key in ("mean", "ci95")},
        "other": {key: rival[key] for key in ("mean", "ci95")},
        "gain": {key: gain[key] for key in ("mean", "ci95", "person_mean", "person_mean_ci95")}
        | {"per_subject": {person: round(value, 6) for person, value in of_person.items()}},
        "num_frames": len(ours),
        "num_persons": len(persons),
        "bootstrap": what_was_drawn(len(persons), seed=seed),
    }


def _shared(predictions: Predictions, other: Predictions, *, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of the labelled frames that both answered, in each of the two."""
    place = {row: index for index, row in enumerate(other.row.tolist()) if other.valid[index]}
    pairs = [
        (index, place[row])
        for index, row in enumerate(predictions.row.tolist())
        if row in place and predictions.valid[index]
    ]
    if not pairs:
        raise DataError(f"evaluate.compare_with: {name} answered none of these frames; evaluate both on the same data")
    ours, theirs = torch.tensor(pairs).T
    if (predictions.target[ours] - other.target[theirs]).abs().max() > SAME_LABEL_RAD:
        raise DataError(
            f"evaluate.compare_with: {name} was measured against other labels for the same rows; evaluate both on "
            "the same data"
        )
    return ours, theirs
