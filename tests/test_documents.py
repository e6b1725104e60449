"""What the documents say of the code is true: recipe keys and names that they mention exist."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import epam_data.cli
import epam_model.cli
from epam_data.commands.build import BuildCommand
from epam_data.commands.check import CheckCommand
from epam_data.commands.program import CommandTable
from epam_data.recipe import RECIPE_SECTIONS, parse_command, recipe_keys
from epam_data.stream import StreamSettings
from epam_model.commands.train import TrainCommand
from epam_model.losses.pcan import PCANLosses
from epam_model.networks.heads import TwoStreamHead, prototype_banks
from epam_model.train.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
KEYS = {key for command in (BuildCommand, CheckCommand, TrainCommand) for key in recipe_keys(command)}


@pytest.mark.parametrize("path", [*READMES, *DOCUMENTS], ids=lambda path: path.name)
def test_recipe_keys_that_a_document_names_exist(path: Path) -> None:
    sections = "|".join(RECIPE_SECTIONS)
    spans = re.findall(rf"`(?:--)?((?:{sections})\.[a-z_.]+[a-z_])(?:: [^`]*)?`", path.read_text(encoding="utf-8"))
    unknown = [key for key in spans if key not in KEYS and not any(known.startswith(f"{key}.") for known in KEYS)]
    assert not unknown, f"{path.name} names keys that no command has: {unknown}"


def test_the_switches_of_the_deviations_do_what_they_say() -> None:
    text = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    for key, value in re.findall(r"`stream\.([a-z_]+): ([a-z_]+)`", text):
        changes = {key: value} | ({"heatmap": "drawn"} if key.endswith("crop") else {})
        StreamSettings(**changes)  # refuses what is not allowed
    assert "published_behaviour=True" in text
    banks = prototype_banks(TwoStreamHead(2, num_coarse_classes=2))
    losses = PCANLosses(TrainSettings().loss, [0, 1], banks, published_behaviour=True)
    assert not losses.fine_prototype.across_ranks and not losses.fine_prototype.train_diversity


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", epam_data.__version__)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for paper in citation["references"]:
        assert paper["identifiers"][0]["value"] in readme
        assert all(author["family-names"] in readme for author in paper["authors"])


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name
)
def test_an_issue_form_is_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"] and form["description"]
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea") and part["attributes"]
    text = " ".join(str(part["attributes"]) for part in form["body"])
    for place in re.findall(r"\b(?:docs|examples)/[\w./-]+\w", text):
        assert (ROOT / place).exists(), f"{path.name} names {place}"


def all_blocks(path: Path) -> list[tuple[str, str]]:
    """The language and the text of each code block of a document."""
    return re.findall(r"^```(\S*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> Iterator[str]:
    """The code blocks of a document in one language."""
    yield from (code for written_in, code in all_blocks(path) if written_in == language)


# What a page says of MMAction2 is run where MMAction2 is: tests/mmaction/test_docs.py. `dask_jobqueue` wants a cluster.
PYTHON = [
    (path.name, code)
    for path in DOCUMENTS
    if path.stem != "mmaction2"
    for code in blocks(path, "python")
    if "dask_jobqueue" not in code
]
LAUNCHERS = {
    r"torchrun .*-m epam_model\.cli ": "epam-model ",
    r"sbatch .*slurm/train\.sbatch ": "epam-model train ",
    r"sbatch .*slurm/finalise\.sbatch ": "epam-data finalise ",
}


def commands(path: Path) -> Iterator[str]:
    """The commands of ours in the sh blocks of a document, without what launches them."""
    for block in blocks(path, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for launcher, program in LAUNCHERS.items():
                line = re.sub(f"^{launcher}", program, line)
            if line.startswith(("epam-data ", "epam-model ")):
                yield line


COMMANDS = [(path.name, line) for path in (*READMES, *DOCUMENTS) for line in commands(path)]


def test_there_are_snippets() -> None:
    assert PYTHON and {path.name for path in READMES} < {name for name, _ in COMMANDS}


def test_both_readmes_hold_the_same_code() -> None:
    """But for the comments in it, which are translated."""
    english, chinese = (
        [(language, re.sub(r"(^|\s+)#.*$", "", code, flags=re.MULTILINE)) for language, code in all_blocks(path)]
        for path in READMES
    )
    assert english == chinese


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_the_links_of_a_readme_lead_somewhere(path: Path) -> None:
    """Those of the documents are held by `make docs`, which does not see the READMEs."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#([^)]+))?\)", path.read_text(encoding="utf-8"))
    assert ({other.name for other in READMES} - {path.name}) < {place for place, _ in links}
    for place, heading in links:
        assert (ROOT / place).exists(), f"no {place}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", (ROOT / place).read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [line.lower().replace(" ", "-") for line in headings], f"no #{heading} in {place}"


@pytest.fixture
def beside_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder that holds `shards/ntu60_xsub`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "ntu60_xsub").symlink_to(ROOT / "tests" / "data" / "shards" / "schema_1")


@pytest.mark.parametrize(("name", "code"), PYTHON)
@pytest.mark.usefixtures("beside_shards")
def test_python_of_a_document_runs(name: str, code: str) -> None:
    exec(compile(code, name, "exec"), {})


@pytest.mark.usefixtures("beside_shards")
def test_python_of_the_readme_runs() -> None:
    """Each block by itself; the shards here hold fewer clips than a batch of 32."""
    codes = [code.replace("batch_size=32", "batch_size=2") for code in blocks(ROOT / "README.md", "python")]
    shard, painter, stream, backbone = [dict[str, Any]() for _ in codes]
    for code, names in zip(codes, (shard, painter, stream, backbone), strict=True):
        exec(compile(code, "README.md", "exec"), names)
    assert shard["first_jpeg"].startswith(b"\xff\xd8") and shard["volume"].shape[1:] == (17, 8, 8)
    assert painter["heatmap"].shape == (17, 48, 56, 56)
    assert stream["rgb"].shape == (2, 3, 16, 32, 32) and stream["pose"].shape == (2, 17, 48, 8, 8)
    assert backbone["rgb_features"].shape == (2, 432, 16, 7, 7)
    assert backbone["pose_features"].shape == (2, 216, 48, 7, 7)


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_a_command_of_a_document_is_understood(name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # recipes are named from here
    program, *words = shlex.split(line.partition(" > ")[0], comments=True)

    def parse_only(prog: str, commands: CommandTable, words: list[str]) -> int:
        entry = commands[words[0]]
        parse_command(entry.load()[0], f"{prog} {words[0]}", words[1:], entry.positionals)
        return 0

    cli = {"epam-data": epam_data.cli, "epam-model": epam_model.cli}[program]
    monkeypatch.setattr(cli, "run_command", parse_only)
    assert cli.main(words) == 0


def test_the_picture_of_a_heatmap_is_drawn_by_the_code(tmp_path: Path) -> None:
    out = tmp_path / "heatmap.png"
    command = [sys.executable, str(ROOT / "docs" / "draw_heatmap.py"), str(out)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    with Image.open(out) as now, Image.open(ROOT / "docs" / "heatmap.png") as committed:
        assert now.size == committed.size
        difference = np.abs(np.asarray(now.convert("L"), float) - np.asarray(committed.convert("L"), float))
    assert difference.mean() < 2, "the code draws another picture: run docs/draw_heatmap.py"


def templates(path: Path) -> Iterator[str]:
    """Every text of a source file, with … where a value is put in; adjacent literals are one, as Python joins them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_message_of_troubleshooting_is_one_of_ours() -> None:
    """A quoted message is a part of a text in the code, or several of its texts one behind the other."""
    sources = [path for package in ("epam_data", "epam_model") for path in sorted((ROOT / package).rglob("*.py"))]
    known = "\n".join(text for path in sources for text in templates(path))
    quoted = re.findall(
        r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(quoted) > 30
    of_the_system = {"No space left on device"}
    for message in set(quoted) - of_the_system:
        parts = [part for part in re.split(r"\s*…[:,.;)'(]*\s*", message) if len(part) > 3]
        assert parts and all(part in known for part in parts), f"no message of the code: {message}"
