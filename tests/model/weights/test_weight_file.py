from pathlib import Path

import pytest
import torch

from epam_model.weights.weight_file import DamagedCheckpointError, read_state_dict, read_weight_file

STATE = {"a.weight": torch.ones(2)}


class _Bomb:
    def __reduce__(self):
        return print, ("code ran",)


def test_what_torch_saved_is_read(tmp_path: Path):
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "c.pt")
    values = read_weight_file(tmp_path / "c.pt")
    assert values["epoch"] == 3 and torch.equal(values["state_dict"]["a.weight"], STATE["a.weight"])


def test_weights_are_found_in_their_wrappers(tmp_path: Path):
    path = tmp_path / "c.pth"
    for values in (STATE, {"state_dict": STATE, "epoch": 3}, {"model_state_dict": STATE}, {"weights": STATE}):
        torch.save(values, path)
        assert torch.equal(read_state_dict(path)["a.weight"], STATE["a.weight"])
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="contains no weights by name; its entries are 'epoch'"):
        read_state_dict(path)


def test_a_pickle_that_could_run_code_is_refused(tmp_path: Path, capsys):
    torch.save({"state_dict": STATE, "meta": _Bomb()}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"refused, its pickle uses print and could run code; save only the"):
        read_state_dict(tmp_path / "c.pt")
    assert "code ran" not in capsys.readouterr().out


def test_files_that_hold_no_weights_are_refused(tmp_path: Path):
    path = tmp_path / "c.pt"
    with pytest.raises(ValueError, match=r"c\.pt: no such checkpoint"):
        read_weight_file(path)
    torch.save([1], path)
    with pytest.raises(ValueError, match="a checkpoint must contain a dict, got list"):
        read_weight_file(path)
    torch.save(STATE, path)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[whole.index(b"\x00\x00\x80\x3f\x00\x00\x80\x3f")] ^= 1  # a bit of the first number
    for damaged in (b"", b"no zip", whole[:-200], bytes(changed)):
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpointError, match=r"not a (readable )?checkpoint"):
            read_weight_file(path)
