"""Reading clips by row: what the shards hold, cut as drawn; damage names shard and key."""

import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from epam_data.schema import Sample
from epam_data.shards.codec import MEMBERS, decode
from epam_data.shards.head import read_head
from epam_data.shards.index import Index, load_index
from epam_data.shards.manifest import Manifest, load_manifest
from epam_data.shards.reader import ShardReader, read_shard
from epam_data.stream import StreamSettings
from epam_data.stream.batch import read_batch
from epam_data.stream.loading.clip_reader import ClipReader
from epam_data.stream.order.draws import Draw
from epam_data.system import file_reads


def reader_of(root: Path, change: Callable[[Index], Index] = lambda index: index) -> ClipReader:
    return ClipReader(root, load_manifest(root), change(load_index(root)))


def some_draw(seed: int = 0, flip: bool = False) -> Draw:
    rng = np.random.default_rng(seed)
    return Draw(rgb_frames=rng.integers(0, 20, 4), pose_frames=rng.integers(0, 20, 6), flip=flip)


@pytest.fixture(scope="module")
def samples(ntu60_shards: Path) -> list[Sample]:
    """Every sample, in the order of the index."""
    manifest = load_manifest(ntu60_shards)
    return [
        decode(members) for entry in manifest.shards for _, _, members in read_shard(ntu60_shards / f"{entry.name}.tar")
    ]


def test_a_batch_holds_the_drawn_frames(ntu60_shards: Path, samples: list[Sample]) -> None:
    rows, positions = np.array([7, 0, 18, 7]), np.array([3, 1, 4, 9])
    draws = [some_draw(seed, flip=seed == 1) for seed in range(4)]
    batch = read_batch(reader_of(ntu60_shards), rows, positions, draws)
    assert len(batch) == 4
    assert batch.rgb.shape == (4, 4, 64, 64, 3) and batch.rgb.dtype == torch.uint8
    assert batch.heatmap.shape == (4, 6, 17, 16, 16) and batch.heatmap.dtype == torch.uint8
    assert batch.position.tolist() == [3, 1, 4, 9] and batch.flip.tolist() == [False, True, False, False]
    for slot, (row, draw) in enumerate(zip(rows.tolist(), draws, strict=True)):
        sample = samples[row]
        assert batch.keys[slot] == sample.info.key
        assert int(batch.label[slot]) == sample.info.label
        assert int(batch.coarse_label[slot]) == sample.info.coarse_label
        assert float(batch.heatmap_scale[slot]) == pytest.approx(sample.info.heatmap_scale)
        np.testing.assert_array_equal(batch.rgb[slot], sample.frames[draw.rgb_frames])
        np.testing.assert_array_equal(batch.heatmap[slot], sample.heatmap[draw.pose_frames])
        np.testing.assert_array_equal(batch.rgb_frames[slot], draw.rgb_frames)
        np.testing.assert_array_equal(batch.pose_frames[slot], draw.pose_frames)


def test_hidden_labels_are_minus_one(ma52_shards: Path) -> None:
    reader = reader_of(ma52_shards)
    rows = np.flatnonzero(reader.index.label == -1)
    draw = Draw(rgb_frames=np.arange(2), pose_frames=np.arange(2), flip=False)
    batch = read_batch(reader, rows, rows, [draw] * 2)
    assert batch.label.tolist() == batch.coarse_label.tolist() == [-1, -1]
    assert batch.heatmap.shape == (2, 2, 28, 16, 16)


@pytest.mark.parametrize(("advises", "cached"), [(True, 0), (True, 3), (True, 4), (False, 0)])
def test_the_disk_is_told_which_frames_are_read(
    ntu60_shards: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, advises: bool, cached: int
) -> None:
    """From the first that the page cache lacks on, before that is read; a system without advice reads the same."""
    told, advise = list[tuple[int, ...]](), os.posix_fadvise
    monkeypatch.setattr(os, "posix_fadvise", lambda *values: (told.append(values), advise(*values)))
    for what in ("_HAS_FADVISE", "_HAS_NOWAIT"):
        monkeypatch.setattr(file_reads, what, advises)
    in_cache = iter([True] * cached)
    asked = list[int]()

    def read_cached(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        asked.append(offset)
        there = len(buffers[0]) if next(in_cache, False) else len(buffers[0]) // 2  # a part is no hit
        buffers[0][:there] = os.pread(descriptor, there, offset)
        return there

    monkeypatch.setattr(os, "preadv", read_cached)
    batch = read_batch(reader_of(ntu60_shards), np.array([5]), np.array([0]), [some_draw()])
    np.testing.assert_array_equal(batch.rgb[0], samples[5].frames[some_draw().rgb_frames])
    assert len(asked) == min(cached + 1, 4) * advises
    expected = [os.POSIX_FADV_RANDOM, *[os.POSIX_FADV_WILLNEED] * (4 - cached)]
    assert [values[3] for values in told] == expected * advises
    for _, offset, num_bytes, _ in told[1:]:
        jpeg = (ntu60_shards / "train-000001.tar").read_bytes()[offset : offset + num_bytes]
        assert jpeg.startswith(b"\xff\xd8") and jpeg.endswith(b"\xff\xd9")


def test_batches_do_not_share_memory(ntu60_shards: Path) -> None:
    reader = reader_of(ntu60_shards)
    first = read_batch(reader, np.array([0]), np.array([0]), [some_draw()])
    before = first.rgb.clone()
    read_batch(reader, np.array([1]), np.array([1]), [some_draw(1)])
    assert torch.equal(first.rgb, before)


def test_a_reader_travels_to_another_process(ntu60_shards: Path) -> None:
    reader = reader_of(ntu60_shards)
    one = read_batch(reader, np.array([2]), np.array([0]), [some_draw()])
    other = read_batch(pickle.loads(pickle.dumps(reader)), np.array([2]), np.array([0]), [some_draw()])
    assert torch.equal(one.rgb, other.rgb)


@pytest.fixture
def copied(ntu60_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))


def damage(root: Path, row: int, member: str, offset: int = 0, data: bytes = bytes(16)) -> str:
    """Overwrite some bytes of a member; returns `SHARD.tar: KEY`."""
    index, manifest = load_index(root), load_manifest(root)
    entry, name = index.row(row), manifest.shards[int(index.shard[row])].name
    with (root / f"{name}.tar").open("r+b") as file:
        file.seek(entry.member_offsets()[MEMBERS.index(member)] + offset)
        file.write(data)
    return f"{name}.tar: {entry.key}"


@pytest.mark.parametrize("member", ["json", "heatmap.npy.zst", "rgb.mjpeg"])
def test_damage_names_shard_and_key(copied: Path, member: str) -> None:
    where = damage(copied, 5, member)
    reader = reader_of(copied)
    draw = Draw(rgb_frames=np.zeros(4, int), pose_frames=np.arange(6), flip=False)
    with pytest.raises(ValueError, match=f"^{re.escape(where)}: .*{'KEY.json' if member == 'json' else member}"):
        read_batch(reader, np.array([4, 5]), np.arange(2), [draw] * 2)
    read_batch(reader, np.array([4, 6]), np.arange(2), [draw] * 2)


@pytest.mark.parametrize("offset", [0, 700])
def test_a_damaged_frame_is_named(copied: Path, samples: list[Sample], offset: int) -> None:
    """Only those who draw the frame see it; also where libjpeg would not mind."""
    index = load_index(copied)
    reader = reader_of(copied)
    names = [shard.name for shard in load_manifest(copied).shards]
    members = ShardReader(copied, names).read_members(int(index.shard[5]), index.row(5))
    where = damage(copied, 5, "rgb.mjpeg", read_head(members["json"]).members.frame_offsets[7] + offset)
    draw = Draw(rgb_frames=np.array([6, 7]), pose_frames=np.arange(2), flip=False)
    with pytest.raises(ValueError, match=rf"^{re.escape(where)}: rgb\.mjpeg: frame 7: "):
        read_batch(reader, np.array([5]), np.arange(1), [draw])
    read_batch(reader, np.array([5]), np.arange(1), [replace(draw, rgb_frames=np.array([6, 8]))])
    assert len(index) == len(samples)


def test_a_cut_shard_names_shard_and_key(copied: Path) -> None:
    index = load_index(copied)
    path = copied / "train-000000.tar"
    path.write_bytes(path.read_bytes()[: int(index.offset[3]) + 700])
    with pytest.raises(ValueError, match=rf"^train-000000\.tar: {index.row(3).key}: train-000000\.tar: cut short"):
        read_batch(reader_of(copied), np.array([3]), np.arange(1), [some_draw()])


def test_an_absent_shard_is_named(copied: Path) -> None:
    (copied / "train-000000.tar").unlink()
    with pytest.raises(ValueError, match=r"the manifest lists this shard, but there is no such file$"):
        read_batch(reader_of(copied), np.array([0]), np.arange(1), [some_draw()])


def moved(index: Index) -> Index:
    return replace(index, offset=np.roll(index.offset, 1), member_bytes=np.roll(index.member_bytes, 1, axis=0))


def renamed(index: Index) -> Index:
    keys = index.keys.copy()
    keys[5] = b"other"
    return replace(index, keys=keys)


def longer(index: Index) -> Index:
    return replace(index, num_frames=index.num_frames + 1)


@pytest.mark.parametrize("change", [moved, renamed, longer])
def test_the_index_of_another_build_is_refused(copied: Path, change: Callable[[Index], Index]) -> None:
    with pytest.raises(ValueError, match=r"^train-000001\.tar: .*; the index belongs to another build$"):
        read_batch(reader_of(copied, change), np.array([5]), np.arange(1), [some_draw()])


# Heatmaps to be drawn

DRAWN = StreamSettings(heatmap="drawn")


def drawing_reader(root: Path, change: Callable[[Manifest], Manifest] = lambda manifest: manifest) -> ClipReader:
    return ClipReader(root, change(load_manifest(root)), load_index(root), DRAWN)


def test_keypoints_are_those_of_the_drawn_frames(ntu60_shards: Path, samples: list[Sample]) -> None:
    draws = [some_draw(0), some_draw(1)]
    batch = read_batch(drawing_reader(ntu60_shards), np.array([7]), np.array([0]), draws)
    assert batch.num_clips == 2 and batch.heatmap is batch.heatmap_scale is None
    assert batch.keypoints.shape == (2, 2, 6, 17, 3) and batch.keypoints.dtype == torch.float64
    sample = samples[7]
    for clip, draw in enumerate(draws):
        np.testing.assert_array_equal(batch.rgb[clip], sample.frames[draw.rgb_frames])
        scores = sample.keypoints[0, draw.pose_frames][..., 2]
        np.testing.assert_array_equal(batch.keypoints[clip, 0, ..., 2], scores.astype(float))
        assert not batch.keypoints[clip, 1].any()


def test_damaged_keypoints_name_shard_and_key(copied: Path) -> None:
    where = damage(copied, 5, "keypoints.npy")
    with pytest.raises(ValueError, match=rf"^{re.escape(where)}: keypoints\.npy: damaged"):
        read_batch(drawing_reader(copied), np.array([4, 5]), np.arange(2), [some_draw()] * 2)
    damage(copied, 5, "heatmap.npy.zst")
    read_batch(drawing_reader(copied), np.array([4, 6]), np.arange(2), [some_draw()] * 2)


def test_heatmaps_that_are_drawn_are_not_read(copied: Path) -> None:
    damage(copied, 5, "heatmap.npy.zst")
    read_batch(drawing_reader(copied), np.array([5]), np.arange(1), [some_draw()])


def test_heights_without_scores_are_one(ntu60_shards: Path) -> None:
    reader = drawing_reader(ntu60_shards, lambda m: replace(m, prepare=replace(m.prepare, use_scores=False)))
    batch = read_batch(reader, np.array([3]), np.arange(1), [some_draw()])
    assert set(batch.keypoints[0, 0, ..., 2].flatten().tolist()) == {1.0}


@pytest.mark.parametrize(("settings", "what"), [(StreamSettings(), "heatmap is"), (DRAWN, "keypoints are")])
def test_samples_that_do_not_fit_the_manifest_are_refused(
    ntu60_shards: Path, settings: StreamSettings, what: str
) -> None:
    """The manifest says 28 joints."""
    manifest = replace(load_manifest(ntu60_shards), skeleton="ma52_28")
    reader = ClipReader(ntu60_shards, manifest, load_index(ntu60_shards), settings)
    with pytest.raises(ValueError, match=rf"^train-000001\.tar: S001\w+: {what} \(.*17.*28"):
        read_batch(reader, np.array([5]), np.arange(1), [some_draw()])
