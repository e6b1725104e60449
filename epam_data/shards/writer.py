"""Write a shard atomically: a tar file whose bytes depend only on the samples."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from pathlib import Path

from epam_data.schema import Sample, SampleInfo, check_key, stored_label
from epam_data.shards.codec import USUAL_CODECS, MemberCodecs, encode
from epam_data.shards.layout import IndexRow, ShardSummary
from epam_data.shards.settings import ShardSettings
from epam_data.system.files import path_in_errors, sync_folder, temporary_path


class ShardWriter:
    """Writes one shard under a temporary name; `finish` gives it its final name.

    Use as a context manager: leaving it without `finish` removes the temporary file.
    """

    def __init__(
        self, folder: Path, name: str, split: str, settings: ShardSettings, codecs: MemberCodecs = USUAL_CODECS
    ) -> None:
        self._path, self._name, self._split, self._settings = folder / f"{name}.tar", name, split, settings
        self._codecs, self._temporary = codecs, temporary_path(self._path)
        self._file = _HashingFile(self._temporary)
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload]
        self._rows: list[IndexRow] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, sample: Sample) -> None:
        """Encode and append one sample."""
        self.write_members(sample.info, encode(sample, self._settings, self._codecs))

    def write_members(self, info: SampleInfo, members: dict[str, bytes]) -> None:
        """Append one sample that `codec.encode` has encoded."""
        offset = self._tar.offset
        endings = self._codecs.endings
        for ending in endings:
            header = tarfile.TarInfo(f"{check_key(info.key)}.{ending}")
            header.size = len(members[ending])
            header.mode = 0o644  # everything else stays zero, so that equal samples give equal bytes
            self._tar.addfile(header, io.BytesIO(members[ending]))
        self._rows.append(
            IndexRow(
                key=info.key,
                label=stored_label(info.label),
                coarse_label=stored_label(info.coarse_label),
                num_frames=info.num_frames,
                offset=offset,
                member_bytes=tuple(len(members[ending]) for ending in endings),
            )
        )

    def finish(self) -> ShardSummary:
        """Close, sync, and rename to the final name."""
        self._tar.close()
        self._file.sync()
        self._file.close()
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)
        return ShardSummary(
            name=self._name,
            split=self._split,
            num_bytes=self._file.num_bytes,
            sha256=self._file.sha256.hexdigest(),
            rows=tuple(self._rows),
        )


class _HashingFile:
    """A file opened for writing that tracks the hash and the length of the written data."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self.sha256, self.num_bytes = path, path.open("wb"), hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.num_bytes += len(data)
        with path_in_errors(self._path):
            return self._file.write(data)

    def tell(self) -> int:
        return self.num_bytes

    def sync(self) -> None:
        with path_in_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # `sync` has raised it already; an unfinished file may be incomplete
            self._file.close()
