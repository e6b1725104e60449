from pathlib import Path

import pytest

from epam_data.index import load_index
from epam_data.inspect import describe_directory, describe_sample, read_sample


def test_every_sample_is_found_by_its_key(ntu60_shards: Path):
    for key in load_index(ntu60_shards).row_of_key:
        sample, members = read_sample(ntu60_shards, key)
        assert sample.info.key == key
        text = describe_sample(sample, members)
        assert f"{key}.json" in text and f"({sample.info.num_frames}, 17, 16, 16) uint8" in text


def test_the_directory_in_words(ntu60_shards: Path):
    lines = describe_directory(ntu60_shards).splitlines()
    assert lines[0].endswith("ntu60 xsub")
    assert any("train-000003" in line and " 2 " in line for line in lines)
    assert lines[-1].split()[:2] == ["all", "19"]


def test_an_unknown_key_is_refused(ntu60_shards: Path):
    with pytest.raises(ValueError, match=r"no clip 'nobody' among 19"):
        read_sample(ntu60_shards, "nobody")
