"""Where the members of a shard lie: headers and padding count."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from epam_data.shards.codec import MEMBERS
from epam_data.shards.index import load_index
from epam_data.shards.layout import IndexRow, MemberHeader, read_header
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import ShardReader


def test_member_offsets_count_headers_and_padding() -> None:
    row = IndexRow(key="a", label=0, coarse_label=0, num_frames=1, offset=1024, member_bytes=(1, 512, 513, 0))
    assert row.member_offsets() == (1536, 2560, 3584, 5120)


def test_index_rows_point_at_the_raw_bytes(ntu60_shards: Path) -> None:
    manifest, index = load_manifest(ntu60_shards), load_index(ntu60_shards)
    reader = ShardReader(ntu60_shards, [entry.name for entry in manifest.shards])
    for number in range(len(index)):
        row, shard = index.row(number), int(index.shard[number])
        with tarfile.open(ntu60_shards / f"{manifest.shards[shard].name}.tar") as tar:
            for ending, start, size in zip(MEMBERS, row.member_offsets(), row.member_bytes, strict=True):
                header = tar.getmember(f"{row.key}.{ending}")
                assert (header.offset_data, header.size) == (start, size)
        start, size = row.member_offsets()[0], row.member_bytes[0]
        values = json.loads(reader.read(shard, start, size))
        assert values["key"] == row.key
        frames = values["frame_offsets"]
        jpeg = reader.read(shard, row.member_offsets()[3] + frames[2], frames[3] - frames[2])
        with Image.open(io.BytesIO(jpeg)) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (64, 64), "RGB")
            image.load()
    reader.close()


def header(name: str = "a.json", size: int = 3, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_header_says_where_its_member_lies() -> None:
    member = read_header(memoryview(header("a-1.keypoints.npy", 513)), 1024)
    assert member == MemberHeader(key="a-1", ending="keypoints.npy", header=1024, size=513)
    assert (member.start, member.end) == (1536, 2560)


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
