from pathlib import Path

import pytest

from epam_data.recipe import ConfigError, parse_command
from epam_model.commands.train import TrainCommand
from epam_model.train.settings import LearningRateFactors, TrainSettings


def parse(*argv: str) -> TrainCommand:
    return parse_command(TrainCommand, "epam-model train", argv)


def test_a_recipe_and_overrides_make_the_settings(tmp_path: Path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "dataset: synthetic\nprepare: {rgb_size_px: 64}\nstream: {batch_size: 6}\n"
        "model: {streams: pose}\ntrain: {epochs: 3, lr: 0.05, warmup_epochs: 1}\n"
    )
    command = parse(str(recipe), "--shards", "s", "--train.lr", "0.1", "--train.shuffle_labels", "--resume")
    assert (command.shards, command.out, command.resume) == ("s", None, True)
    assert (command.stream.batch_size, command.model.streams) == (6, "pose")
    assert command.train == TrainSettings(epochs=3, lr=0.1, warmup_epochs=1, shuffle_labels=True)


def test_lists_and_sections_of_the_training(tmp_path: Path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text("train: {schedule: multistep, milestones: [1], lr_factors: {rgb: 0.1}, betas: [0.8, 0.9]}\n")
    settings = parse(
        str(recipe), "--shards", "s", "--train.milestones", "10", "20", "--train.lr_factors.head", "2"
    ).train
    assert settings.milestones == (10, 20) and settings.betas == (0.8, 0.9)
    assert settings.lr_factors == LearningRateFactors(rgb=0.1, head=2)
    with pytest.raises(ConfigError, match=r"train\.lr_factors\.joint must be >= 0 and finite, got -1"):
        parse("--shards", "s", "--train.lr_factors.joint", "-1")


def test_all_errors_of_a_recipe_come_at_once():
    with pytest.raises(ConfigError) as caught:
        parse("--train.leraning_rate", "1", "--model.stream", "rgb")
    assert "unknown key 'train.leraning_rate'" in str(caught.value)
    assert "unknown key 'model.stream'; did you mean 'model.streams'?" in str(caught.value)
    assert "shards is required" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        parse("--shards", "s", "--train.lr", "-1", "--model.dropout", "2")
    assert "train.lr must be >= min_lr" in str(caught.value) and "model.dropout must be" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, r"train\.epochs must be in 1\.\.1000000, got 0"),
        ({"log_steps": 0}, r"train\.log_steps must be >= 1, got 0"),
        ({"seed": -1}, r"train\.seed must be in 0\.\.9223372036854775807, got -1"),
        ({"num_threads": -1}, r"train\.num_threads must be in 0\.\.10000, got -1"),
        ({"checkpoint_steps": -1}, r"train\.checkpoint_steps must be >= 0"),
        ({"weight_decay": -1.0}, r"train\.weight_decay must be >= 0 and finite, got -1"),
        ({"clip_norm": float("nan")}, r"train\.clip_norm must be >= 0 and finite, got nan"),
        ({"lr": 1e-9}, r"train\.lr must be >= min_lr 1e-06, got 1e-09"),
        ({"warmup_epochs": 90}, r"train\.warmup_epochs must be in 0\.\.80 \(epochs\), got 90"),
        ({"momentum": 1.0}, r"train\.momentum must be >= 0 and < 1, got 1\.0"),
        ({"nesterov": True, "momentum": 0.0}, r"train\.nesterov needs train\.momentum > 0"),
        ({"device": "tpu"}, r"train\.device must be one of auto, cpu, cuda, got 'tpu'"),
        ({"schedule": "step"}, r"train\.schedule must be one of cosine, multistep, constant, got 'step'"),
        ({"optimizer": "lamb"}, r"train\.optimizer must be one of sgd, adamw, got 'lamb'"),
        ({"precision": "fp8"}, r"train\.precision must be one of fp32, bf16, fp16, got 'fp8'"),
        ({"schedule": "multistep"}, r"train\.milestones belong to train\.schedule multistep, got \(\) and multistep"),
        ({"milestones": (2.0,)}, r"train\.milestones belong to .* got \(2\.0,\) and cosine"),
        (
            {"schedule": "multistep", "milestones": (4, 2)},
            r"train\.milestones must be epochs > 0 that rise, got \(4, 2\)",
        ),
        ({"gamma": -0.1}, r"train\.gamma must be >= 0 and finite, got -0\.1"),
        ({"betas": (0.9, 1.0)}, r"train\.betas must be >= 0 and < 1, got \(0\.9, 1\.0\)"),
        ({"ema_decay": 1.0}, r"train\.ema_decay must be >= 0 and < 1, got 1\.0"),
        ({"accumulate": 0}, r"train\.accumulate must be in 1\.\.1000000, got 0"),
        ({"keep_last": 0}, r"train\.keep_last must be >= 1, got 0"),
        ({"patience": -1}, r"train\.patience must be >= 0, got -1"),
        ({"max_skipped_steps": -1}, r"train\.max_skipped_steps must be >= 0, got -1"),
        ({"timeout_seconds": 0.0}, r"train\.timeout_seconds must be > 0 and <= 1000000, got 0\.0"),
        ({"timeout_seconds": 1e308}, r"train\.timeout_seconds must be > 0 and <= 1000000, got 1e\+308"),
        (
            {"schedule": "multistep", "milestones": (4.0, float("inf"))},
            r"train\.milestones must be epochs > 0 that rise, got \(4\.0, inf\)",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_train_settings_name_what_they_refuse(values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**values)
