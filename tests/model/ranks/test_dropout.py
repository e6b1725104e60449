import pytest
import torch
from torch import nn

from epam_model.ranks import dropout as ranks_dropout
from epam_model.ranks.dropout import RanksDropout


def test_ranks_drop_what_one_rank_would_drop(monkeypatch: pytest.MonkeyPatch):
    x = torch.randn(8, 5)
    torch.manual_seed(1)
    whole = RanksDropout(0.4)(x)
    torch.manual_seed(1)
    assert torch.equal(whole, nn.Dropout(0.4)(x)) and (whole == 0).any()
    monkeypatch.setattr(ranks_dropout, "num_ranks", lambda: 4)
    for rank in range(4):
        monkeypatch.setattr(ranks_dropout, "own_rank", lambda rank=rank: rank)
        torch.manual_seed(1)
        assert torch.equal(RanksDropout(0.4)(x[rank::4]), whole[rank::4])


def test_evaluation_drops_nothing():
    x = torch.randn(2, 3)
    assert torch.equal(RanksDropout(0.5).eval()(x), x)
