"""Joint layouts against the published lists, and what a missing joint is."""

import numpy as np
import pytest

from epam_data.skeleton import COCO17, LAYOUTS, MA52_28, SkeletonLayout, joint_is_missing

# As published; written out, not derived, since the layouts derive some of theirs.
COCO_LIMBS = "(0,1)(0,2)(1,3)(2,4)(0,5)(5,7)(7,9)(0,6)(6,8)(8,10)(5,11)(11,13)(13,15)(6,12)(12,14)(14,16)(11,12)"
MA52_LIMBS = (
    "(4,3)(3,2)(7,6)(6,5)(13,12)(12,11)(10,9)(9,8)(11,5)(8,2)(5,1)(2,1)(0,1)(15,0)(14,0)(17,15)(16,14)"
    "(23,4)(24,4)(25,4)(26,4)(27,4)(18,7)(19,7)(20,7)(21,7)(22,7)"
)
MA52_PAIRS = dict(
    zip(
        (2, 3, 4, 8, 9, 10, 14, 16, 18, 19, 20, 21, 22),
        (5, 6, 7, 11, 12, 13, 15, 17, 23, 24, 25, 26, 27),
        strict=True,
    )
)


def written(limbs: tuple[tuple[int, int], ...]) -> str:
    return "".join(f"({a},{b})" for a, b in limbs)


def test_limbs_are_the_published_ones() -> None:
    assert written(COCO17.limbs) == COCO_LIMBS
    assert written(MA52_28.limbs) == MA52_LIMBS


def test_flip_pairs_are_the_published_ones() -> None:
    assert dict(COCO17.flip_pairs) == {left: left + 1 for left in range(1, 17, 2)}
    assert {frozenset(pair) for pair in MA52_28.flip_pairs} == {frozenset(pair) for pair in MA52_PAIRS.items()}


def test_joint_counts_and_names() -> None:
    assert (len(COCO17.joints), len(MA52_28.joints)) == (17, 28)
    assert COCO17.joints[:3] == ("nose", "left_eye", "right_eye")
    assert COCO17.joints[15:] == ("left_ankle", "right_ankle")
    assert MA52_28.joints[7] == "left_wrist" and MA52_28.joints[4] == "right_wrist"
    assert MA52_28.joints[14:18] == ("right_eye", "left_eye", "right_ear", "left_ear")
    assert MA52_28.joints[18] == "left_thumb_tip" and MA52_28.joints[27] == "right_little_tip"


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
class TestFlip:
    def test_flipping_twice_is_the_identity(self, layout: SkeletonLayout) -> None:
        for order in (layout.flip_order, layout.limb_flip_order):
            assert sorted(order) == list(range(len(order)))
            assert [order[order[i]] for i in range(len(order))] == list(range(len(order)))

    def test_left_and_right_names_change_places(self, layout: SkeletonLayout) -> None:
        swap = {"left": "right", "right": "left"}
        for name, mirrored in zip(layout.joints, layout.flip_order, strict=True):
            side, _, part = name.partition("_")
            assert layout.joints[mirrored] == (f"{swap[side]}_{part}" if side in swap else name)

    def test_a_limb_goes_where_its_joints_go(self, layout: SkeletonLayout) -> None:
        mirror = layout.flip_order
        for limb, mirrored in zip(layout.limbs, layout.limb_flip_order, strict=True):
            assert {mirror[joint] for joint in limb} == set(layout.limbs[mirrored])


@pytest.mark.parametrize("pairs", [((0, 1), (1, 2)), ((0, 3),), ((-1, 0),)])
def test_a_bad_layout_is_refused(pairs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match=r"^toy: flip pairs must be disjoint and joints in 0\.\.2$"):
        SkeletonLayout(name="toy", joints=("a", "b", "c"), flip_pairs=pairs, limbs=())
    with pytest.raises(ValueError, match=r"^toy: .* joints in 0\.\.2$"):
        SkeletonLayout(name="toy", joints=("a", "b", "c"), flip_pairs=(), limbs=((0, 3),))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "y", "score", "missing"),
    [
        (5, 6, 1, False),
        (5, 6, 2e-4, False),
        (5, 6, 9e-5, True),
        (5, 6, 0, True),
        (5, 6, -1, True),
        (5, 6, np.nan, True),
        (np.nan, 6, 1, True),
        (5, np.nan, 1, True),
        (0, 0, 1, True),
        (0, 6, 1, False),
        (5, 0, 1, False),
        (-5, -6, 1, False),
        (np.inf, 6, 1, True),
        (5, -np.inf, 1, True),
        (5, 6, np.inf, True),
    ],
)
def test_missing_joints(dtype: type, x: float, y: float, score: float, missing: bool) -> None:
    result = joint_is_missing(np.array([[x, y]], dtype), np.array([score], dtype))
    assert result.shape == (1,) and result.dtype == bool
    assert bool(result[0]) is missing


def test_the_threshold_is_the_same_number_for_every_type() -> None:
    """float16(1e-4) lies above 1e-4, float32(1e-4) below."""
    for dtype, missing in ((np.float64, False), (np.float32, True), (np.float16, False)):
        assert bool(joint_is_missing(np.ones((1, 2), dtype), np.array([1e-4], dtype))[0]) is missing


def test_a_limb_needs_two_joints_and_its_mirror_image() -> None:
    sides = {"name": "toy", "joints": ("a", "left_b", "right_b"), "flip_pairs": ((1, 2),)}
    assert SkeletonLayout(**sides, limbs=((0, 1), (2, 0))).limb_flip_order == (1, 0)
    with pytest.raises(ValueError, match=r"^toy: limb \(0, 1\) needs its mirror image \(0, 2\) among the limbs$"):
        SkeletonLayout(**sides, limbs=((0, 1),))
    with pytest.raises(ValueError, match=r"^toy: a flip pair or a limb must be two joints, got \(0, 1, 2\)$"):
        SkeletonLayout(**sides, limbs=((0, 1, 2),))


def test_a_channel_is_a_limb_or_one_joint() -> None:
    assert COCO17.channels("limbs") == COCO17.limbs
    assert COCO17.channels("joints")[:2] == ((0, 0), (1, 1)) and COCO17.num_channels("joints") == 17
