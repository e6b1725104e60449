import json
from pathlib import Path

from epam_model.train.not_finite import write_not_finite


def test_keys_and_losses_are_written(tmp_path: Path):
    values = {"loss": float("nan"), "loss_rgb": 1.5, "grad_norm": float("inf")}
    told = write_not_finite(tmp_path, 12, ["a", "b"], values)
    path = tmp_path / "not_finite_step_00000012.json"
    assert told == f"step 12: loss nan, gradient norm inf; its clips are listed in {path}"
    expected = {"loss": "nan", "loss_rgb": "1.5", "grad_norm": "inf"}
    assert json.loads(path.read_text()) == [{"rank": 0, "keys": ["a", "b"], "values": expected}]
