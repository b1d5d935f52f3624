import pytest
import torch

from gaze_exp.errors import ConfigError
from gaze_exp.optim import AdamSteps, AdamWCosine


def rates(num_steps=100, **kwargs):
    optimizer, schedule = AdamWCosine(lr=1.0, **kwargs)(
        [torch.nn.Parameter(torch.zeros(1))], total_steps=num_steps, steps_per_epoch=10
    )
    made = []
    for _ in range(num_steps):
        made.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return made


def test_the_rate_rises_for_the_warm_up_then_falls_to_its_end():
    made = rates(warmup_epochs=2)
    assert made[:20] == sorted(made[:20])
    assert made[0] < 0.1
    assert made[20] == pytest.approx(1.0)
    assert made[20:] == sorted(made[20:], reverse=True)
    assert made[60] == pytest.approx(0.5, abs=0.01)
    assert made[-1] < 0.01


def test_the_final_fraction_is_the_end_of_the_schedule():
    assert rates(warmup_epochs=0, final_lr_fraction=0.1)[-1] == pytest.approx(0.1, abs=0.01)


def test_frozen_parameters_stay_out_of_the_optimiser():
    frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    free = torch.nn.Parameter(torch.zeros(1))
    optimizer, _ = AdamWCosine()([frozen, free], total_steps=10, steps_per_epoch=1)
    assert [p is free for p in optimizer.param_groups[0]["params"]] == [True]


def steps_of(num_steps=40, **kwargs):
    optimizer, schedule = AdamSteps(lr=1.0, **kwargs)(
        [torch.nn.Parameter(torch.zeros(1))], total_steps=num_steps, steps_per_epoch=10
    )
    made = []
    for _ in range(num_steps):
        made.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return made


def test_eves_rate_halves_every_epoch():
    made = steps_of(factor=0.5, every_epochs=1)
    assert made == [1.0] * 10 + [0.5] * 10 + [0.25] * 10 + [0.125] * 10


def test_gazetrs_rate_warms_up_and_counts_from_there():
    made = steps_of(warmup_epochs=1, factor=0.5, every_epochs=2)
    assert made[:10] == sorted(made[:10])
    assert made[0] < 0.1
    assert made[10:30] == [1.0] * 20
    assert made[30:] == [0.5] * 10


def test_eves_weight_decay_is_part_of_the_gradient():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer, _ = AdamSteps(lr=0.1, weight_decay=0.5)([weight], total_steps=1, steps_per_epoch=1)
    weight.grad = torch.tensor([-0.5])  # the L2 term cancels it
    optimizer.step()
    assert weight.item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("option", "value"), [("lr", -1.0), ("factor", 0.0), ("factor", 2.0), ("every_epochs", 0.0), ("weight_decay", -1.0)]
)
def test_steps_that_cannot_be_are_refused_by_name(option, value):
    with pytest.raises(ConfigError, match=rf"optim\.{option}: {value} cannot be; .* would be right"):
        AdamSteps(**{option: value})
