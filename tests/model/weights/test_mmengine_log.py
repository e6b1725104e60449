"""Checkpoints of MMEngine: their weights are read, what else they name is not run."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from epam_model.weights.mmengine_log import ignoring_mmengine_log
from epam_model.weights.weight_file import read_state_dict

WEIGHTS = {"backbone.weight": torch.arange(6.0).view(2, 3)}


class HistoryBuffer:
    """As MMEngine's: arrays, NumPy numbers, and functions that are named by `getattr`."""

    def __init__(self) -> None:
        self.history, self.last = np.array([1.0, 2.0]), np.float64(3)
        self.statistics = {"mean": Attribute(HistoryBuffer, "mean")}

    def mean(self) -> float: ...


class Attribute:
    """Pickled as `getattr(owner, name)`, the way pickle stores a method."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A checkpoint whose log is of a class that this process does not have when it is read."""
    module = ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = HistoryBuffer
    monkeypatch.setattr(HistoryBuffer, "__module__", module.__name__)
    with monkeypatch.context() as context:
        for name in ("mmengine", "mmengine.logging"):
            context.setitem(sys.modules, name, ModuleType(name))
        context.setitem(sys.modules, module.__name__, module)
        log = {"train/loss": HistoryBuffer()}
        torch.save({"meta": {"epoch": 1}, "state_dict": WEIGHTS, "message_hub": log}, tmp_path / "epoch_1.pth")
    return tmp_path / "epoch_1.pth"


@pytest.mark.skipif(torch.__version__ < "2.6", reason="torch has no names for what it may read")
def test_the_weights_are_read(saved):
    state = read_state_dict(saved)
    assert state.keys() == WEIGHTS.keys() and torch.equal(state["backbone.weight"], WEIGHTS["backbone.weight"])


def test_nothing_else_becomes_readable(tmp_path):
    torch.save({"state_dict": WEIGHTS, "log": Attribute("text", "upper"), "hook": print}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match="refused, its pickle uses print and could run code"):
        read_state_dict(tmp_path / "odd.pth")


@pytest.mark.skipif(torch.__version__ < "2.6", reason="torch has no names for what it may read")
def test_what_others_allow_neither_decides_nor_is_lost(saved):
    """Of two classes that are allowed under one name, torch takes either: ours must be the only one inside."""
    theirs = (Attribute, "mmengine.logging.history_buffer.HistoryBuffer")
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([theirs])
    try:
        with ignoring_mmengine_log():
            inside = torch.serialization.get_safe_globals()
        assert theirs not in inside and inside
        assert set(torch.serialization.get_safe_globals()) == {*before, theirs}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def test_before_torch_2_6_nothing_changes(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    monkeypatch.setattr(torch.serialization, "clear_safe_globals", lambda: pytest.fail("torch 2.5 lacks what follows"))
    with ignoring_mmengine_log():
        pass
    monkeypatch.setattr(torch, "__version__", "2.6")
    cleared = []
    monkeypatch.setattr(torch.serialization, "clear_safe_globals", lambda: cleared.append(True))
    with ignoring_mmengine_log():
        assert cleared
