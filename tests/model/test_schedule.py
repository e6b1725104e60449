import pytest
import torch

from epam_model.schedule import learning_rate

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
    with pytest.raises(ValueError, match=r"warmup_steps must be in 0\.\.4 \(the whole training\), got 5"):
        learning_rate(0, total_steps=4, warmup_steps=5, peak=0.4)
