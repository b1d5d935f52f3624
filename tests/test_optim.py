import pytest
import torch

from gaze_exp.optim import AdamWCosine


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
