import gzip
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epam_data.shards.index import Index
from epam_data.views.resolve import ResolvedView, resolve_view
from epam_data.views.view import Condition, View
from tests.data.catalogue import index, manifest, name
from tests.paths import SHARED

PUBLISHED = {  # clips, and the first digits of the SHA-256 of their sorted names: ../shared/PROTOCOLS.md
    ("xsub", "train"): (40_091, "63d024b340ae87fe"),
    ("xsub", "val"): (16_487, "2d90a34986fb967c"),
    ("xview", "train"): (37_646, "09862ccb63b27e6a"),
    ("xview", "val"): (18_932, "d2669c878c8144c3"),
}

# Of each of 10 persons two actions, filmed by three cameras. Shards 0 and 1 are built as train, 2 as val.
CLIPS = [(camera, person, action) for person in range(1, 11) for action in (1, 2) for camera in (1, 2, 3)]
KEYS = [name(*clip) for clip in CLIPS]
SHARD = [0] * 30 + [1] * 10 + [2] * 20
INDEX = replace(index(KEYS, SHARD, [action - 1 for *_, action in CLIPS]), num_frames=np.arange(60, dtype=np.int32) + 1)


def resolved(fold: int = 0, clips: Index = INDEX, **rules: object) -> ResolvedView:
    return resolve_view(View(**rules), manifest(), clips, fold)  # type: ignore[arg-type]


def chosen(view: ResolvedView, split: str) -> list[tuple[int, int, int]]:
    return [CLIPS[row] for row in view.rows.get(split, ())]


def test_the_published_lists_follow_from_names():
    path = SHARED / "facts" / "ntu120_names.txt.gz"
    if not path.is_file():
        pytest.skip(f"no list of names at {path}")
    names = [line for line in gzip.decompress(path.read_bytes()).decode().split() if int(line[1:4]) <= 17]
    every = index(names, [0] * len(names), [int(each[-3:]) - 1 for each in names])
    for protocol in ("xsub", "xview"):
        view = resolved(clips=every, protocol=protocol)
        for split in ("train", "val"):
            found = len(view.rows[split]), view.names_sha256(split)[:16]
            assert found == PUBLISHED[protocol, split]


def test_without_a_rule_the_splits_are_as_built():
    view = resolved()
    assert view.rows["train"].tolist() == list(range(40)) and view.rows["val"].tolist() == list(range(40, 60))
    assert set(view.rows) == {"train", "val"} and view.num_folds == 1


def test_a_protocol_decides_by_names_whatever_was_built():
    view = resolved(protocol="xview")
    assert all(camera == 1 for camera, *_ in chosen(view, "val")) and len(view.rows["val"]) == 20
    assert all(camera in (2, 3) for camera, *_ in chosen(view, "train")) and len(view.rows["train"]) == 40
    assert {person for _, person, _ in chosen(resolved(protocol="xsub"), "val")} == {3, 6, 7, 10}


def test_names_are_put_where_a_list_says():
    view = resolved(names={"val": (KEYS[3], KEYS[1]), "test": (KEYS[50],)})
    assert {split: rows.tolist() for split, rows in view.rows.items()} == {"val": [1, 3], "test": [50]}


def test_classes_and_conditions_leave_clips_out():
    classes = manifest().classes
    view = resolved(classes=(classes[1],), where=(Condition(fact="camera", none_of=(2,)),))
    assert chosen(view, "train") == [(c, p, 2) for c, p, a in CLIPS[:40] if a == 2 and c != 2]
    in_range = resolved(where=(Condition(fact="num_frames", least=10, most=12),))
    assert in_range.rows["train"].tolist() == [9, 10, 11]
    both = resolved(where=(Condition(fact="person", any_of=(1, 9)), Condition(fact="label", any_of=(0,))))
    assert {(person, action) for _, person, action in chosen(both, "val") + chosen(both, "train")} == {(1, 1), (9, 1)}


def test_each_person_is_in_val_of_one_fold():
    seen: list[int] = []
    for fold in range(4):
        view = resolved(fold, folds="4 by person")
        val = {person for _, person, _ in chosen(view, "val")}
        assert val.isdisjoint({person for _, person, _ in chosen(view, "train")})
        assert len(view.rows["train"]) + len(view.rows["val"]) == 60 and view.num_folds == 4
        assert len(view.rows["val"]) in (12, 18), "10 persons of 6 clips in 4 folds"
        seen += val
    assert sorted(seen) == list(range(1, 11))
    order = [chosen(resolved(0, folds="4 by person", seed=seed), "val") for seed in range(8)]
    assert any(other != order[0] for other in order)


def test_leaving_one_out_goes_through_the_numbers():
    for fold, camera in enumerate((1, 2, 3)):
        view = resolved(fold, leave_one_out="camera")
        assert {clip[0] for clip in chosen(view, "val")} == {camera} and len(view.rows["val"]) == 20
    assert view.num_folds == 3


def test_fractions_are_nested_and_of_each_class():
    shares = {share: resolved(fraction=share) for share in (0.05, 0.1, 0.3, 0.5)}
    kept = [set(view.rows["train"].tolist()) for view in shares.values()]
    assert all(small < large for small, large in pairwise(kept))
    for share, view in shares.items():
        labels = INDEX.label[view.rows["train"]]
        of_class = [int((INDEX.label[:40] == label).sum()) for label in (0, 1)]
        assert np.bincount(labels).tolist() == [int(np.ceil(share * count - 1e-9)) for count in of_class]
        assert len(view.rows["val"]) == 20, "only training clips are left out"


def test_a_draw_does_not_depend_on_the_order_of_storage():
    order = np.random.default_rng(0).permutation(60)
    clips = Index(**{each: getattr(INDEX, each)[order] for each in Index.__dataclass_fields__})
    clips = replace(clips, shard=np.sort(clips.shard))
    for rules in ({"fraction": 0.3, "protocol": "xsub"}, {"folds": "3 by person", "fraction": 0.5}):
        assert resolved(clips=clips, **rules).sha256 == resolved(**rules).sha256


def test_the_hash_is_of_names_and_splits():
    assert resolved(folds="3 by person").sha256 != resolved(1, folds="3 by person").sha256
    swapped = resolved(names={"train": tuple(KEYS[40:]), "val": tuple(KEYS[:40])})
    assert swapped.sha256 != resolved().sha256
    assert resolved(names={"train": tuple(KEYS[:40]), "val": tuple(KEYS[40:])}).sha256 == resolved().sha256


@st.composite
def rules(draw: st.DrawFn) -> dict[str, object]:
    way = draw(st.sampled_from([{}, {"protocol": "xsub"}, {"folds": "3 by person"}, {"leave_one_out": "camera"}]))
    where = draw(st.sampled_from([(), (Condition(fact="camera", none_of=(3,)),), (Condition(fact="person", most=8),)]))
    return {**way, "where": where, "fraction": draw(st.floats(0.01, 1)), "seed": draw(st.integers(0, 5))}


@settings(deadline=None, max_examples=60)
@given(rules())
def test_whatever_the_rules_a_clip_is_in_one_split_in_storage_order(rules: dict[str, object]):
    rows = list(resolved(**rules).rows.values())
    every = np.concatenate(rows)
    assert len(np.unique(every)) == len(every) and all((np.diff(each) > 0).all() for each in rows)


def wrong() -> Iterator[tuple[dict[str, object], str]]:
    yield {"protocol": "xset"}, "view.protocol must be one of xsub, xview for shards of ntu60, got 'xset'"
    yield (
        {"names": {"train": (KEYS[0], "S001C001P001R001A009")}},
        "view.names.train: 1 of 2 names are not in the shards, such as 'S001C001P001R001A009'; nearest: S001C001P001R0",
    )
    yield {"names": {"train": (KEYS[0],), "val": (KEYS[0],)}}, f"view.names: {KEYS[0]} is in train and in val"
    yield {"classes": ("drink watr",)}, "view.classes: the shards have no class 'drink watr'; nearest: drink water"
    yield (
        {"where": (Condition(fact="camra"),)},
        "clips of ntu60 have setup, camera, person, replication, action, label, num_frames, got 'camra'; did you mean",
    )
    yield {"folds": "11 by person"}, "view: 11 folds need as many values of person, got 10"
    yield {"leave_one_out": "setup"}, "view: 2 folds need as many values of setup, got 1"
    yield {"where": (Condition(fact="person", any_of=()),)}, "view: no clip is left"


@pytest.mark.parametrize(("rules", "message"), wrong())
def test_what_cannot_be_resolved_is_named(rules: dict[str, object], message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        resolved(**rules)


@pytest.mark.parametrize("fold", [-1, 3])
def test_a_fold_that_is_not_there(fold: int):
    with pytest.raises(ValueError, match=rf"stream\.fold must be in 0\.\.2, got {fold}"):
        resolved(fold, folds="3 by person")


def test_names_that_do_not_tell_the_person():
    clips = index(["clip-1", name(), name(subject=2)], [0, 0, 2], [0, 0, 0])
    with pytest.raises(ValueError, match="view: the names of 1 clips do not tell their person"):
        resolved(clips=clips, folds="2 by person")


def test_code_of_somebody_elses_reader_is_not_run():
    view = View(protocol="xsub")
    with pytest.raises(ValueError, match=r"view\.protocol must be left out for shards of os:system, got 'xsub'"):
        resolve_view(view, replace(manifest(), dataset="os:system"), INDEX)
