import pytest
import torch

from epam_model.train.schedule import learning_rate

PLAN = {"total_steps": 50, "warmup_steps": 10, "peak": 0.4, "minimum": 0.01}


def test_warm_up_is_a_line_to_the_peak():
    rates = [learning_rate(step, **PLAN) for step in range(10)]
    assert rates == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert learning_rate(10, **PLAN) == 0.4


def test_cosine_agrees_with_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.01)
    for step in range(10, 51):
        assert learning_rate(step, **PLAN) == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        reference.step()


def test_multistep_agrees_with_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[20, 40], gamma=0.1)
    for step in range(50):
        rate = learning_rate(step, total_steps=50, warmup_steps=0, peak=0.4, schedule="multistep", milestones=(20, 40))
        assert rate == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        reference.step()


def test_constant_stays_behind_the_warm_up():
    rates = [learning_rate(step, **PLAN, schedule="constant") for step in (0, 9, 10, 30, 50)]
    assert rates == pytest.approx([0.04, 0.4, 0.4, 0.4, 0.4])


def test_it_falls_from_the_peak_to_the_minimum():
    rates = [learning_rate(step, **PLAN) for step in range(10, 51)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.01
    assert learning_rate(0, total_steps=5, warmup_steps=0, peak=0.4) == 0.4


def test_the_whole_training_may_be_warm_up():
    assert learning_rate(3, total_steps=4, warmup_steps=4, peak=0.4) == 0.4
    assert learning_rate(4, total_steps=4, warmup_steps=4, peak=0.4) == 0.0


def test_steps_outside_the_training_are_refused():
    with pytest.raises(ValueError, match=r"step must be in 0\.\.50, got 51"):
        learning_rate(51, **PLAN)
    with pytest.raises(ValueError, match=r"warmup_steps must be in 0\.\.4 \(the complete training\), got 5"):
        learning_rate(0, total_steps=4, warmup_steps=5, peak=0.4)
    with pytest.raises(ValueError, match="schedule must be one of cosine, multistep, constant, got 'step'"):
        learning_rate(0, total_steps=4, warmup_steps=0, peak=0.4, schedule="step")
