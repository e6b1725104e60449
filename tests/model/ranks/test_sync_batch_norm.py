"""1, 2 and 4 gloo ranks: the same batch norm, the same losses, the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from epam_model.ranks.distributed import Ranks
from epam_model.ranks.sync_batch_norm import RanksBatchNorm, synchronise_batch_norms
from epam_model.weights.checkpoint import load_checkpoint
from tests.model.train.test_trainer import logged
from tests.paths import ROOT

TOLERANCE = 1e-5
"""Sums over ranks are taken in another order: float32 rounding over six steps. Measured: 1e-6."""


def run_gloo_ranks(shards: Path, out: Path, *kinds: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.gloo_ranks", str(shards), str(out), *kinds],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr


def assert_same_curve(out: Path, expected: Path, tolerance: float) -> None:
    """The same losses at each step, and the same weights at the end."""
    ours, theirs = logged(out), logged(expected)
    assert len(ours) == 8
    for line, other in zip(ours, theirs, strict=True):
        assert line.pop("part") == other.pop("part")
        assert line == pytest.approx(other, rel=tolerance, abs=tolerance)
    weights = load_checkpoint(out / "last.pt").weights
    for name, value in load_checkpoint(expected / "last.pt").weights.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=tolerance, msg=name)


@pytest.fixture(scope="module")
def ranks(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    run_gloo_ranks(shards, out, "tiny")
    return out


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("ndim", [2, 5])
def test_it_is_the_batch_norm_of_the_whole_batch(ranks: Path, ndim: int, world: int):
    (whole,) = json.loads((ranks / f"norm_{ndim}_1.json").read_text())
    parts = json.loads((ranks / f"norm_{ndim}_{world}.json").read_text())
    assert set(whole) == {"y", "x", "weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    for name, value in whole.items():
        expected = torch.tensor(value)
        values = [torch.tensor(part[name]) for part in parts]
        if name in ("y", "x"):  # the output, and the gradient of the input: rows dealt out to ranks
            found = torch.empty_like(expected)
            for rank, rows in enumerate(values):
                found[rank::world] = rows
        elif name in ("weight", "bias"):  # gradients
            found = torch.stack(values).sum(dim=0)
        else:
            found = values[0]
            assert all(torch.equal(value, found) for value in values), "statistics are those of all ranks"
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_ranks_trains_the_same(ranks: Path, world: int):
    """Synchronised batch norms and dropout included."""
    assert_same_curve(ranks / f"tiny_{world}", ranks / "tiny_1", TOLERANCE)


def test_a_run_of_two_ranks_goes_on_with_one(ranks: Path):
    steps = [line["step"] for line in logged(ranks / "moved") if line["part"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert_same_curve(ranks / "moved", ranks / "tiny_1", TOLERANCE)


def test_a_lone_rank_keeps_its_batch_norms():
    model = nn.Sequential(nn.BatchNorm1d(3))
    assert type(synchronise_batch_norms(model, Ranks())[0]) is nn.BatchNorm1d


def test_it_replaces_a_norm_with_its_weights_and_mode():
    norm = nn.BatchNorm2d(3, eps=0.1, momentum=0.2).eval().requires_grad_(False)
    nn.init.normal_(norm.weight)
    model = synchronise_batch_norms(nn.Sequential(nn.Sequential(norm)), Ranks(world=2))
    made = model[0][0]
    assert isinstance(made, RanksBatchNorm)
    assert made.weight is norm.weight and not made.weight.requires_grad and not made.training
    assert (made.eps, made.momentum) == (0.1, 0.2)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(made(x), norm(x)), "in evaluation it is a plain one"
    with pytest.raises(ValueError, match=r"input of a batch norm must be \(N, C, ...\), got \(3,\)"):
        made(x[0, :, 0, 0])


def test_it_keeps_the_dtype_and_the_device_of_a_norm():
    for norm in (nn.BatchNorm3d(3).double(), nn.BatchNorm3d(3, affine=False).half(), nn.BatchNorm3d(3, device="meta")):
        made = RanksBatchNorm.of(norm)
        for name, tensor in norm.state_dict().items():
            own = made.state_dict()[name]
            assert (own.dtype, own.device) == (tensor.dtype, tensor.device), name
    assert RanksBatchNorm.of(nn.BatchNorm3d(3, track_running_stats=False)).running_mean is None


def test_gradients_agree_with_finite_differences():
    def normalise(x: Tensor) -> Tensor:
        return RanksBatchNorm(2).double()(x)

    torch.manual_seed(0)
    assert torch.autograd.gradcheck(normalise, torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True))
