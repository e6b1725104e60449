"""The bytes of a shard as a tar file, against the index: where each member lies, and what lies between them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from epam_data.check.rules.finding import Finding
from epam_data.shards.codec import MEMBERS
from epam_data.shards.layout import BLOCK, IndexRow


@dataclass(frozen=True, kw_only=True)
class MemberPlace:
    """One member of a tar file."""

    key: str
    ending: str
    header: int  # where its header starts, bytes
    size: int  # of its content, bytes

    @property
    def start(self) -> int:
        """Where its content starts."""
        return self.header + BLOCK

    @property
    def end(self) -> int:
        """Where its content and the padding behind it end."""
        return self.start + -(-self.size // BLOCK) * BLOCK


def expected_places(rows: Sequence[IndexRow]) -> list[MemberPlace]:
    """What the index says of a shard, from front to back."""
    return [
        MemberPlace(key=row.key, ending=ending, header=start - BLOCK, size=size)
        for row in rows
        for ending, start, size in zip(MEMBERS, row.member_offsets(), row.member_bytes, strict=True)
    ]


def walk_tar(data: memoryview, shard: str, expected: Sequence[MemberPlace]) -> tuple[list[MemberPlace], list[Finding]]:
    """The members that a tar file holds, whatever the index says of them.

    Behind a header that cannot be read, the walk goes on where the index has the next member.

    Args:
        data: the whole file.
        shard: its name, for the findings.
        expected: what the index says, from front to back.

    Returns:
        The members in the order of the file, and what is wrong with the file as a tar: headers, padding, its end.
    """
    members: list[MemberPlace] = []
    findings: list[Finding] = []

    def found(what: str, at: int, near: MemberPlace | None = None) -> None:
        key, ending = (near.key, near.ending) if near else ("", "")
        findings.append(Finding(check="tar", shard=shard, key=key, member=ending, offset=at, what=what))

    position, here = 0, {place.header: place for place in expected}
    while position + BLOCK <= len(data):
        block = data[position : position + BLOCK]
        if _first_nonzero(block) is None and position not in here:
            break  # the end of the archive
        try:
            place = _read_header(block, position)
        except ValueError as error:
            found(f"no valid member header ({error})", position, here.get(position))
            later = [place.header for place in expected if place.header > position]
            if not later:
                return members, findings
            position = later[0]
            continue
        members.append(place)
        if place.start + place.size > len(data):
            missing = place.start + place.size - len(data)
            found(f"cut short: {missing} of its {place.size} bytes are missing", place.start, place)
            return members, findings
        stray = _first_nonzero(data[place.start + place.size : place.end])
        if stray is not None:
            found("bytes that belong to no member", place.start + place.size + stray, place)
        position = place.end
    rest = data[position:]
    if len(rest) < 2 * BLOCK:
        found(f"cut short: {len(rest)} bytes behind the last member, a tar ends in {2 * BLOCK} zeros", position)
    elif (stray := _first_nonzero(rest)) is not None:
        found("bytes behind the end of the archive", position + stray)
    return members, findings


def compare_with_index(
    members: Sequence[MemberPlace], expected: Sequence[MemberPlace], shard: str
) -> Iterator[Finding]:
    """Members that are missing, too many, out of place or of another size.

    A member that has grown moves everything behind it: a displacement is said once, where it begins.
    """
    places = {(place.key, place.ending): place for place in expected}
    keys = {place.key for place in expected}
    seen: set[tuple[str, str]] = set()
    strangers: set[str] = set()
    displaced = 0
    for member in members:
        name = (member.key, member.ending)
        say = _Say(shard, member)
        place = places.get(name)
        if place is None:
            if member.key not in strangers:
                strangers.add(member.key)
                yield say("the index does not have this clip" if member.key not in keys else "no member of a clip")
            continue
        if name in seen:
            yield say("the member stands more than once in the shard")
            continue
        seen.add(name)
        if member.header - place.header != displaced:
            displaced = member.header - place.header
            if displaced:
                yield say(f"out of place: the index has this member's header at byte {place.header}")
        if member.size != place.size:
            yield say(f"has {member.size} bytes, the index says {place.size}")
    for key in dict.fromkeys(place.key for place in expected):
        absent = [place for place in expected if place.key == key and (key, place.ending) not in seen]
        if len(absent) == len(MEMBERS):
            yield Finding(check="tar", shard=shard, key=key, offset=absent[0].header, what="the clip is missing")
        else:
            yield from (_Say(shard, place)("the member is missing") for place in absent)


@dataclass(frozen=True)
class _Say:
    shard: str
    place: MemberPlace

    def __call__(self, what: str) -> Finding:
        place = self.place
        return Finding(
            check="tar", shard=self.shard, key=place.key, member=place.ending, offset=place.header, what=what
        )


def _read_header(block: memoryview, position: int) -> MemberPlace:
    try:
        header = tarfile.TarInfo.frombuf(bytes(block), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    if not header.isreg():
        raise ValueError(f"{header.name} is no regular file")
    if header.size < 0:  # the walk would go back, and never end
        raise ValueError(f"{header.name} has {header.size} bytes")
    key, _, ending = header.name.partition(".")
    return MemberPlace(key=key, ending=ending, header=position, size=header.size)


def _first_nonzero(data: memoryview) -> int | None:
    content = bytes(data)
    zeros = len(content) - len(content.lstrip(b"\0"))
    return None if zeros == len(content) else zeros
