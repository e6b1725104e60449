"""Where the members of a shard lie: headers and padding count."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from epam_data.shards.codec import MEMBERS
from epam_data.shards.layout import IndexRow, MemberHeader, read_header
from tests.data.raw_data import write_shard


def test_member_offsets_count_headers_and_padding() -> None:
    row = IndexRow(key="a", label=0, coarse_label=0, num_frames=1, offset=1024, member_bytes=(1, 512, 513, 7))
    assert row.member_offsets() == (1536, 2560, 3584, 5120)
    assert row.end == 5127, "the padding behind the last member does not count"


def test_rows_point_at_the_raw_bytes(tmp_path: Path) -> None:
    summary = write_shard(tmp_path)
    data = (tmp_path / f"{summary.name}.tar").read_bytes()
    with tarfile.open(tmp_path / f"{summary.name}.tar") as tar:
        for row in summary.rows:
            headers = [tar.getmember(f"{row.key}.{ending}") for ending in MEMBERS]
            assert row.member_offsets() == tuple(header.offset_data for header in headers)
            assert row.member_bytes == tuple(header.size for header in headers)
            head, *_, frames = row.member_offsets()
            values = json.loads(data[head : head + row.member_bytes[0]])
            assert values["key"] == row.key
            start, end = values["frame_offsets"][2:4]
            with Image.open(io.BytesIO(data[frames + start : frames + end])) as image:
                assert (image.format, image.size, image.mode) == ("JPEG", (16, 16), "RGB")
                image.load()


def header(name: str = "a.json", size: int = 3, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_header_says_where_its_member_lies() -> None:
    member = read_header(memoryview(header("a-1.keypoints.npy", 513)), 1024)
    assert member == MemberHeader(key="a-1", ending="keypoints.npy", header=1024, size=513)
    assert (member.start, member.end) == (1536, 2560)


@pytest.mark.parametrize(("size", "blocks"), [(0, 0), (1, 1), (512, 1), (513, 2)])
def test_a_member_ends_with_its_padding(size: int, blocks: int) -> None:
    member = read_header(header(size=size), 0)
    assert (member.size, member.end - member.start) == (size, 512 * blocks)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (header()[:-1], "truncated header"),
        (b"x" + header()[1:], "bad checksum"),
        (header("folder", 0, tarfile.DIRTYPE), "folder is not a regular file"),
        (header(size=-1), r"a\.json has -1 bytes"),
    ],
)
def test_what_is_no_header_of_a_member_is_refused(block: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        read_header(block, 0)
