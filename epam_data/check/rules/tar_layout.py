"""Compare a shard's tar structure with the index: the offset of each member, and the bytes between members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from epam_data.check.rules.finding import Finding
from epam_data.shards.codec import ROLES
from epam_data.shards.layout import BLOCK, IndexRow, MemberHeader, read_header

_SCANNED_BYTES = 1 << 20


def expected_headers(rows: Sequence[IndexRow], endings: Sequence[str]) -> list[MemberHeader]:
    """The headers that the index implies for a shard, in order."""
    return [
        MemberHeader(key=row.key, ending=ending, header=start - BLOCK, size=size)
        for row in rows
        for ending, start, size in zip(endings, row.member_offsets(), row.member_bytes, strict=True)
    ]


def walk_tar(
    data: memoryview, shard: str, expected: Sequence[MemberHeader]
) -> tuple[list[MemberHeader], list[Finding]]:
    """The members of a tar file, read from the file itself.

    After an unreadable header, the walk continues at the next member of the index.

    Args:
        data: the complete file.
        shard: its name, for the findings.
        expected: the headers according to the index, in order.

    Returns:
        The members in the order of the file, and findings about the tar: headers, padding, its end.
    """
    members: list[MemberHeader] = []
    findings: list[Finding] = []

    def found(what: str, at: int, near: MemberHeader | None = None) -> None:
        key, ending = (near.key, near.ending) if near else ("", "")
        findings.append(Finding(check="tar", shard=shard, key=key, member=ending, offset=at, what=what))

    position, here = 0, {entry.header: entry for entry in expected}
    while position + BLOCK <= len(data):
        block = data[position : position + BLOCK]
        if _first_nonzero(block) is None and position not in here:
            break  # the end of the archive
        try:
            entry = read_header(block, position)
        except ValueError as error:
            found(f"invalid member header ({error})", position, here.get(position))
            later = [entry.header for entry in expected if entry.header > position]
            if not later:
                return members, findings
            position = later[0]
            continue
        members.append(entry)
        if entry.start + entry.size > len(data):
            missing = entry.start + entry.size - len(data)
            found(f"cut short: {missing} of its {entry.size} bytes are missing", entry.start, entry)
            return members, findings
        stray = _first_nonzero(data[entry.start + entry.size : entry.end])
        if stray is not None:
            found("bytes that belong to no member", entry.start + entry.size + stray, entry)
        position = entry.end
    rest = data[position:]
    if len(rest) < 2 * BLOCK:
        found(f"cut short: {len(rest)} bytes after the last member, a tar ends in {2 * BLOCK} zeros", position)
    elif (stray := _first_nonzero(rest)) is not None:
        found("bytes after the end of the archive", position + stray)
    return members, findings


def compare_with_index(
    members: Sequence[MemberHeader], expected: Sequence[MemberHeader], shard: str
) -> Iterator[Finding]:
    """Members that are missing, extra, at another offset or of another size.

    A member that has grown moves everything after it, so a displacement is reported once, where it starts.
    """
    wanted = {(entry.key, entry.ending): entry for entry in expected}
    keys = {entry.key for entry in expected}
    seen: set[tuple[str, str]] = set()
    strangers: set[str] = set()
    displaced = 0
    for member in members:
        name = (member.key, member.ending)
        report = _Report(shard, member)
        entry = wanted.get(name)
        if entry is None:
            if member.key not in strangers:
                strangers.add(member.key)
                yield report(
                    "the index does not have this clip" if member.key not in keys else "not a member of a clip"
                )
            continue
        if name in seen:
            yield report("the member is in the shard more than once")
            continue
        seen.add(name)
        if member.header - entry.header != displaced:
            displaced = member.header - entry.header
            if displaced:
                yield report(f"misplaced: the index has this member's header at byte {entry.header}")
        if member.size != entry.size:
            yield report(f"has {member.size} bytes, the index says {entry.size}")
    for key in dict.fromkeys(entry.key for entry in expected):
        absent = [entry for entry in expected if entry.key == key and (key, entry.ending) not in seen]
        if len(absent) == len(ROLES):
            yield Finding(check="tar", shard=shard, key=key, offset=absent[0].header, what="the clip is missing")
        else:
            yield from (_Report(shard, entry)("the member is missing") for entry in absent)


@dataclass(frozen=True)
class _Report:
    shard: str
    entry: MemberHeader

    def __call__(self, what: str) -> Finding:
        entry = self.entry
        return Finding(
            check="tar", shard=self.shard, key=entry.key, member=entry.ending, offset=entry.header, what=what
        )


def _first_nonzero(data: memoryview) -> int | None:
    for start in range(0, len(data), _SCANNED_BYTES):
        content = bytes(data[start : start + _SCANNED_BYTES])
        if rest := content.lstrip(b"\0"):
            return start + len(content) - len(rest)
    return None
