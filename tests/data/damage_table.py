"""The table of damages: each harms a shard directory and says what must be found, and where."""

import io
import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import simplejpeg

from epam_data.check.rules.finding import Finding
from epam_data.shards.codec import MEMBERS, decode
from epam_data.shards.index import load_index
from epam_data.shards.layout import INDEX, MANIFEST, PROBLEMS
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from tests.data.damage import (
    change_bytes,
    change_index,
    change_manifest,
    rewrite,
    rewrite_first,
    with_json,
    with_sample,
    write_tar,
)

SHARD = "train-000000"


def place(root: Path, number: int, ending: str) -> tuple[str, int, int]:
    """Key, first byte and size of a member of the first shard's `number`-th sample."""
    row = load_index(root).row(number)
    which = MEMBERS.index(ending)
    return row.key, row.member_offsets()[which], row.member_bytes[which]


# Each damages the directory and returns what must be found: fields that are set must be equal, `what` be contained.
Damage = Callable[[Path], Finding]
DAMAGES: dict[str, Damage] = {}


def damage(function: Damage) -> Damage:
    DAMAGES[function.__name__] = function
    return function


def in_tar(path: Path, at: int, value: int | None = None) -> None:
    """Set one byte, or flip its lowest bit."""

    def change(data: bytearray) -> None:
        data[at] = data[at] ^ 1 if value is None else value

    change_bytes(path, change)


def found_in(ending: str, key: str, what: str, check: str = "", offset: int | None = None) -> Finding:
    return Finding(check=check, shard=SHARD, key=key, member=ending, offset=offset, what=what)


# Bytes of a shard, changed behind the manifest's back


@damage
def a_missing_shard(root: Path) -> Finding:
    (root / "train-000001.tar").unlink()
    return Finding(check="shard", shard="train-000001", what="the shard is missing")


@damage
def an_empty_shard(root: Path) -> Finding:
    (root / "train-000001.tar").write_bytes(b"")
    return Finding(check="shard", shard="train-000001", what="has 0 bytes, the manifest says")


@damage
def an_unlisted_shard(root: Path) -> Finding:
    shutil.copy(root / f"{SHARD}.tar", root / "train-000099.tar")
    return Finding(check="index", shard="train-000099", what="the manifest does not list this shard")


@damage
def a_tar_cut_inside_a_member(root: Path) -> Finding:
    key, start, size = place(root, 1, "rgb.mjpeg")
    change_bytes(root / f"{SHARD}.tar", lambda data: data.__delitem__(slice(start + 100, None)))
    return found_in("rgb.mjpeg", key, f"cut short: {size - 100} of its {size} bytes are missing", "tar", start)


@damage
def a_tar_cut_between_members(root: Path) -> Finding:
    key, start, _ = place(root, 1, "rgb.mjpeg")
    change_bytes(root / f"{SHARD}.tar", lambda data: data.__delitem__(slice(start - 512, None)))
    return found_in("rgb.mjpeg", key, "the member is missing", "tar", start - 512)


@damage
def a_tar_without_its_end(root: Path) -> Finding:
    _, start, size = place(root, 3, "rgb.mjpeg")
    end = start + -(-size // 512) * 512
    change_bytes(root / f"{SHARD}.tar", lambda data: data.__delitem__(slice(end + 512, None)))
    return Finding(check="tar", shard=SHARD, offset=end, what="cut short: 512 bytes after the last member")


@damage
def bytes_behind_the_end(root: Path) -> Finding:
    size = (root / f"{SHARD}.tar").stat().st_size
    change_bytes(root / f"{SHARD}.tar", lambda data: data.extend(b"x" * 512))
    return Finding(check="tar", shard=SHARD, offset=size, what="bytes after the end of the archive")


@damage
def a_flipped_bit_in_a_header(root: Path) -> Finding:
    key, start, _ = place(root, 2, "keypoints.npy")
    in_tar(root / f"{SHARD}.tar", start - 512 + 3)
    return found_in("keypoints.npy", key, "invalid member header (bad checksum)", "tar", start - 512)


@damage
def a_header_of_zeros(root: Path) -> Finding:
    key, start, _ = place(root, 2, "json")
    change_bytes(root / f"{SHARD}.tar", lambda data: data.__setitem__(slice(start - 512, start), bytes(512)))
    return found_in("json", key, "invalid member header", "tar", start - 512)


@damage
def a_bit_in_the_padding(root: Path) -> Finding:
    key, start, size = place(root, 1, "json")
    in_tar(root / f"{SHARD}.tar", start + size + 5)
    return found_in("json", key, "bytes that belong to no member", "tar", start + size + 5)


@damage
def a_flipped_bit_in_the_json(root: Path) -> Finding:
    key, start, _ = place(root, 1, "json")
    data = (root / f"{SHARD}.tar").read_bytes()
    in_tar(root / f"{SHARD}.tar", data.index(b'"num_frames"', start) + len('"num_frames":'), ord("9"))
    return found_in("json", key, "frame_offsets must be 9", "json", start)


@damage
def a_flipped_bit_in_the_keypoints(root: Path) -> Finding:
    key, start, size = place(root, 1, "keypoints.npy")
    data = (root / f"{SHARD}.tar").read_bytes()[start : start + size]
    values = np.load(io.BytesIO(data))
    coordinate = size - values.nbytes + 40 * 3 * values.itemsize
    in_tar(root / f"{SHARD}.tar", start + coordinate + values.itemsize - 1)  # of its highest byte
    return found_in("heatmap.npy.zst", key, "differs from the reference by", "heatmap")


@damage
def a_flipped_bit_in_the_npy_header(root: Path) -> Finding:
    key, start, _ = place(root, 1, "keypoints.npy")
    in_tar(root / f"{SHARD}.tar", start + 1)
    return found_in("keypoints.npy", key, "damaged", "keypoints", start)


@damage
def a_flipped_bit_in_the_zstd_frame(root: Path) -> Finding:
    key, start, _ = place(root, 1, "heatmap.npy.zst")
    in_tar(root / f"{SHARD}.tar", start + 1)
    return found_in("heatmap.npy.zst", key, "damaged", "heatmap", start)


@damage
def a_flipped_bit_in_a_jpeg(root: Path) -> Finding:
    key, start, _ = place(root, 1, "rgb.mjpeg")
    offsets = json.loads(next(m for k, _, m in read_shard(root / f"{SHARD}.tar") if k == key)["json"])["frame_offsets"]
    in_tar(root / f"{SHARD}.tar", start + offsets[3] + 1)
    return found_in("rgb.mjpeg", key, "frame 3 is not a JPEG", "frames", start + offsets[3])


@damage
def swapped_members(root: Path) -> Finding:
    samples = list(read_shard(root / f"{SHARD}.tar"))
    order = [MEMBERS, (MEMBERS[1], MEMBERS[0], *MEMBERS[2:]), MEMBERS, MEMBERS]
    names = [(f"{key}.{e}", m[e]) for (key, _, m), endings in zip(samples, order, strict=True) for e in endings]
    write_tar(root / f"{SHARD}.tar", names)
    key, start, _ = place(root, 1, "keypoints.npy")
    return found_in("keypoints.npy", key, f"misplaced: the index has this member's header at byte {start - 512}", "tar")


@damage
def swapped_contents(root: Path) -> Finding:
    """The bytes of two clips' keypoints change places: names and order are as they should be."""
    samples = {key: members for key, _, members in read_shard(root / f"{SHARD}.tar")}
    one, other = list(samples)[:2]
    swapped = {one: samples[other]["keypoints.npy"], other: samples[one]["keypoints.npy"]}
    rewrite(root, SHARD, lambda key, m: {**m, "keypoints.npy": swapped.get(key, m["keypoints.npy"])})
    return found_in("keypoints.npy", one, "must be (M,", "keypoints")


@damage
def a_missing_member(root: Path) -> Finding:
    key, start, _ = place(root, 1, "heatmap.npy.zst")
    samples = list(read_shard(root / f"{SHARD}.tar"))
    members = [(f"{k}.{e}", data) for k, _, m in samples for e, data in m.items()]
    write_tar(root / f"{SHARD}.tar", [member for member in members if member[0] != f"{key}.heatmap.npy.zst"])
    return found_in("heatmap.npy.zst", key, "the member is missing", "tar", start - 512)


@damage
def a_missing_clip(root: Path) -> Finding:
    key, start, _ = place(root, 1, "json")
    samples = list(read_shard(root / f"{SHARD}.tar"))
    write_tar(root / f"{SHARD}.tar", [(f"{k}.{e}", data) for k, _, m in samples if k != key for e, data in m.items()])
    return Finding(check="tar", shard=SHARD, key=key, offset=start - 512, what="the clip is missing")


@damage
def a_clip_twice(root: Path) -> Finding:
    samples = list(read_shard(root / f"{SHARD}.tar"))
    members = [(f"{k}.{e}", data) for k, _, m in [*samples, samples[0]] for e, data in m.items()]
    write_tar(root / f"{SHARD}.tar", members)
    return found_in("json", samples[0][0], "the member is in the shard more than once", "tar")


@damage
def a_foreign_member(root: Path) -> Finding:
    samples = list(read_shard(root / f"{SHARD}.tar"))
    members = [(f"{k}.{e}", data) for k, _, m in samples for e, data in m.items()]
    write_tar(root / f"{SHARD}.tar", [*members, ("notes.txt", b"hello")])
    return found_in("txt", "notes", "the index does not have this clip", "tar")


@damage
def a_member_that_grew(root: Path) -> Finding:
    key, start, size = place(root, 1, "keypoints.npy")
    samples = list(read_shard(root / f"{SHARD}.tar"))
    members = [(f"{k}.{e}", data) for k, _, m in samples for e, data in m.items()]
    more = [(name, data + b"x" * 1000) if name == f"{key}.keypoints.npy" else (name, data) for name, data in members]
    write_tar(root / f"{SHARD}.tar", more)
    return found_in("keypoints.npy", key, f"has {size + 1000} bytes, the index says {size}", "tar", start - 512)


# Members that are wrong though every hash and size agrees: what a faulty build would write


def json_damage(name: str, what: str, **values) -> None:
    def change(root: Path) -> Finding:
        key = rewrite_first(root, lambda members: with_json(members, **values))
        return found_in("json", key, what, "json", 512)

    DAMAGES[f"json_{name}"] = change


json_damage("label_range", "label must be in 0..59, got 60", label=60)
json_damage("coarse_label", "coarse label of class", coarse_label=7)
json_damage("num_frames", "frame_offsets must be 4 numbers", num_frames=3)
json_damage("split", "says split val, the shard is of train", split="val")
json_damage("key", "says key other, the member's name", key="other")
json_damage("schema", "shard schema 9 cannot be read", schema=9)
json_damage("rgb_size", "rgb_size_px must be 64, as in the manifest, got 32", rgb_size_px=32)
json_damage("heatmap_size", "heatmap_size_px must be 16, as in the manifest, got 8", heatmap_size_px=8)
json_damage("sigma", "sigma_px must be 0.6, as in the manifest, got 0.7", sigma_px=0.7)
json_damage("skeleton", "skeleton must be coco17, as in the manifest, got other", skeleton="other")
json_damage("hidden_label", "the label is hidden, so the coarse label must be", label=None)


def member_damage(name: str, ending: str, check: str, what: str):
    """Registers a change of the first sample's members."""

    def register(change: Callable[[dict[str, bytes]], dict[str, bytes]]):
        DAMAGES[name] = lambda root: found_in(ending, rewrite_first(root, change), what, check)
        return change

    return register


member_damage("frames_cut_short", "rgb.mjpeg", "frames", "frame_offsets end at")(
    lambda members: {**members, "rgb.mjpeg": members["rgb.mjpeg"][:-200]}
)
member_damage("bytes_behind_the_frames", "rgb.mjpeg", "frames", "frame_offsets end at")(
    lambda members: {**members, "rgb.mjpeg": members["rgb.mjpeg"] + b"\xff"}
)
member_damage("bytes_behind_the_zstd_frame", "heatmap.npy.zst", "heatmap", "unused data")(
    lambda members: {**members, "heatmap.npy.zst": members["heatmap.npy.zst"] + b"\0"}
)
member_damage("bytes_after_the_keypoints", "keypoints.npy", "keypoints", "3 bytes after the array")(
    lambda members: {**members, "keypoints.npy": members["keypoints.npy"] + b"abc"}
)


@member_damage("a_frame_of_another_size", "rgb.mjpeg", "frames", "frame 2 must be 64 pixels square, got 32 x 32")
def _(members):
    return with_frame(members, 2, simplejpeg.encode_jpeg(np.zeros((32, 32, 3), np.uint8)))


@member_damage("a_frame_without_its_end", "rgb.mjpeg", "frames", "frame 2 is not one complete JPEG")
def _(members):
    offsets = json.loads(members["json"])["frame_offsets"]
    return with_frame(members, 2, members["rgb.mjpeg"][offsets[2] : offsets[3] - 2])


@member_damage("keypoints_of_another_type", "keypoints.npy", "keypoints", "must be float16 or float32, got float64")
def _(members):
    buffer = io.BytesIO()
    np.save(buffer, decode(members).keypoints.astype(np.float64))
    return {**members, "keypoints.npy": buffer.getvalue()}


@member_damage("moved_keypoints", "heatmap.npy.zst", "heatmap", "differs from the reference by")
def _(members):
    moved = decode(members).keypoints.copy()
    moved[..., 0] += 2
    return with_sample(members, keypoints=moved)


@member_damage("a_wiped_channel", "heatmap.npy.zst", "heatmap", "the pixel at a joint is too low by")
def _(members):
    heatmap = decode(members).heatmap.copy()
    heatmap[5, 3] = 0
    return with_sample(members, heatmap=heatmap)


@member_damage("a_ghost_of_a_missing_joint", "heatmap.npy.zst", "heatmap", "must be empty")
def _(members):
    keypoints = decode(members).keypoints.copy()
    keypoints[:, 5, 3] = 0
    return with_sample(members, keypoints=keypoints)


@member_damage("a_heatmap_mirrored_alone", "heatmap.npy.zst", "heatmap", "the pixel at a joint is too low by")
def _(members):
    return with_sample(members, heatmap=decode(members).heatmap[..., ::-1].copy())


@member_damage(
    "a_heatmap_of_another_sigma", "heatmap.npy.zst", "heatmap", "the mass of a channel is not that of a Gaussian"
)
def _(members):
    wide = np.sqrt(decode(members).heatmap / 255) * 255  # the square root of a Gaussian: sigma is sqrt(2) times as much
    return with_sample(members, heatmap=wide.astype(np.uint8))


@member_damage("one_pixel_of_one_channel", "heatmap.npy.zst", "heatmap", "at frame 7, channel 2, pixel (3, 11)")
def _(members):
    heatmap = decode(members).heatmap.copy()
    heatmap[7, 2, 11, 3] ^= 128
    return with_sample(members, heatmap=heatmap)


@member_damage(
    "a_box_beside_the_person", "keypoints.npy", "alignment", "of the visible joints inside the image are outside"
)
def _(members):
    return with_json(members, box=[0, 0, 20, 20])


@member_damage("a_box_that_is_a_little_wide", "keypoints.npy", "alignment", "the box must be (")
def _(members):
    x1, y1, x2, y2 = json.loads(members["json"])["box"]
    return with_json(members, box=[x1 - 2, y1 - 2, x2 + 2, y2 + 2])


@member_damage(
    "another_image_size", "keypoints.npy", "alignment", "of the visible joints are outside the 128 x 96 image"
)
def _(members):
    return with_json(members, image_size=[24, 32])


@member_damage(
    "frames_that_the_video_never_had", "keypoints.npy", "alignment", "num_frames must be the shorter of video 5"
)
def _(members):
    return with_json(members, video_frames=5)


def with_frame(members: dict[str, bytes], number: int, jpeg: bytes) -> dict[str, bytes]:
    offsets = json.loads(members["json"])["frame_offsets"]
    mjpeg = members["rgb.mjpeg"]
    jpegs = [mjpeg[start:end] for start, end in pairwise(offsets)]
    jpegs[number] = jpeg
    new = np.cumsum([0, *map(len, jpegs)]).tolist()
    return {**with_json(members, frame_offsets=new), "rgb.mjpeg": b"".join(jpegs)}


# The set as a whole


@damage
def another_index(root: Path) -> Finding:
    with (root / INDEX).open("ab") as file:
        file.write(b"x")
    return Finding(check="index", what="the sha256 of index.h5 is not the manifest's")


@damage
def a_wrong_count(root: Path) -> Finding:
    shards = json.loads((root / MANIFEST).read_text())["shards"]
    shards[0]["num_samples"] = 5
    change_manifest(root, shards=shards)
    return Finding(check="index", shard=SHARD, what="the manifest counts 5 samples, the index 4")


@damage
def a_key_twice(root: Path) -> Finding:
    key = load_index(root).keys[0]
    change_index(root, keys={6: key})
    return Finding(check="index", key=key.decode(), what="the key is in the index 2 times")


@damage
def a_key_of_other_characters(root: Path) -> Finding:
    change_index(root, keys={2: b"a b"})
    return Finding(check="index", key="a b", what="a key must be 1 to 80 characters of")


@damage
def a_label_out_of_range(root: Path) -> Finding:
    change_index(root, label={1: 60})
    return Finding(check="label", key=load_index(root).row(1).key, shard=SHARD, what="label must be in 0..59")


@damage
def the_same_frames_in_two_splits(root: Path) -> Finding:
    samples = {name: list(read_shard(root / f"{name}.tar")) for name in ("train-000001", "val-000000")}
    num_frames = {key: json.loads(m["json"])["num_frames"] for name in samples for key, _, m in samples[name]}
    key, twin, source = next(
        (key, twin, members)
        for key, _, members in samples["train-000001"]
        for twin, _, _ in samples["val-000000"]
        if num_frames[key] == num_frames[twin]
    )
    offsets = json.loads(source["json"])["frame_offsets"]
    stolen = {"rgb.mjpeg": source["rgb.mjpeg"]}
    rewrite(root, "val-000000", lambda k, m: {**with_json(m, frame_offsets=offsets), **stolen} if k == twin else m)
    what = f"has the same frames as {key} of train, byte for byte: train leaks into val"
    return Finding(check="duplicate", key=twin, shard="val-000000", what=what)


@damage
def a_subject_in_two_splits(root: Path) -> Finding:
    index = load_index(root)
    val = next(key for key, shard in zip(index.keys, index.shard, strict=True) if shard == 4).decode()
    row = next(row for row, key in enumerate(index.keys) if index.shard[row] == 0)
    number = val[9:12]
    change_index(root, keys={row: index.keys[row].decode().replace(index.keys[row].decode()[9:12], number).encode()})
    return Finding(check="split", what=f"subject {int(number)} is in train (1 clips")


@damage
def a_camera_in_two_splits(root: Path) -> Finding:
    change_manifest(root, protocol="xview")  # all clips of this set are of camera 1
    return Finding(check="split", what="camera 1 is in train (14 clips")


@damage
def a_label_that_is_not_the_names(root: Path) -> Finding:
    row = load_index(root).row(0)
    other = (row.label + 1) % 60
    change_index(root, label={0: other}, coarse_label={0: load_manifest(root).coarse_of[other]})
    return Finding(check="label", shard=SHARD, key=row.key, what=f"the name says label {row.label}, the index {other}")


@damage
def labels_hidden_by_half(root: Path) -> Finding:
    change_index(root, label={0: -1}, coarse_label={0: -1})
    return Finding(check="label", what="train: 1 of 14 labels are hidden, expected all or none")


@damage
def hidden_labels_stored_as_a_class(root: Path) -> Finding:
    change_index(root, label=[0] * 14, coarse_label=[load_manifest(root).coarse_of[0]] * 14)
    return Finding(check="label", what="train: all 14 clips have label 0; hidden labels must be stored as hidden")


@damage
def a_class_in_the_wrong_group(root: Path) -> Finding:
    coarse = list(load_manifest(root).coarse_of)
    coarse[3] = 7
    change_manifest(root, coarse_of=coarse)
    return Finding(
        check="label", what="manifest: coarse_of are not those of the ntu60 table: number 3 is 7, expected 0"
    )


@damage
def no_problems_file(root: Path) -> Finding:
    (root / PROBLEMS).unlink()
    return Finding(check="annotation", what="problems.jsonl is missing")


@damage
def a_problem_that_the_manifest_does_not_count(root: Path) -> Finding:
    name = load_index(root).row(3).key
    line = {"name": name, "split": "train", "action": "skipped", "reason": "r"}
    (root / PROBLEMS).write_text(json.dumps(line) + "\n")
    return Finding(check="annotation", key=name, what="problems.jsonl says skipped, but the clip is in the index")
