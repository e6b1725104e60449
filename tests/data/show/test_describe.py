import shutil
import tarfile
from pathlib import Path

import pytest

from epam_data.shards.index import load_index
from epam_data.shards.reader import read_shard
from epam_data.show.describe import describe, describe_sample, read_sample
from tests.data.damage import change_bytes, change_index, write_tar


def places(root: Path) -> list[str]:
    return [str(root), f"file://{root}"]


def test_every_sample_is_found_by_its_key(ntu60_shards: Path):
    for key in load_index(ntu60_shards).row_of_key:
        sample, members = read_sample(ntu60_shards, key)
        assert sample.info.key == key
        text = describe_sample(sample, members)
        assert f"{key}.json" in text and f"({sample.info.num_frames}, 17, 16, 16) uint8" in text


def test_the_directory_in_words_by_path_and_by_url(ntu60_shards: Path):
    for place in places(ntu60_shards):
        lines = describe(place).splitlines()
        assert lines[0] == f"{place}: ntu60 xsub"
        assert any("train-000003" in line and " 2 " in line for line in lines)
        assert [line.split()[:2] for line in lines[-3:]] == [["train", "14"], ["val", "5"], ["total", "19"]]


def test_one_shard_needs_no_manifest(ntu60_shards: Path, tmp_path: Path):
    alone = Path(shutil.copy(ntu60_shards / "val-000000.tar", tmp_path))
    wanted = {key: members for key, _, members in read_shard(alone)}
    for place in places(alone):
        lines = describe(place).splitlines()
        assert [line.split()[0] for line in lines[2:-1]] == list(wanted)
        assert lines[-1].split()[:2] == ["4", "clips"]
        for key, members in wanted.items():
            sample, found = read_sample(place, key)
            assert (sample.info.key, found) == (key, members)


def test_a_directory_at_a_url_gives_the_same_clip(ma52_shards: Path):
    key = load_index(ma52_shards).row(6).key
    assert read_sample(f"file://{ma52_shards}", key)[1] == read_sample(ma52_shards, key)[1]


def test_hidden_labels_and_absent_members_are_reported(ma52_shards: Path, tmp_path: Path):
    assert describe(str(ma52_shards / "test-000000.tar")).count("hidden") == 2
    key, _, members = next(read_shard(ma52_shards / "val-000000.tar"))
    write_tar(tmp_path / "part.tar", [(f"{key}.{e}", data) for e, data in members.items() if e != "rgb.mjpeg"])
    assert "lacks rgb.mjpeg" in describe(str(tmp_path / "part.tar"))
    with pytest.raises(ValueError, match=r"the sample lacks rgb\.mjpeg"):
        read_sample(tmp_path / "part.tar", key)


def test_what_cannot_be_read_is_refused(ntu60_shards: Path, tmp_path: Path):
    for place in (*places(ntu60_shards), *places(ntu60_shards / "val-000001.tar")):
        with pytest.raises(ValueError, match=r"no clip 'nobody' among (19|1), such as S001"):
            read_sample(place, "nobody")
    for place in places(tmp_path / "none.tar"):
        with pytest.raises(ValueError, match=r"none\.tar: no such file"):
            describe(place)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        describe(f"file://{tmp_path}")
    with pytest.raises(ValueError, match=r"nothing://x\.tar: cannot be opened \(Protocol not known"):
        describe("nothing://x.tar")
    bad = Path(shutil.copy(ntu60_shards / "val-000000.tar", tmp_path))
    change_bytes(bad, lambda data: data.__setitem__(3, data[3] ^ 1))
    with pytest.raises(ValueError, match=r"invalid tar header at byte 0 \(bad checksum\)"):
        describe(str(bad))


def test_a_damaged_header_between_clips_is_named_by_its_byte(ntu60_shards: Path, tmp_path: Path):
    """There the tar module alone would stop, as at the end of the archive."""
    bad = Path(shutil.copy(ntu60_shards / "val-000000.tar", tmp_path))
    second = load_index(ntu60_shards).row(15).offset
    change_bytes(bad, lambda data: data.__setitem__(second + 3, data[second + 3] ^ 1))
    with pytest.raises(ValueError, match=rf"invalid tar header at byte {second} \(bad checksum\)"):
        describe(str(bad))


def test_a_negative_size_is_not_a_header(tmp_path: Path):
    """Of -512 bytes, a walk would stand still for ever."""
    header = tarfile.TarInfo("c0.json")
    header.size = -1
    (tmp_path / "bad.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match=r"bad\.tar: invalid tar header at byte 0 \(c0\.json has -1 bytes\)"):
        describe(str(tmp_path / "bad.tar"))


def test_a_shard_number_that_is_not_there_is_refused(ntu60_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    key = load_index(root).row(0).key
    for number in (77, -1):
        change_index(root, shard={2: number})
        with pytest.raises(ValueError, match=rf"index\.h5: row 2: shard must be in 0\.\.5, got {number}$"):
            read_sample(root, key)


def test_a_shard_that_is_cut_short_is_called_so(ntu60_shards: Path, tmp_path: Path):
    data = (ntu60_shards / "val-000001.tar").read_bytes()
    assert "cut short" not in describe(str(ntu60_shards / "val-000001.tar"))
    for length in (600, len(data) // 2):
        (tmp_path / "cut.tar").write_bytes(data[:length])
        assert f"  cut short: the file ends at byte {length}, expected" in describe(str(tmp_path / "cut.tar"))


def test_one_bad_json_costs_its_own_line(ntu60_shards: Path, tmp_path: Path):
    samples = [(key, members) for key, _, members in read_shard(ntu60_shards / "val-000000.tar")]
    bad = {
        0: b"[" * 100_000,
        1: b"[1, 2]",
        2: b'{"split": "\\u001b[2J", "label": 1' + b"0" * 100 + b"}",
    }
    for number, data in bad.items():
        samples[number] = (samples[number][0], {**samples[number][1], "json": data})
    members = [(f"{key}.{ending}", data) for key, parts in samples for ending, data in parts.items()]
    write_tar(tmp_path / "some.tar", members)
    lines = describe(str(tmp_path / "some.tar")).splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == [key for key, _ in samples]
    assert ["KEY.json:" in line for line in lines[2:-1]] == [True, True, True, False]
    assert all(line.isprintable() and len(line) < 400 for line in lines)


def test_names_in_a_tar_move_no_cursor(tmp_path: Path):
    write_tar(tmp_path / "some.tar", [("\x1b[2Jx.json", b"{}")])
    assert r"\x1b[2Jx" in describe(str(tmp_path / "some.tar"))
    with pytest.raises(ValueError, match=r"such as \\x1b\[2Jx$"):
        read_sample(tmp_path / "some.tar", "y")
