"""Every kind of damage is in test_check.py; here, what holds of any damage."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from epam_data.check.rules.finding import Finding
from epam_data.check.rules.tar_layout import compare_with_index, expected_headers, walk_tar
from epam_data.shards.codec import MEMBERS
from epam_data.shards.layout import IndexRow, MemberHeader


def shard(num_clips: int = 4, seed: int = 0) -> tuple[bytes, list[IndexRow]]:
    """A tar of random members, as a shard's writer lays them, and its index."""
    rng, buffer, rows = np.random.default_rng(seed), io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(num_clips):
            sizes = tuple(rng.integers(1, 1500, len(MEMBERS)).tolist())
            rows.append(
                IndexRow(key=f"c{number}", label=0, coarse_label=0, num_frames=1, offset=tar.offset, member_bytes=sizes)
            )
            for ending, size in zip(MEMBERS, sizes, strict=True):
                header = tarfile.TarInfo(f"c{number}.{ending}")
                header.size = size
                tar.addfile(header, io.BytesIO(rng.bytes(size)))
    return buffer.getvalue(), rows


def findings(data: bytes, rows: list[IndexRow]) -> list[str]:
    expected = expected_headers(rows, MEMBERS)
    members, wrong = walk_tar(memoryview(data), "s", expected)
    return [str(finding) for finding in (*wrong, *compare_with_index(members, expected, "s"))]


def test_a_good_shard_is_walked_without_a_finding():
    data, rows = shard()
    members, wrong = walk_tar(memoryview(data), "s", expected_headers(rows, MEMBERS))
    assert members == expected_headers(rows, MEMBERS) and not wrong
    assert findings(data, rows) == []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(header.offset, header.offset_data) for header in tar] == [(m.header, m.start) for m in members]


def test_an_empty_shard_is_an_end_alone():
    assert findings(bytes(10240), []) == []
    assert findings(b"", []) == ["s: byte 0: cut short: 0 bytes after the last member, a tar ends in 1024 zeros"]


@pytest.mark.parametrize("seed", range(3))
def test_any_change_outside_the_contents_is_found(seed: int):
    """Contents are opened by others; everything else of a tar is redundant."""
    data, rows = shard()
    content = np.zeros(len(data), np.bool_)
    for place in expected_headers(rows, MEMBERS):
        content[place.start : place.start + place.size] = True
    rng = np.random.default_rng(seed)
    for at in rng.choice(np.flatnonzero(~content), 60, replace=False).tolist():
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        assert findings(bytes(changed), rows), at


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_is_found(seed: int):
    data, rows = shard()
    needed = expected_headers(rows, MEMBERS)[-1].end + 1024
    for length in np.random.default_rng(seed).integers(0, needed, 40).tolist():
        assert findings(data[:length], rows), length


def test_the_walk_continues_after_a_broken_header():
    data, rows = shard()
    changed = bytearray(data)
    changed[expected_headers(rows, MEMBERS)[5].header] ^= 1
    members, _ = walk_tar(memoryview(bytes(changed)), "s", expected_headers(rows, MEMBERS))
    assert len(members) == 4 * 4 - 1


def test_a_directory_is_not_a_member():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        header = tarfile.TarInfo("folder")
        header.type = tarfile.DIRTYPE
        tar.addfile(header)
    assert any("folder is not a regular file" in text for text in findings(buffer.getvalue(), []))


def test_a_negative_size_is_not_a_header():
    """Of -512 bytes, a walk would stand still for ever."""
    header = tarfile.TarInfo("c0.json")
    header.size = -1
    data = header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    assert any("invalid member header (c0.json has -1 bytes)" in text for text in findings(data, []))


def walked(data: bytes, rows: list[IndexRow]) -> list[Finding]:
    return walk_tar(memoryview(data), "s", expected_headers(rows, MEMBERS))[1]


def test_a_cut_inside_a_member_says_what_is_missing():
    data, rows = shard()
    last = expected_headers(rows, MEMBERS)[-1]
    end = last.start + last.size
    (found,) = walked(data[: end - 7], rows)
    assert found.what == f"cut short: 7 of its {last.size} bytes are missing"
    assert (found.key, found.member, found.offset) == (last.key, last.ending, last.start)
    (found,) = walked(data[:end], rows)  # the member is whole, the end of the archive is not
    assert (found.key, found.offset) == ("", last.end)
    assert found.what == "cut short: 0 bytes after the last member, a tar ends in 1024 zeros"


def test_two_blocks_of_zeros_end_an_archive():
    data, rows = shard()
    end = expected_headers(rows, MEMBERS)[-1].end
    assert walked(data[: end + 1024], rows) == []
    for num_zeros in (1023, 512, 511):
        (found,) = walked(data[: end + num_zeros], rows)
        assert found.what.startswith(f"cut short: {num_zeros} bytes after the last member")
    # A header that is the last block of a file is looked at.
    stray = tarfile.TarInfo("stray.txt").tobuf(tarfile.USTAR_FORMAT)
    assert len(stray) == 512
    members, _ = walk_tar(memoryview(data[:end] + stray), "s", expected_headers(rows, MEMBERS))
    assert members[-1].key == "stray"


def test_bytes_behind_a_member_or_the_archive_are_named_by_their_place():
    data, rows = shard()
    member = next(entry for entry in expected_headers(rows, MEMBERS) if entry.end - entry.start - entry.size > 5)
    end = expected_headers(rows, MEMBERS)[-1].end
    for at, what in (
        (member.start + member.size + 3, "bytes that belong to no member"),
        (end + 700, "bytes after the end of the archive"),
    ):
        changed = bytearray(data)
        changed[at] = 1
        (found,) = walked(bytes(changed), rows)
        assert (found.offset, found.what) == (at, what)


def test_a_header_that_is_all_zeros_is_not_the_end():
    data, rows = shard()
    header = expected_headers(rows, MEMBERS)[6]
    changed = bytearray(data)
    changed[header.header : header.start] = bytes(512)
    (found,) = walked(bytes(changed), rows)
    assert found.what.startswith("invalid member header (")
    assert (found.key, found.member, found.offset) == (header.key, header.ending, header.header)


def compared(members: list[MemberHeader], rows: list[IndexRow]) -> list[str]:
    return [
        f"{f.key}.{f.member} {f.offset}: {f.what}"
        for f in compare_with_index(members, expected_headers(rows, MEMBERS), "s")
    ]


def test_members_and_index_are_compared_one_by_one():
    rows = shard()[1]
    good = expected_headers(rows, MEMBERS)
    assert compared(good, rows) == []
    assert compared([*good[:5], *good[6:]], rows) == [f"c1.{MEMBERS[1]} {good[5].header}: the member is missing"]
    assert compared([*good[:4], *good[8:]], rows) == [f"c1. {good[4].header}: the clip is missing"]
    three = [*good[:4], good[6], *good[8:]]
    assert compared(three, rows) == [
        f"c1.{MEMBERS[number]} {good[4 + number].header}: the member is missing" for number in (0, 1, 3)
    ]
    again = replace(good[2], header=good[-1].end)
    assert compared([*good, again], rows) == [
        f"c0.{MEMBERS[2]} {again.header}: the member is in the shard more than once"
    ]
    larger = replace(good[3], size=good[3].size + 1)
    assert compared([*good[:3], larger, *good[4:]], rows) == [
        f"c0.{MEMBERS[3]} {good[3].header}: has {larger.size} bytes, the index says {good[3].size}"
    ]


def test_strangers_are_said_once_a_clip():
    rows = shard()[1]
    good = expected_headers(rows, MEMBERS)
    strangers = [MemberHeader(key=key, ending=ending, header=good[-1].end, size=1)
                 for key, ending in (("x", "json"), ("x", "txt"), ("y", "txt"), ("c1", "txt"))]  # fmt: skip
    end = good[-1].end
    assert compared([*good, *strangers], rows) == [
        f"x.json {end}: the index does not have this clip",
        f"y.txt {end}: the index does not have this clip",
        f"c1.txt {end}: not a member of a clip",
    ]


def test_a_displacement_is_said_where_it_begins_and_ends():
    """The second clip is 512 bytes late, the third 1024, the fourth in its place."""
    rows = shard()[1]
    good = expected_headers(rows, MEMBERS)
    late = [replace(entry, header=entry.header + 512 * (0, 1, 2, 0)[number // 4]) for number, entry in enumerate(good)]
    assert compared(late, rows) == [
        f"c{clip}.{MEMBERS[0]} {late[4 * clip].header}: misplaced: the index has this member's header at byte "
        f"{good[4 * clip].header}"
        for clip in (1, 2)
    ]


def test_an_index_that_lacks_a_size_is_no_index():
    (row,) = shard(1)[1]
    with pytest.raises(ValueError, match="shorter"):
        expected_headers([replace(row, member_bytes=row.member_bytes[:3])], MEMBERS)
