from dataclasses import replace
from pathlib import Path

import pytest

from epam_data.build.output import FolderOutput
from epam_data.build.receipts import ShardResult, is_intact, read_receipts, remove_others, write_receipt
from epam_data.schema import Problem
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter
from tests.data.raw_data import make_sample


@pytest.fixture
def output(tmp_path: Path) -> FolderOutput:
    return FolderOutput(tmp_path)


def finish(output: FolderOutput, name: str) -> ShardResult:
    with ShardWriter(output.staging, name, "train", ShardSettings()) as writer:
        writer.write(make_sample())
        summary = writer.finish()
    problems = (
        Problem(name="a", split="train", action="skipped", reason="a: no video found"),
        Problem(name="b", split="train", action="mended", reason="b: 3 frames too many"),
    )
    result = ShardResult(summary=summary, problems=problems, fingerprint="f", stamp=None, seconds=1.5)
    write_receipt(output, result)
    return result


def test_a_receipt_comes_back(output: FolderOutput):
    result = finish(output, "train-000000")
    assert read_receipts(output) == {"train-000000": result}
    assert (result.num_frames, result.num_skipped) == (6, 1)


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"summary": 3}'])
def test_a_damaged_receipt_counts_for_nothing(output: FolderOutput, damage: bytes):
    kept = finish(output, "train-000000")
    finish(output, "train-000001")
    output.write(".build/receipts/train-000001.json", damage)
    assert read_receipts(output) == {"train-000000": kept}


def test_a_receipt_counts_only_with_its_shard(output: FolderOutput):
    result = finish(output, "train-000000")
    assert is_intact(output, result)
    assert not is_intact(output, replace(result, summary=replace(result.summary, sha256="0" * 64)))
    output.remove("train-000000.tar")
    assert not is_intact(output, result)


def test_shards_of_another_plan_are_removed_and_foreign_ones_stay(output: FolderOutput, tmp_path: Path):
    for name in ("train-000000", "train-000001"):
        finish(output, name)
    (tmp_path / "foreign.tar").touch()
    remove_others(output, ["train-000000"])
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["foreign.tar", "train-000000.tar"]
    assert list(read_receipts(output)) == ["train-000000"]


def test_no_receipt_makes_a_build_remove_other_files(output: FolderOutput, tmp_path: Path):
    """Neither one that is damaged, nor a whole one of a name that no shard has."""
    result = finish(output, "train-000000")
    write_receipt(output, replace(result, summary=replace(result.summary, name="mydata")))
    output.write(".build/receipts/thesis.json", b"{}")
    for name in ("mydata.tar", "thesis.tar"):
        (tmp_path / name).write_text("precious")
    remove_others(output, [])
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["mydata.tar", "thesis.tar"]
    assert (tmp_path / ".build" / "receipts" / "thesis.json").is_file()
