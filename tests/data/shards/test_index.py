"""Manifest and index: what was written is read, equal shards give equal bytes, damage is named."""

import hashlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from epam_data.samples.settings import PrepareSettings
from epam_data.shards.index import Index, index_bytes, load_index
from epam_data.shards.layout import IndexRow, ShardSummary
from epam_data.shards.manifest import INDEX, MANIFEST, Manifest, ShardEntry, load_manifest
from epam_data.shards.settings import ShardSettings
from epam_data.skeleton import COCO17
from epam_data.taxonomy import TAXONOMIES


def summary(name: str, split: str, *keys: str) -> ShardSummary:
    rows = tuple(
        IndexRow(
            key=key,
            label=len(key) - 2,
            coarse_label=-1,
            num_frames=100 + number,
            offset=2**33 + 512 * number,
            member_bytes=(1, 2, 3, 4 + number),
        )
        for number, key in enumerate(keys)
    )
    return ShardSummary(name=name, split=split, num_bytes=10240, sha256="0" * 64, rows=rows)


SHARDS = [
    summary("train-000000", "train", "a", "bb"),
    summary("train-000001", "train"),
    summary("val-000000", "val", "k" * 80),
]


def manifest(**changes: object) -> Manifest:
    values = {
        "dataset": "ntu60",
        "protocol": "xsub",
        "skeleton": "coco17",
        "joints": ("nose", "eye"),
        "taxonomy": "ntu60",
        "classes": ("drink", "sit"),
        "groups": ("g",),
        "coarse_of": (0, 0),
        "prepare": asdict(PrepareSettings()),
        "shard": asdict(ShardSettings()),
        "sources": {"all.pkl": "ab"},
        "versions": {"av": "1"},
        "problems": {"skipped": 2},
        "index_sha256": "cd",
        "shards": (ShardEntry(name="train-000000", split="train", num_samples=2, num_bytes=9, sha256="ef"),),
    }
    return Manifest(**{**values, **changes})


def test_the_manifest_survives(tmp_path: Path) -> None:
    for one in (manifest(), manifest(protocol=None, shards=())):
        (tmp_path / MANIFEST).write_bytes(one.to_json())
        assert load_manifest(tmp_path) == one
        assert json.loads(one.to_json())["schema"] == 1
        assert replace(one).to_json() == one.to_json()


def test_a_later_field_is_ignored(tmp_path: Path) -> None:
    values = {**json.loads(manifest().to_json()), "added_later": 1}
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    assert load_manifest(tmp_path) == manifest()


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path, tmp_path / "none", tmp_path / "file"):
        message = f"{root}: holds no manifest.json; no shard directory, or its build is not finished"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            load_manifest(root)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b'"text"', b"\xff\xfe\x00"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: no JSON( object)? \\("):
        load_manifest(tmp_path)


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_another_schema_is_refused(tmp_path: Path, version: object) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({**json.loads(manifest().to_json()), "schema": version}))
    message = f"{tmp_path}: shard schema {version!r} cannot be read, this code reads 1..1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_manifest(tmp_path)


def test_an_incomplete_manifest_is_refused(tmp_path: Path) -> None:
    values = json.loads(manifest().to_json())
    del values["joints"], values["shards"]
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: lacks joints, shards$"):
        load_manifest(tmp_path)


def test_the_manifest_of_a_build(ntu60_shards: Path) -> None:
    built = load_manifest(ntu60_shards)
    assert (built.dataset, built.protocol, built.skeleton) == ("ntu60", "xsub", "coco17")
    assert built.joints == COCO17.joints and built.classes == TAXONOMIES["ntu60"].classes
    assert built.coarse_of == TAXONOMIES["ntu60"].coarse_of and built.groups == TAXONOMIES["ntu60"].groups
    assert [(shard.name, shard.num_samples) for shard in built.shards] == [
        *((f"train-{number:06d}", size) for number, size in enumerate((4, 4, 4, 2))),
        *((f"val-{number:06d}", size) for number, size in enumerate((4, 1))),
    ]
    for shard in built.shards:
        data = (ntu60_shards / f"{shard.name}.tar").read_bytes()
        assert (shard.num_bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert built.index_sha256 == hashlib.sha256((ntu60_shards / INDEX).read_bytes()).hexdigest()
    assert {"epam", "numpy", "av"} <= set(built.versions)
    assert str(ntu60_shards) not in (ntu60_shards / MANIFEST).read_text()


def load_written(folder: Path, data: bytes) -> Index:
    (folder / INDEX).write_bytes(data)
    return load_index(folder)


def test_the_index_survives(tmp_path: Path) -> None:
    index = load_written(tmp_path, index_bytes(SHARDS))
    rows = [row for shard in SHARDS for row in shard.rows]
    assert len(index) == 3 and [index.row(number) for number in range(3)] == rows
    assert index.shard.tolist() == [0, 0, 2]
    assert index.row_of_key == {"a": 0, "bb": 1, "k" * 80: 2}
    assert index.offset.max() > 2**32, "shards may be larger than 4 GB"
    assert type(index.row(0).member_bytes[0]) is int


def test_equal_shards_give_equal_bytes() -> None:
    assert index_bytes(SHARDS) == index_bytes(list(SHARDS))
    assert index_bytes(SHARDS) != index_bytes(SHARDS[:1])


def test_an_index_without_samples(tmp_path: Path) -> None:
    index = load_written(tmp_path, index_bytes([summary("train-000000", "train")]))
    assert len(index) == 0 and index.member_bytes.shape == (0, 4)


def test_any_hdf5_reader_opens_it(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX) as file:
        assert file.attrs["schema"] == 1
        assert file["keys"][1] == b"bb" and file["num_frames"][1] == 101
        assert np.array_equal(file["member_bytes"][1], [1, 2, 3, 5])


def test_a_bad_index_is_refused(tmp_path: Path) -> None:
    message = f"^{re.escape(str(tmp_path / INDEX))}: not a readable index \\("
    with pytest.raises(ValueError, match=message):
        load_index(tmp_path)
    data = index_bytes(SHARDS)
    for bad in (b"", b"text", data[: len(data) // 2]):
        with pytest.raises(ValueError, match=message):
            load_written(tmp_path, bad)
    with h5py.File(tmp_path / INDEX, "w") as file:
        file["keys"] = np.array([b"a"])
    with pytest.raises(ValueError, match=message):
        load_index(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": None}, r"shards must be tuple\[ShardEntry, \.\.\.\], got None"),
        ({"shards": [{"name": "a"}]}, "shards must be"),
        ({"classes": ["drink", 3]}, r"classes must be tuple\[str, \.\.\.\], got \['drink', 3\]"),
        ({"problems": {"skipped": "x"}}, r"problems must be dict\[str, int\]"),
        ({"prepare": []}, "prepare must be dict"),
        (
            {"prepare": {"sigma_px": 0.6, "decoder": "pyav", "use_scores": True, "pad_image": False}},
            "prepare lacks rgb_size_px, box_padding, box_threshold_px, heatmap_size_px, heatmap_kind, max_frame_differ",
        ),
        ({"shard": {"jpeg_quality": 90}}, "shard lacks samples_per_shard, zstd_level, shuffle_seed$"),
        ({"protocol": 3}, r"protocol must be str \| None, got 3"),
        ({"coarse_of": [0]}, "2 classes need a group each, 1 have one"),
    ],
)
def test_a_manifest_of_other_types_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({**json.loads(manifest().to_json()), **change}))
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: {message}"):
        load_manifest(tmp_path)


def test_columns_of_other_lengths_are_refused(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX, "r+") as file:
        del file["label"]
        file["label"] = np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="not a readable index"):
        load_index(tmp_path)


def test_a_key_that_is_not_ascii_is_refused_by_its_row(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(index_bytes(SHARDS))
    with h5py.File(tmp_path / INDEX, "r+") as file:
        file["keys"][1] = b"b\xff"
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / INDEX))}: row 1: a key must be ASCII, got b'b"):
        load_index(tmp_path)


def test_only_a_layout_of_ones_own_stands_in_the_manifest(tmp_path: Path) -> None:
    assert not {"flip_pairs", "limbs"} & json.loads(manifest().to_json()).keys()
    assert manifest().layout is COCO17
    hand = {"skeleton": "hand", "joints": ("wrist", "left_tip", "right_tip")}
    own = manifest(**hand, flip_pairs=((1, 2),), limbs=())
    (tmp_path / MANIFEST).write_bytes(own.to_json())
    assert load_manifest(tmp_path) == own
    assert (own.layout.name, own.layout.joints, own.layout.flip_order) == (*hand.values(), (0, 2, 1))
    for changes, message in (
        ({"limbs": None}, r"skeleton must be one of coco17, ma52_28, or come with flip_pairs and limbs, got 'hand'$"),
        ({"flip_pairs": ((1, 3),)}, r"hand: flip pairs must be disjoint and joints in 0\.\.2$"),
    ):
        (tmp_path / MANIFEST).write_bytes(replace(own, **changes).to_json())
        with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: {message}"):
            load_manifest(tmp_path)


def test_classes_need_no_groups(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(manifest(groups=(), coarse_of=()).to_json())
    assert load_manifest(tmp_path).coarse_of == ()
