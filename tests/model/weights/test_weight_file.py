from pathlib import Path
from typing import Any

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
    torch.save(dict.fromkeys("abcdefghijkl", 1), path)
    with pytest.raises(ValueError, match=r"its entries are 'a', .*, 'i', 'j'$"):  # ten of them
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
    for damaged, message in (
        (b"", "not a checkpoint but empty"),
        (b"no zip", "not a checkpoint but text"),
        (whole[:-200], "not a readable checkpoint"),
        (bytes(changed), "not a readable checkpoint"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpointError, match=message):
            read_weight_file(path)


@pytest.mark.parametrize(
    ("tensor", "fault"),
    [
        (
            torch.zeros(1).expand(10**6, 10**7),
            r"a tensor of \(1000000, 10000000\) that repeats",
        ),
        (torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.long), [], (3,)), "a nested or sparse tensor"),
        (torch.zeros(3, device="meta"), "a tensor without numbers"),
        (torch.zeros(3, dtype=torch.complex64), "a tensor without numbers, of quantised or of complex numbers"),
        (torch.tensor([1.0, float("nan")]), "not finite: it holds NaN or infinity"),
        (torch.tensor([float("inf")], dtype=torch.float16), "not finite"),
        (torch.tensor([float("inf")]).to(torch.float8_e5m2), "not finite"),
        (torch.empty(1, dtype=torch.bits8), "of torch.bits8, which cannot be converted to float32"),
    ],
    ids=["expanded", "sparse", "meta", "complex", "NaN", "infinity", "float8", "bits"],
)
def test_a_tensor_that_cannot_be_a_weight_is_named(tmp_path: Path, tensor: torch.Tensor, fault: str):
    torch.save({"state_dict": {"good": torch.ones(2), "bad": tensor}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth: ('bad' is {fault}|not a readable checkpoint)"):
        read_state_dict(tmp_path / "w.pth")


def test_numbers_of_8_bits_are_numbers(tmp_path: Path):
    torch.save({"w": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth")["w"].float().tolist() == [1, 1]


@pytest.mark.parametrize(
    "values", [{1: torch.zeros(3), None: torch.zeros(1)}, {"state_dict": {1: torch.zeros(3)}}, {"x" * 1000: 1}]
)
def test_names_are_text(tmp_path: Path, values: dict[Any, Any]):
    torch.save(values, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: contains no weights by name; its entries are ") as caught:
        read_state_dict(tmp_path / "w.pth")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
