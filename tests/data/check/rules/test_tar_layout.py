"""Every kind of damage is in test_check.py; here, what holds of any damage."""

import io
import tarfile

import numpy as np
import pytest

from epam_data.check.rules.tar_layout import compare_with_index, expected_headers, walk_tar
from epam_data.shards.codec import MEMBERS
from epam_data.shards.layout import IndexRow


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
