"""Ranks that would do different work are refused, with what differs; test_distributed has two real ranks."""

from pathlib import Path

import pytest

from epam_data.stream import Stream
from epam_model.ranks import agreement
from epam_model.ranks.agreement import check_ranks_agree, file_facts, settings_facts, stream_facts
from tests.model.tiny import STREAM, write_shards


def refusal(monkeypatch: pytest.MonkeyPatch, *ranks: dict[str, object]) -> str:
    """What the first rank says if the ranks have these facts."""

    def gather(own: dict[str, str]) -> list[dict[str, str]]:
        return [own, *({name: repr(value) for name, value in each.items()} for each in ranks[1:])]

    monkeypatch.setattr(agreement, "gather", gather)
    with pytest.raises(ValueError) as caught:
        check_ranks_agree(ranks[0])
    return str(caught.value)


def test_one_rank_agrees_with_itself():
    check_ranks_agree({"torch": "2.13.0"})


def test_what_differs_is_said_with_the_ranks(monkeypatch: pytest.MonkeyPatch):
    same = {"torch": "2.13.0", "stream.batch_size": 16}
    other = {**same, "stream.batch_size": 8}
    assert refusal(monkeypatch, same, same, same, other) == (
        "the ranks do not agree: stream.batch_size is 16 on ranks 0-2, 8 on rank 3"
    )
    assert refusal(monkeypatch, same, other, same) == (
        "the ranks do not agree: stream.batch_size is 16 on ranks 0, 2, 8 on rank 1"
    )
    assert refusal(monkeypatch, {"a": 1}, {}) == "the ranks do not agree: a is 1 on rank 0, absent on rank 1"


def test_many_differences_are_cut(monkeypatch: pytest.MonkeyPatch):
    first, second = (dict.fromkeys("abcdefg", value) for value in (1, 2))
    text = refusal(monkeypatch, first, second)
    assert text.endswith("e is 1 on rank 0, 2 on rank 1; and 2 more") and "f is" not in text


def test_streams_differ_by_their_shards(tmp_path: Path):
    """A build with the same clips in the same files, but other bytes, has other facts."""

    def facts(name: str, **changes: int) -> dict[str, object]:
        shards = write_shards(tmp_path / name, **changes)
        return stream_facts(Stream(shards, split="train", settings=STREAM, training=True))

    assert facts("one") == facts("two")
    shorter = facts("three", train=10)
    assert {name for name, value in facts("four").items() if shorter[name] != value} == {
        "manifest.json of the shards (SHA-256)",
        "clips of train",
    }


def test_what_depends_on_the_machine_may_differ():
    assert settings_facts("stream", {"workers": 2, "cache_dir": "/a", "batch_size": 4}) == {"stream.batch_size": 4}


def test_a_file_is_known_by_its_content(tmp_path: Path):
    (tmp_path / "best.pt").write_bytes(b"one")
    before = file_facts(tmp_path / "best.pt")
    (tmp_path / "best.pt").write_bytes(b"two")
    assert before != file_facts(tmp_path / "best.pt") and list(before) == ["best.pt"]
    assert file_facts(tmp_path / "none.pt") == {"none.pt": "absent"}
