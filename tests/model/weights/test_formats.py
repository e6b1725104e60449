"""The tables of formats: which names they have, and which one a file is nearest to."""

import pytest

from epam_model.networks.table import NETWORKS
from epam_model.weights.epam_names import EPAM
from epam_model.weights.formats import _ALL_PUBLISHED, lone_formats, model_formats, nearest_layout
from epam_model.weights.published_names import prefixed
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D


def test_every_network_with_published_names_is_in_the_search_for_the_nearest():
    assert [spec.published for spec in NETWORKS.values()] == list(_ALL_PUBLISHED)


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (EPAM.releases["published EPAM-Net"], "published EPAM-Net of network epam (10"),
        (EPAM.mmaction2, "MMAction2 epam of network epam ("),
        (EPAM.alone("pose"), "MMAction2 pose recogniser of network epam (498 of the file's 498 names)"),
        (RGBPOSE_CONV3D.starts["rgb"]["ResNet-50, 2-D"], "ResNet-50, 2-D of network rgbpose_conv3d (318 of the file's"),
        ({**RGBPOSE_CONV3D.mmaction2, "a": "", "b": ""}, "rgbpose_conv3d (658 of the file's 660 names)"),
        (dict.fromkeys(EPAM.backbone.values()), "epam pair without head of network epam ("),
    ],
)
def test_the_nearest_layout(names: dict[str, str], layout: str):
    text = nearest_layout(names)
    assert text.startswith("the nearest layout is ") and layout in text


def test_nothing_is_near_to_names_that_nobody_has():
    assert nearest_layout(["a", "b"]) == nearest_layout([]) == "no layout that can be read has any of its names"


@pytest.mark.parametrize("published", [EPAM, RGBPOSE_CONV3D], ids=["epam", "rgbpose_conv3d"])
@pytest.mark.parametrize("stream", ["rgb", "pose"])
def test_a_stream_alone_is_found_in_every_file_of_a_pair(published, stream: str):
    """A stream of no recogniser, and the one of a recogniser of one stream."""
    ours = list(published.streams[stream].values())
    for prefix, target in (("", ours), ("backbone.", [f"backbone.{name}" for name in ours])):
        forms = {form.name: form for form in lone_formats(stream, target, published, prefix=prefix)}
        for name, of_pair in (
            ("epam pair", {ours: ours for ours in prefixed(published.backbone, "", "backbone.").values()}),
            (f"MMAction2 {published.network}", published.mmaction2),
            (f"{published.network} backbone", published.backbone),
        ):
            form = forms[f"{name}, its {stream} stream"]
            assert set(form.names.values()) == set(target)
            rest = [theirs for theirs in of_pair if theirs not in form.names]
            assert rest and all(theirs.startswith(form.left_out) for theirs in rest)


def test_every_head_of_a_pair_goes_with_every_backbone_of_it():
    target = [*EPAM.recogniser().values()]
    for form in model_formats("both", target, EPAM):
        if form.name in ("published EPAM-Net", "MMAction2 epam"):
            assert form.names.items() >= EPAM.heads.items()
