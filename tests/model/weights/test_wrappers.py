"""What frameworks put around weights is removed, in any order; nothing is lost by it."""

import pytest
import torch

from epam_model.weights.wrappers import find_state, plain_names

STATE = {"a.weight": torch.ones(2), "a.bias": torch.zeros(1)}
OTHER = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(1)}


@pytest.mark.parametrize(
    "wrapper",
    ["weights", "state_dict", "model_state_dict", "model_state", "model", "net", "network", "ema", "state_dict_ema"],
)
def test_the_entries_in_which_weights_lie(wrapper: str):
    assert find_state({wrapper: STATE, "epoch": 3, "optimizer": {"state": {}}}) is not None
    assert find_state({wrapper: STATE, "epoch": 3}).keys() == STATE.keys()
    assert find_state({"checkpoint": 1, "model": {wrapper: STATE}}).keys() == STATE.keys()


@pytest.mark.parametrize(
    ("mean", "other"),
    [("averaged", "weights"), ("state_dict_ema", "state_dict"), ("ema", "model"), ("model_ema", "model")],
)
def test_a_mean_of_the_weights_is_preferred(mean: str, other: str):
    assert find_state({other: OTHER, mean: STATE})["a.weight"].sum() == 2
    assert find_state({other: STATE, mean: None})["a.weight"].sum() == 2


def test_what_mmengine_calls_a_mean_is_none():
    """`EMAHook` exchanges both when it saves: its `state_dict` has the mean."""
    raw = {"module.a.weight": torch.zeros(2), "steps": torch.tensor(3)}
    assert find_state({"state_dict": STATE, "ema_state_dict": raw})["a.weight"].sum() == 2
    assert find_state({"ema_state_dict": raw}).keys() == raw.keys()


def test_numbers_alone_are_no_weights():
    assert find_state({"ema": {"decay": torch.tensor(0.9), "updates": torch.tensor(7)}, "model": STATE}) == STATE
    assert find_state({"epoch": 3}) == find_state({"n": torch.tensor(1)}) == {}


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "module.module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "model.", "net."),
        *("model.module.", "model.model.", "network._orig_mod.", "ema.module.", "ema_model.", "_fsdp_wrapped_module."),
    ],
)
def test_prefixes_of_frameworks(prefix: str):
    assert plain_names({prefix + name: value for name, value in STATE.items()}) == STATE


def test_a_wrapped_part_and_counters():
    """torch.compile or DDP around the backbone alone, and the average of `torch.optim.swa_utils`."""
    assert list(plain_names({"backbone._orig_mod.a": torch.ones(1), "head.module.b": torch.ones(1)})) == [
        "backbone.a",
        "head.b",
    ]
    swa = {"n_averaged": torch.tensor(5), **{f"module.{name}": value for name, value in STATE.items()}}
    assert plain_names(swa) == STATE
    assert list(plain_names({"bare": torch.ones(2)})) == ["bare"]


def test_no_tensor_is_lost_where_two_would_get_one_name():
    both = {"a.b": torch.ones(1), "module.a.b": torch.zeros(1)}
    assert plain_names(both) == both
    online = {"model.a.b": torch.ones(1), "ema_model.a.b": torch.zeros(1)}
    assert set(plain_names(online)) == {"a.b", "ema_model.a.b"}


def test_names_that_only_look_alike_stay():
    names = ["se_module.fc1.weight", "attention_module.spatial.weight", "modules.a", "models.a", "module_a.b"]
    assert list(plain_names({name: torch.ones(1) for name in names})) == names


def test_entries_are_sought_three_deep():
    assert find_state({"model": {"net": {"ema": STATE}}}) == STATE
    assert find_state({"model": {"net": {"ema": {"model": STATE}}}}) == {}
    endless: dict[str, object] = {}
    endless["model"] = endless
    assert find_state(endless) == {}
