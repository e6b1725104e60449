from epam_data.views.leaks import Leak, find_leaks, untold
from epam_data.views.resolve import resolve_view
from epam_data.views.view import View
from tests.data.catalogue import index, manifest, name

KEYS = [name(1, 1), name(2, 1), name(3, 2), name(1, 2), name(1, 3, replication=2), "clip", "clip-2"]
LISTS = {"train": (KEYS[0], KEYS[2], KEYS[5]), "val": (KEYS[1], KEYS[4], KEYS[6]), "test": (KEYS[3],)}


def test_what_splits_have_in_common_is_counted():
    clips = index(KEYS, [0, 0, 1, 1, 2, 2, 2], [0] * 7)
    leaks = {(leak.what, leak.splits): leak for leak in find_leaks(resolve_view(View(names=LISTS), manifest(), clips))}
    person = Leak(what="person", splits=("train", "val"), num_values=1, num_clips=(1, 1), example="1")
    assert leaks["person", ("train", "val")] == person
    shared = leaks["performance", ("train", "test")]
    assert (shared.num_values, shared.num_clips, shared.example) == (1, (1, 1), f"{KEYS[2]} and {KEYS[3]}")
    assert leaks["camera", ("val", "test")].num_clips == (1, 1) and leaks["camera", ("val", "test")].example == "1"
    assert leaks["setup", ("train", "val")].num_clips == (2, 2), "a name that tells nothing shares nothing"
    assert ("person", ("val", "test")) not in leaks and ("camera", ("train", "test")) in leaks
    assert ("performance", ("val", "test")) not in leaks
    assert leaks["performance", ("train", "val")].num_clips == (1, 1), "clips without names share no performance"


def test_what_names_do_not_tell_is_said():
    table = manifest("ma52", None)
    view = resolve_view(View(), table, index(["0001_01", "0002_01", "0003_01"], [0, 1, 2], [0, 0, 0]))
    assert list(find_leaks(view)) == [] and untold(view) == ["person", "camera", "setup", "performance"]
    of_ntu = resolve_view(View(), manifest(), index(KEYS, [0] * 7, [0] * 7))
    assert untold(of_ntu) == []
