from epam_data.check.rules.finding import Finding


def test_a_finding_in_words_names_what_is_known():
    whole = Finding(check="tar", shard="val-000001", key="clip", member="rgb.mjpeg", offset=0, what="odd")
    assert str(whole) == "val-000001: clip: rgb.mjpeg: byte 0: odd"
    assert str(Finding(check="split", what="leaks")) == "leaks"


def test_findings_sort_from_the_whole_set_to_the_byte():
    order = [
        Finding(check="split", what="z"),
        Finding(check="shard", shard="a", what="z"),
        Finding(check="json", shard="a", key="k", what="z"),
        Finding(check="json", shard="a", key="k", offset=0, what="z"),
        Finding(check="json", shard="a", key="k", offset=10, what="a"),
        Finding(check="shard", shard="b", what="a"),
    ]
    shuffled = [order[place] for place in (3, 0, 5, 2, 4, 1)]
    assert sorted(shuffled, key=lambda finding: finding.order) == order
