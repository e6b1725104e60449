import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from epam_data.shards.index import Index, load_index
from epam_data.shards.manifest import load_manifest
from epam_data.stream import Stream
from epam_model.build import build_model
from epam_model.losses.objective import Objective
from epam_model.networks.heads import Logits
from epam_model.networks.settings import ModelSettings
from epam_model.train.gradient_step import step_seed
from epam_model.train.label_shuffle import relabel, shuffled_labels
from epam_model.train.trainer import Trainer
from epam_model.weights.checkpoint import load_checkpoint, save_checkpoint
from tests.model.tiny import CLASSES, STREAM, TinyRecogniser, tiny_trainer, write_shards

pytestmark = pytest.mark.usefixtures("one_thread")


MEASURED = ("clips_per_second", "data_wait_share", "seconds_left", "memory_gb")


class Interruption(Exception):
    pass


def interrupt_at(trainer: Trainer, step: int) -> None:
    """Run into an error at the beginning of a step, as a kill would."""
    take_step = trainer._take_step

    def taken(batch, *, stop):
        if trainer.step == step:
            raise Interruption
        return take_step(batch, stop=stop)

    trainer._take_step = taken  # type: ignore[method-assign]
    with pytest.raises(Interruption):
        trainer.fit(resume=trainer.step > 0 or (trainer.out / "last.pt").exists())


def logged(out: Path) -> list[dict]:
    """What the run logged, without speed and memory."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


def assert_same_run(out: Path, expected: Path) -> None:
    """Bit for bit the same losses, measures, weights and momentum."""
    assert logged(out) == logged(expected)
    for name in ("last.pt", "best.pt"):
        ours, theirs = load_checkpoint(out / name), load_checkpoint(expected / name)
        for part in ("epoch", "consumed", "best", "best_epoch", "measures", "skipped", "scaler"):
            assert getattr(ours, part) == getattr(theirs, part), part
        for key, value in (ours.averaged or {}).items():
            assert torch.equal(value, theirs.averaged[key]), key
        assert ours.weights.keys() == theirs.weights.keys()
        for key, value in ours.weights.items():
            assert torch.equal(value, theirs.weights[key]), key
        for number, state in ours.optimizer["state"].items():
            assert state.keys() == theirs.optimizer["state"][number].keys()
            for key, value in state.items():
                assert torch.equal(value, theirs.optimizer["state"][number][key]), (number, key)


@pytest.fixture(scope="module")
def whole(shards: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 3 epochs of 3 steps that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    tiny_trainer(shards, out, epochs=3, checkpoint_steps=2).fit()
    return out


@pytest.mark.parametrize("step", [3, 5, 6, 7], ids=lambda step: f"step{step}")
def test_a_resumed_run_is_the_uninterrupted_run(shards: Path, tmp_path: Path, whole: Path, step: int):
    """Checkpoints lie at steps 2, 4 and 8 and at the ends of the epochs: an interruption at step 5 loses a step."""
    out = tmp_path / "run"
    interrupt_at(tiny_trainer(shards, out, epochs=3, checkpoint_steps=2), step)
    torch.manual_seed(99)  # what the new process would have drawn so far is of no account
    model = TinyRecogniser(dropout=0.3)
    nn.init.ones_(model.parts["rgb"].fc.weight)
    trainer = tiny_trainer(shards, out, model, epochs=3, checkpoint_steps=2)
    trainer.fit(resume=True)
    assert_same_run(out, whole)


def test_a_run_that_is_killed_again_and_again(shards: Path, tmp_path: Path, whole: Path):
    out = tmp_path / "run"
    for step in (3, 5, 7, 8):
        interrupt_at(tiny_trainer(shards, out, epochs=3, checkpoint_steps=2), step)
    tiny_trainer(shards, out, epochs=3, checkpoint_steps=2).fit(resume=True)
    assert_same_run(out, whole)


def test_a_kill_between_evaluation_and_checkpoint_repeats_the_evaluation(
    shards: Path, tmp_path: Path, whole: Path, monkeypatch
):
    out = tmp_path / "run"
    trainer = tiny_trainer(shards, out, epochs=3, checkpoint_steps=2)
    save = trainer._save_last

    def killed() -> None:
        if trainer.epoch == 1:
            raise Interruption
        save()

    monkeypatch.setattr(trainer, "_save_last", killed)
    with pytest.raises(Interruption):
        trainer.fit()
    at = load_checkpoint(out / "last.pt")
    assert (at.epoch, at.consumed) == (0, 12), "all steps of the epoch are taken, its evaluation is to be repeated"
    tiny_trainer(shards, out, epochs=3, checkpoint_steps=2).fit(resume=True)
    assert_same_run(out, whole)


def test_epam_itself_goes_on_bit_for_bit(shards: Path, tmp_path: Path):
    def trainer(out: Path) -> Trainer:
        model = build_model(ModelSettings(), num_classes=6, num_joints=17, seed=1)
        return tiny_trainer(shards, out, model, epochs=1, checkpoint_steps=1)

    trainer(tmp_path / "whole").fit()
    interrupt_at(trainer(tmp_path / "run"), 2)
    trainer(tmp_path / "run").fit(resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_resuming_a_finished_run_with_more_epochs(shards: Path, tmp_path: Path, capsys):
    out = tmp_path / "run"
    tiny_trainer(shards, out, epochs=1, warmup_epochs=0).fit()
    tiny_trainer(shards, out, epochs=1, warmup_epochs=0).fit(resume=True)
    assert len(logged(out)) == 4
    trainer = tiny_trainer(shards, out, epochs=2, warmup_epochs=0, weight_decay=0.5)
    trainer.fit(resume=True)
    assert {group["weight_decay"] for group in trainer._gradient_step.optimizer.param_groups} == {0.5}
    text = capsys.readouterr().out
    assert "resume: train.epochs was 1, is now 2" in text
    assert "resume: train.weight_decay was 0.0002, is now 0.5" in text
    checkpoint = load_checkpoint(out / "last.pt")
    assert checkpoint.epoch == 2


def test_it_learns_and_the_best_is_kept_by_top1_fused(shards: Path, tmp_path: Path):
    out = tmp_path / "run"
    last = tiny_trainer(shards, out, TinyRecogniser(norm=False), epochs=25, lr=0.3).fit()
    scores = [line["top1_fused"] for line in logged(out) if line["part"] == "val"]
    assert len(scores) == 25
    assert max(scores) > 0.8
    best = load_checkpoint(out / "best.pt")
    assert best.best == best.measures["top1_fused"] == max(scores)
    assert best.epoch == scores.index(max(scores)) + 1  # the first of equals
    assert load_checkpoint(out / "last.pt").measures == last


def test_best_follows_fused_where_the_streams_disagree(shards: Path, tmp_path: Path, monkeypatch):
    measures = iter([{"top1_fused": 0.5, "top1_rgb": 0.1}, {"top1_fused": 0.4, "top1_rgb": 0.9}])
    monkeypatch.setattr("epam_model.train.trainer.evaluate", lambda *_: next(measures))
    tiny_trainer(shards, tmp_path / "run").fit()
    assert load_checkpoint(tmp_path / "run" / "best.pt").epoch == 1


def test_one_stream_alone(shards: Path, tmp_path: Path):
    measures = tiny_trainer(shards, tmp_path / "run", streams="pose").fit()
    assert list(measures)[:2] == ["top1_pose", "top5_pose"] and all(name.endswith("_pose") for name in measures)
    line = logged(tmp_path / "run")[0]
    assert line["loss"] == line["loss_pose"] and "loss_rgb" not in line
    assert load_checkpoint(tmp_path / "run" / "best.pt").best is not None


def test_the_log(whole: Path):
    text = (whole / "train.log").read_text()
    assert "\nEpoch(val) [3][7/7]  top1_fused: 0." in text and "\nbest checkpoint: top1_fused 0." in text
    assert "\nEpoch(train) [2][1/3]  lr: " in text
    first = logged(whole)[0]
    assert list(first) == ["part", "epoch", "step", "lr", "loss", "loss_rgb", "loss_pose", "grad_norm"]
    assert first["loss"] == pytest.approx(first["loss_rgb"] + first["loss_pose"])
    assert [line["lr"] for line in logged(whole) if line["part"] == "train"][:2] == pytest.approx([0.05, 0.1])
    assert any((whole / "tensorboard").iterdir())


def test_plain_sgd_is_what_is_done(shards: Path, tmp_path: Path):
    """Three steps written out: loss, clipping, weight decay, momentum, learning rate."""
    model, reference = TinyRecogniser(norm=False, dropout=0), TinyRecogniser(norm=False, dropout=0)
    settings = {"epochs": 1, "warmup_epochs": 0, "clip_norm": 0.5, "weight_decay": 0.01, "momentum": 0.5, "lr": 0.2}
    trainer = tiny_trainer(shards, tmp_path / "run", model, **settings)
    trainer.fit()
    momentum = [torch.zeros_like(weight) for weight in reference.parameters()]
    norms = []
    for batch, rate in zip(trainer._train_stream.epoch(0), (0.2, 0.15, 0.05), strict=True):
        logits = reference(*trainer._finisher(batch))
        losses = [nn.functional.cross_entropy(scores, batch.label) for scores in logits.streams.values()]
        gradients = torch.autograd.grad(sum(losses), list(reference.parameters()))
        norms.append(sum((gradient**2).sum() for gradient in gradients).sqrt().item())
        for weight, gradient, velocity in zip(reference.parameters(), gradients, momentum, strict=True):
            scaled = gradient * min(1, 0.5 / (norms[-1] + 1e-6)) + 0.01 * weight.detach()
            velocity.mul_(0.5).add_(scaled)
            weight.data -= rate * velocity
    assert max(norms) > 0.5
    assert [line["grad_norm"] for line in logged(tmp_path / "run")[:3]] == pytest.approx(norms, rel=1e-4)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_frozen_weights_stay(shards: Path, tmp_path: Path):
    model = TinyRecogniser()
    model.parts["rgb"].mix.requires_grad_(False)
    before = model.parts["rgb"].mix.weight.clone()
    tiny_trainer(shards, tmp_path / "run", model).fit()
    assert torch.equal(model.parts["rgb"].mix.weight, before)
    with pytest.raises(ValueError, match="other weights were trained"):
        tiny_trainer(shards, tmp_path / "run").fit(resume=True)


def test_a_model_that_comes_in_evaluation_mode_is_trained(shards: Path, tmp_path: Path):
    model = TinyRecogniser().eval()
    tiny_trainer(shards, tmp_path / "run", model).fit()
    assert model.parts["rgb"].norm.num_batches_tracked == 6


class Exploding(TinyRecogniser):
    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        logits = super().forward(rgb, pose)
        if not self.training:
            return logits
        return Logits(rgb=logits.rgb, pose=logits.pose * float("nan"))


def test_a_loss_that_is_not_finite_names_the_clips_and_spares_the_weights(shards: Path, tmp_path: Path):
    model = Exploding()
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = tiny_trainer(shards, tmp_path / "run", model)
    keys = next(iter(trainer._train_stream.epoch(0))).keys
    with pytest.raises(FloatingPointError, match=r"step 0: loss nan, .* listed in .*not_finite_step_00000000\.json"):
        trainer.fit()
    (part,) = json.loads((tmp_path / "run" / "not_finite_step_00000000.json").read_text())
    assert part["keys"] == keys and part["values"]["loss_pose"] == "nan"
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_shuffled_labels_are_a_permutation_of_the_training_labels(shards: Path):
    manifest, index = load_manifest(shards), load_index(shards)
    own = {key.decode(): int(label) for key, label in zip(index.keys, index.label, strict=True)}
    rows = index.rows_of(manifest.shards_of("train"))
    labels = shuffled_labels(index, rows, seed=0)
    assert set(labels) == {key for key in own if key.startswith("train")}
    assert sorted(labels.values()) == sorted(own[key] for key in labels)
    assert labels != {key: own[key] for key in labels}
    assert labels == shuffled_labels(index, rows, seed=0)
    assert labels != shuffled_labels(index, rows, seed=1)
    batch = next(iter(Stream(shards, split="train", settings=STREAM, training=True).epoch()))
    changed = relabel(batch, labels, manifest.coarse_of)
    assert changed.label.tolist() == [labels[key] for key in batch.keys]
    assert changed.coarse_label.tolist() == [CLASSES.coarse_of[labels[key]] for key in batch.keys]


def test_classes_without_groups_train_and_evaluate(plain_shards: Path, tmp_path: Path):
    trainer = tiny_trainer(plain_shards, tmp_path, TinyRecogniser(num_classes=13), epochs=1, shuffle_labels=True)
    trainer.fit()
    names = {name for line in logged(tmp_path) for name in line}
    assert "top1_fused" in names and not [name for name in names if name.startswith("f1")]
    batch = next(iter(Stream(plain_shards, split="train", settings=STREAM, training=True).epoch()))
    assert relabel(batch, dict.fromkeys(batch.keys, 7), ()).coarse_label.tolist() == [-1] * len(batch)


def test_shuffled_labels_are_spread_evenly_over_each_class():
    """30 clips of each of 6 classes, and a class of its own with 7: every class gets each label in its share."""
    labels = np.repeat(np.arange(7, dtype=np.int32), [30] * 6 + [7])
    count = len(labels)
    index = Index(
        keys=np.array([f"k{number}" for number in range(count)], "S8"),
        shard=np.zeros(count, np.int32),
        offset=np.zeros(count, np.int64),
        member_bytes=np.zeros((count, 4), np.int64),
        label=labels,
        coarse_label=labels,
        num_frames=labels,
    )
    given = shuffled_labels(index, np.arange(count), seed=3)
    table = np.zeros((7, 7))
    for number, label in enumerate(labels):
        table[label, given[f"k{number}"]] += 1
    share = np.outer(table.sum(axis=1), table.sum(axis=0)) / count
    assert np.abs(table - share).max() <= 1.5


def test_training_on_shuffled_labels_uses_them(shards: Path, tmp_path: Path, monkeypatch):
    seen: dict[str, int] = {}

    def spy(logits, labels):
        seen.update(zip(spy.keys, labels.tolist(), strict=True))
        return {"loss_rgb": logits.rgb.sum() * 0}

    trainer = tiny_trainer(shards, tmp_path / "run", shuffle_labels=True, epochs=2)
    take_step = trainer._take_step

    def taken(batch, *, stop):
        spy.keys = batch.keys
        return take_step(batch, stop=stop)

    trainer._take_step = taken  # type: ignore[method-assign]
    monkeypatch.setattr(trainer._gradient_step, "objective", Objective(terms=spy))
    trainer.fit()
    index = load_index(shards)
    expected = shuffled_labels(index, index.rows_of(load_manifest(shards).shards_of("train")), seed=0)
    assert seen == {key: expected[key] for key in seen} and len(seen) > 8


def test_what_an_objective_keeps_in_the_model_is_saved_with_it(shards: Path, tmp_path: Path, monkeypatch):
    model = TinyRecogniser()
    model.register_buffer("steps", torch.zeros(()))
    trainer = tiny_trainer(shards, tmp_path / "run", model, epochs=1)
    objective = trainer._gradient_step.objective
    counted = Objective(terms=objective.terms, end_step=lambda taken: model.steps.add_(taken))
    monkeypatch.setattr(trainer._gradient_step, "objective", counted)
    trainer.fit()
    assert load_checkpoint(tmp_path / "run" / "last.pt").weights["steps"] == 3


def test_runs_that_cannot_go_on_are_refused(shards: Path, tmp_path: Path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=r"last\.pt: no such checkpoint"):
        tiny_trainer(shards, out).fit(resume=True)
    tiny_trainer(shards, out, epochs=1).fit()
    with pytest.raises(ValueError, match="already contains a run; continue with --resume, or choose another --out"):
        tiny_trainer(shards, out).fit()
    with pytest.raises(ValueError, match=r"cannot resume, train\.seed was 0, now 1"):
        tiny_trainer(shards, out, seed=1).fit(resume=True)
    with pytest.raises(ValueError, match=r"cannot resume, stream\.batch_size was 4, now 2"):
        tiny_trainer(shards, out, stream=replace(STREAM, batch_size=2)).fit(resume=True)
    with pytest.raises(ValueError, match=r"cannot resume, stream\.balance was none, now class"):
        tiny_trainer(shards, out, stream=replace(STREAM, balance="class")).fit(resume=True)
    last = (out / "last.pt").resolve()
    older = load_checkpoint(last)
    del older.recipe["stream"]["balance"], older.recipe["stream"]["class_weights"]
    save_checkpoint(last, older)
    with pytest.raises(ValueError, match=r"cannot resume, stream\.balance was none, now class"):
        tiny_trainer(shards, out, stream=replace(STREAM, balance="class")).fit(resume=True)
    tiny_trainer(shards, out, epochs=1).fit(resume=True)
    with pytest.raises(ValueError, match=r"its model\.streams is both, the recipe has pose"):
        tiny_trainer(shards, out, streams="pose").fit(resume=True)
    other = write_shards(tmp_path / "other", train=9)
    with pytest.raises(ValueError, match="cannot resume, the shards were rebuilt since"):
        tiny_trainer(other, out).fit(resume=True)
    last = (out / "last.pt").resolve()
    checkpoint = load_checkpoint(last)
    del checkpoint.weights["parts.rgb.fc.bias"]
    save_checkpoint(last, checkpoint)
    with pytest.raises(ValueError, match=r"step_00000003\.pt: the weights do not fit the model: missing parts\."):
        tiny_trainer(shards, out).fit(resume=True)


def test_what_does_not_fit_is_found_before_the_first_step(shards: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="the model has 5 classes, the shards have 6"):
        tiny_trainer(shards, tmp_path / "run", TinyRecogniser(num_classes=5))
    with pytest.raises(ValueError, match="the model does not fit the shards"):
        tiny_trainer(shards, tmp_path / "run", TinyRecogniser(joints=28))
    hidden = write_shards(tmp_path / "hidden", hide_val=True)
    with pytest.raises(ValueError, match="every label of val is hidden"):
        tiny_trainer(hidden, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_random_numbers_of_steps_are_their_own():
    assert len({step_seed(seed, step) for seed in (0, 1) for step in range(50)}) == 100


EVERYTHING = replace(
    STREAM,
    heatmap="drawn",
    train_crop="random_resized",
    crop_px=16,
    brightness=0.2,
    contrast=0.2,
    num_clips=3,
    balance="class",
)


def test_a_run_with_everything_drawn_goes_on_bit_for_bit(shards: Path, tmp_path: Path):
    """Crops, colours, drawn heatmaps, balanced epochs, three clips in evaluation."""

    def trainer(out: Path) -> Trainer:
        return tiny_trainer(shards, out, stream=EVERYTHING, checkpoint_steps=1)

    trainer(tmp_path / "whole").fit()
    interrupt_at(trainer(tmp_path / "run"), 5)
    trainer(tmp_path / "run").fit(resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_model_sees_the_crops_of_training_and_all_clips_of_evaluation(shards: Path, tmp_path: Path):
    """Frames of 16 and heatmaps of 4 pixels, then the stored 32 and 8, of which 7 samples have 3 clips each."""
    seen = []

    def look(module: nn.Module, inputs: tuple[Tensor, Tensor], _: object) -> None:
        seen.append((module.training, inputs[0].shape[0], inputs[0].shape[-1], inputs[1].shape[-1]))

    model = TinyRecogniser()
    model.register_forward_hook(look)
    trainer = tiny_trainer(shards, tmp_path / "run", model, stream=EVERYTHING, epochs=1)
    assert seen == [(False, 1, 16, 4), (False, 1, 32, 8)], "both sizes are tried before the first step"
    trainer.fit()
    assert set(seen[2:]) == {(True, 4, 16, 4), (False, 12, 32, 8), (False, 9, 32, 8)}
