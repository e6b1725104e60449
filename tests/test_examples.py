"""Every example and notebook runs, says what it promises, and stands in the index."""

import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from epam_model import EPAMBackbone
from epam_model.weights.convert import rename
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import inverse

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"

SAYS = {
    "small_data.py": r"^shards: examples_out/shards$",
    "backbone.py": r"^parameters 2499717\nrgb features \(1, 432, 16, 7, 7\)\npose features \(1, 216, 48, 7, 7\)\n"
    r"attention \(1, 1, 16, 7, 7\)$",
    "one_file.py": r"^examples_out/epam_backbone\.py: 23 modules, 2\d\d\d lines\n"
    r"with only torch: \(1, 432, 4, 2, 2\) \(1, 216, 12, 2, 2\)$",
    "pretrained.py": r"1067 tensors loaded, 4 not \(heads, other classes\)\n(.*NOT LOADED: .*\n){3}"
    r"backbone .*: True\nrecogniser .*: True$",
    "freezing.py": r"rgb_backbone: 0 of 564 tensors changed\nbackbone.pose_backbone: [1-9]\d* of .*\n"
    r"backbone.attention: [1-7] of 7 .*\nhead: 4 of 4 tensors changed$",
    "one_stream.py": r"^streams \['pose'\] pose logits \(4, 6\)\n.*498 tensors loaded\n"
    r"NOT LOADED: .*head\.rgb\.fc; .*\nparameters 520882 2503617$",
    "device.py": r"(MB of uint8 -> .* MB of float on (cpu|cuda)\n.*){2}predicted \[",
    "batches.py": r"12 clips, 12 different, of 12\nresumes where it was: True\ntwo ranks .*: True\nflips \[",
    "train_by_hand.py": r"^(epoch \d loss \d\.\d{3}\n?){3}$",
    "evaluation.py": r"^6 clips, each once: True\ntop-1 \d",
    "features_to_hdf5.py": r"attention \(6, 2, 4, 4\) float32\nkey \(6,\) object\nlabel \(6,\) int64\n"
    r"pose_features \(6, 216\)",
    "custom_fusion.py": r"^(loss \d\.\d{3}, share of RGB \[0\.\d+, .*\]\n?){3}$",
    "multi_task.py": r"^(\{'action': \d\.\d+, 'group': \d\.\d+\}\n?){3}$",
    "distillation.py": r"(teacher \d\.\d{3} labels \d\.\d{3}\n){3}parameters: teacher 2503617, student 520882$",
    "plain_webdataset.py": r"^(S001C001P003R001A00\d .*heatmaps \(\d+, 17, 32, 32\) .*, frame \(128, 128, 3\)\n?){6}$",
    "own_dataset.py": r"^3 clips; skipped: \[\"ben_yawn: gesture must be one of .*\n\['cleo_raise'\] \['raise'\]$",
}
READ_ONLY = {"gestures.py"}  # what own_dataset.py builds with
NOTEBOOKS = {"look_into_shards.ipynb": 3, "attention_maps.ipynb": 2}
"""Pictures that each shows."""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder of all examples: the first one makes their data. As a script would have it otherwise."""
    path, before, threads = tmp_path_factory.mktemp("examples"), Path.cwd(), torch.get_num_threads()
    old_path, old_modules = list(sys.path), set(sys.modules)
    os.chdir(path)
    sys.path.insert(0, str(EXAMPLES))
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:  # for loader workers and notebooks
        patch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES), str(ROOT)]))
        yield path
    os.chdir(before)
    sys.path[:] = old_path
    torch.set_num_threads(threads)
    for name in ({"small_data", "gestures", "epam_backbone"} - old_modules) & set(sys.modules):
        del sys.modules[name]


@pytest.mark.parametrize("name", SAYS)
def test_example(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    said = capsys.readouterr().out.strip()
    assert re.search(SAYS[name], said), said
    if name == "train_by_hand.py":
        losses = [float(loss) for loss in re.findall(r"loss (\S+)", said)]
        assert losses[-1] < losses[0], losses


def test_the_one_file_is_the_backbone(folder: Path) -> None:
    """The same weights by the same names, and the same numbers, also from a file under published names."""
    sys.path.insert(0, str(folder / "examples_out"))
    from epam_backbone import EPAMBackbone as Copy

    torch.manual_seed(0)
    ours = EPAMBackbone(num_joints=5)
    published = rename(ours.rgb_backbone.state_dict(), inverse(EPAM.streams["rgb"]), "our stream")
    torch.save({"state_dict": published}, folder / "rgb.pth")
    copy = Copy(num_joints=5, rgb_pretrained=folder / "rgb.pth")
    assert torch.equal(copy.rgb_backbone.stem.conv.weight, ours.rgb_backbone.stem.conv.weight)
    copy.load_state_dict(ours.state_dict(), strict=True)
    clips = torch.rand(1, 3, 2, 32, 32), torch.rand(1, 5, 6, 8, 8)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(copy(*clips), ours(*clips), strict=True))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name: str, folder: Path) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells), f"{name}: strip its outputs"
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == NOTEBOOKS[name]


def test_the_index_lists_every_example() -> None:
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert there == SAYS.keys() | READ_ONLY | NOTEBOOKS.keys()
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(\./([^)]+)\)", index)) == there - {"small_data.py"}


@pytest.mark.parametrize("name", [*SAYS, *READ_ONLY])
def test_an_example_is_short_and_says_what_it_is(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert re.match(r'"""[A-Z].*[.:]', text)
    assert len(text.splitlines()) <= 60, f"{name}: a newcomer reads an example in two minutes"
