import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from epam_data.stream.loading import loader
from epam_model.cli import main
from epam_model.train.preemption import REQUEUE_EXIT_CODE, StopRequest
from epam_model.train.trainer import Trainer
from tests.model.tiny import STREAM, tiny_trainer
from tests.model.train.test_trainer import assert_same_run

pytestmark = pytest.mark.usefixtures("one_thread")
SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_does_nothing_else(number: signal.Signals):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.signal is number
    assert signal.getsignal(number) == before


def test_what_the_process_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch):
    """`nohup epam-model train`: the run outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with StopRequest() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def signal_at(trainer: Trainer, number: signal.Signals, step: int) -> None:
    """The signal comes while a step is taken."""
    take_step = trainer._take_step

    def taken(batch, *, stop):
        if trainer.step == step:
            os.kill(os.getpid(), number)
        return take_step(batch, stop=stop)

    trainer._take_step = taken  # type: ignore[method-assign]


EVERYTHING = {"epochs": 3, "ema_decay": 0.6, "optimizer": "adamw", "lr": 0.01, "patience": 5, "accumulate": 2}


@pytest.fixture(scope="module")
def whole(shards: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 3 epochs of 3 steps that nobody stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    tiny_trainer(shards, out, **EVERYTHING).fit()
    return out


@pytest.mark.parametrize("step", range(9))
def test_a_run_that_was_stopped_at_any_step_goes_on_bit_for_bit(shards: Path, tmp_path: Path, whole: Path, step: int):
    """There are no checkpoints but those of the signal and of the epochs' ends: no step is taken twice."""
    out = tmp_path / "run"
    trainer = tiny_trainer(shards, out, **EVERYTHING)
    signal_at(trainer, SIGNALS[step % 2], step)
    trainer.fit()
    if step == 8:  # the last: the vote of this step came before the signal, that after the evaluation saw it
        assert trainer.stopped_by is not None and trainer.epoch == 3
    else:
        assert trainer.stopped_by == SIGNALS[step % 2].name and trainer.step in (step + 1, step + 2)
    resumed = tiny_trainer(shards, out, **EVERYTHING)
    assert resumed.fit(resume=True) and resumed.stopped_by is None
    assert_same_run(out, whole)
    if step < 8:
        taken = (out / "train.log").read_text().splitlines()
        assert sum(line.startswith("Epoch(train)") for line in taken) == 9


def test_a_signal_during_an_evaluation_stops_behind_it(shards: Path, tmp_path: Path, monkeypatch):
    from epam_model.train import trainer as train

    evaluate = train.evaluate

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGUSR1)
        return evaluate(*arguments)

    monkeypatch.setattr(train, "evaluate", signalled)
    trainer = tiny_trainer(shards, tmp_path / "run", epochs=3)
    assert trainer.fit() and (trainer.epoch, trainer.stopped_by) == (1, "SIGUSR1")


RECIPE = """
stream: {batch_size: 7, rgb_frames: 2, pose_frames: 6, workers: 0}
train: {epochs: 1, warmup_epochs: 0, device: cpu, num_threads: 1}
"""


def test_the_command_ends_with_the_code_that_requeues(shards: Path, tmp_path: Path, monkeypatch, capsys):
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(RECIPE)
    command = ["train", str(recipe), "--shards", str(shards), "--out", str(out), "--auto_resume"]
    with monkeypatch.context() as patch:
        take_step = Trainer._take_step

        def taken(self, batch, *, stop):
            os.kill(os.getpid(), signal.SIGUSR1)
            return take_step(self, batch, stop=stop)

        patch.setattr(Trainer, "_take_step", taken)
        before = {number: signal.getsignal(number) for number in SIGNALS}
        assert main(command) == REQUEUE_EXIT_CODE == 75
        for number, handler in before.items():
            os.kill(os.getpid(), number)  # as a launcher does once another rank has ended
            signal.signal(number, handler)
    text = capsys.readouterr()
    assert "stopped by SIGUSR1 at step " in text.out
    assert text.err.startswith("epam-model train: stopped by SIGUSR1; continue from the last checkpoint with: epam-m")
    assert text.err.rstrip().endswith(" --resume")
    assert main(command) == 0
    assert "resume: continuing from" in capsys.readouterr().out
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines] == ["train", "val"]


def test_loader_workers_ignore_the_signals(shards: Path):
    from dataclasses import replace

    from epam_data.stream import Stream

    stream = Stream(shards, split="train", settings=replace(STREAM, workers=1), training=True)
    batches = stream.epoch(0)
    first = next(batches)
    process = stream._loader._workers[0].process
    assert os.getsid(process.pid) != os.getsid(0), "Ctrl-C does not reach it either"
    for number in SIGNALS:
        os.kill(process.pid, number)
    rest = list(batches)
    assert len(rest) == 2 and torch.is_tensor(first.rgb) and process.poll() is None
    assert isinstance(stream._loader, loader.SlotLoader)
    stream.close()
