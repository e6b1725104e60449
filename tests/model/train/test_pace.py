from collections.abc import Iterator

import pytest
import torch

from epam_model.train import pace
from epam_model.train.pace import Pace


class Clock:
    """Time that passes only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(pace.time, "perf_counter", lambda: self.now)


def run(pace_: Pace, clock: Clock, steps: list[tuple[float, float]]) -> list[str | None]:
    """An epoch of (seconds of waiting, seconds of computing) each."""

    def batches() -> Iterator[object]:
        for wait, _ in steps:
            clock.now += wait
            yield object()

    estimates = []
    for number, _ in enumerate(pace_.epoch(batches())):  # type: ignore[arg-type]
        clock.now += steps[number][1]
        pace_.step_done()
        estimates.append(pace_.estimate(steps_left=100))
    return estimates


def test_speed_and_waiting_are_those_since_the_last_line(monkeypatch):
    clock = Clock(monkeypatch)
    measured = Pace(torch.device("cpu"), clips_per_step=8, steps_per_epoch=50)
    run(measured, clock, [(5.0, 15.0), (1.0, 3.0), (1.0, 3.0)])
    values = measured.values(steps_left=100)
    assert values["clips_per_second"] == pytest.approx(3 * 8 / 28)
    assert values["data_wait_share"] == pytest.approx(7 / 28)
    assert values["seconds_left"] == pytest.approx(100 * 4), "the first step, which compiles, does not count"
    assert 0.05 < values["memory_gb"] < 1000
    clock.now += 8
    assert measured.values(steps_left=100)["clips_per_second"] == 0, "nothing is counted twice"
    measured.evaluation_done(36.0)
    clock.now += 1000  # evaluations are not in the speed of the next epoch
    run(measured, clock, [(0.0, 4.0)] * 2)
    values = measured.values(steps_left=100)
    assert values["clips_per_second"] == pytest.approx(2.0) and values["data_wait_share"] == 0
    assert values["seconds_left"] == pytest.approx(100 * 4 + 2 * 36)


def test_the_whole_time_is_estimated_once(monkeypatch):
    clock = Clock(monkeypatch)
    lines = run(Pace(torch.device("cpu"), clips_per_step=8, steps_per_epoch=50), clock, [(0, 99)] + [(1, 1)] * 14)
    assert [number for number, line in enumerate(lines, start=1) if line] == [10]
    assert lines[9] == "estimate: 2 s per step, 1 min 40 s per epoch, 3 min 20 s to the end, besides evaluations"
    short = run(Pace(torch.device("cpu"), clips_per_step=8, steps_per_epoch=3), clock, [(1, 1)] * 3)
    assert [bool(line) for line in short] == [False, False, True]
