import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from epam_model.evaluate.predict import evaluate
from epam_model.networks.heads import Logits
from epam_model.weights.checkpoint import load_checkpoint
from tests.model.tiny import TinyRecogniser, tiny_trainer
from tests.model.train.test_trainer import assert_same_run, interrupt_at, logged

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "lr": 0.01, "ema_decay": 0.5},
        {"precision": "fp16", "ema_decay": 0.9},
        {"precision": "bf16", "nesterov": True, "schedule": "multistep", "milestones": (0.5, 1.0)},
        {"accumulate": 2, "schedule": "constant"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_kind_of_state_goes_on_bit_for_bit(shards: Path, tmp_path: Path, changes: dict):
    tiny_trainer(shards, tmp_path / "whole", **changes).fit()
    interrupt_at(tiny_trainer(shards, tmp_path / "run", checkpoint_steps=2, **changes), 5)
    tiny_trainer(shards, tmp_path / "run", checkpoint_steps=2, **changes).fit(resume=True)
    ours, theirs = ((load_checkpoint(tmp_path / name / "last.pt")) for name in ("run", "whole"))
    assert ours.scaler == theirs.scaler and (ours.averaged is None) == ("ema_decay" not in changes)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_damaged_last_checkpoint_costs_its_steps_alone(shards: Path, tmp_path: Path, capsys):
    tiny_trainer(shards, tmp_path / "whole", checkpoint_steps=1).fit()
    interrupt_at(tiny_trainer(shards, tmp_path / "run", checkpoint_steps=1), 5)
    path = (tmp_path / "run" / "last.pt").resolve()
    assert path.name == "step_00000005.pt"
    path.write_bytes(path.read_bytes()[:-300])
    capsys.readouterr()
    tiny_trainer(shards, tmp_path / "run", checkpoint_steps=1).fit(resume=True)
    said = capsys.readouterr().out
    assert (
        "resume: " in said and "step_00000005.pt: not a readable checkpoint" in said and "trying the previous" in said
    )
    assert "resume: continuing from " in said and "step_00000004.pt" in said
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_mean_of_weights_cannot_begin_in_the_middle(shards: Path, tmp_path: Path):
    tiny_trainer(shards, tmp_path / "run", epochs=1).fit()
    with pytest.raises(ValueError, match=r"cannot resume, train\.ema_decay was 0, now 0\.9; it cannot be switched"):
        tiny_trainer(shards, tmp_path / "run", ema_decay=0.9).fit(resume=True)


def test_the_mean_of_weights_is_what_is_evaluated_and_restored(shards: Path, tmp_path: Path):
    trainer = tiny_trainer(shards, tmp_path / "run", ema_decay=0.9)
    measures = trainer.fit()
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    assert last.averaged is not None and last.evaluated is last.averaged
    assert not torch.equal(last.averaged["parts.rgb.fc.weight"], last.weights["parts.rgb.fc.weight"])
    model = TinyRecogniser()
    model.load_state_dict(last.evaluated)
    assert evaluate(model, trainer._val_stream, trainer._finisher, torch.device("cpu")) == measures


def test_training_ends_early_and_stays_ended(shards: Path, tmp_path: Path, monkeypatch, capsys):
    scores = iter([0.1, 0.3, 0.3, 0.2, 0.9])
    monkeypatch.setattr("epam_model.train.trainer.evaluate", lambda *_: {"top1_fused": next(scores)})
    settings = {"epochs": 9, "patience": 2, "warmup_epochs": 0}
    trainer = tiny_trainer(shards, tmp_path / "run", **settings)
    trainer.fit()
    assert (trainer.epoch, trainer.best.epoch, trainer.best.score) == (4, 2, 0.3)
    assert "no new best for 2 epochs: training ends early" in capsys.readouterr().out
    assert (tmp_path / "run" / "best.pt").resolve().name == "best_top1_fused_epoch_2.pt"
    resumed = tiny_trainer(shards, tmp_path / "run", **settings)
    resumed.fit(resume=True)
    assert resumed.epoch == 4 and next(scores) == 0.9, "no epoch was added"


def test_the_best_goes_by_the_named_measure(shards: Path, tmp_path: Path, monkeypatch, capsys):
    measures = iter([{"top1_fused": 0.5, "top1_pose": 0.1}, {"top1_fused": 0.4, "top1_pose": 0.9}])
    monkeypatch.setattr("epam_model.train.trainer.evaluate", lambda *_: next(measures))
    tiny_trainer(shards, tmp_path / "run", best_by="top1_pose").fit()
    assert (tmp_path / "run" / "best.pt").resolve().name == "best_top1_pose_epoch_2.pt"
    assert "best checkpoint: top1_pose 0.9000 at epoch 2, saved as best_top1_pose_epoch_2.pt" in capsys.readouterr().out
    measures = iter([{"top1_fused": 0.3, "top1_pose": 0.1}])
    other = tiny_trainer(shards, tmp_path / "run", best_by="top1_fused", epochs=3)
    other.fit(resume=True)
    assert other.best.score == 0.3, "scores of two measures are not compared"
    with pytest.raises(ValueError, match=r"train\.best_by must be one of top1_fused, "):
        tiny_trainer(shards, tmp_path / "other", best_by="accuracy")


class Sometimes(TinyRecogniser):
    """Its loss is not finite in some of its training steps."""

    def __init__(self, *bad: int) -> None:
        super().__init__()
        self.bad, self.calls = bad, 0

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        logits = super().forward(rgb, pose)
        if not self.training:
            return logits
        self.calls += 1
        return Logits(rgb=logits.rgb, pose=logits.pose * (float("inf") if self.calls - 1 in self.bad else 1.0))


def test_steps_are_skipped_up_to_a_limit(shards: Path, tmp_path: Path, capsys):
    out = tmp_path / "run"
    trainer = tiny_trainer(shards, out, Sometimes(1, 4), max_skipped_steps=2)
    trainer.fit()
    assert trainer.step == 6 and load_checkpoint(out / "last.pt").skipped == 2
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    assert sorted(path.name for path in out.glob("not_finite*")) == [
        "not_finite_step_00000001.json",
        "not_finite_step_00000004.json",
    ]
    (part,) = json.loads((out / "not_finite_step_00000004.json").read_text())
    batches = list(trainer._train_stream.epoch(1))
    assert part["keys"] == batches[1].keys
    said = capsys.readouterr().out
    assert "skipped, 1 of 2" in said and "skipped, 2 of 2" in said
    with pytest.raises(FloatingPointError, match=r"step 4: loss (nan|inf)"):
        tiny_trainer(shards, tmp_path / "less", Sometimes(1, 4), max_skipped_steps=1).fit()
    assert [line["step"] for line in logged(tmp_path / "less") if line["part"] == "train"] == [1, 3, 4]


def test_parts_must_divide_the_share_of_a_rank(shards: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"a multiple of 1 ranks times train\.accumulate 3, got 4"):
        tiny_trainer(shards, tmp_path / "run", accumulate=3)
