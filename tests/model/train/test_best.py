import pytest

from epam_model.train.best import Best, check_metric, metric_name


def test_the_first_of_equals_is_the_best():
    best = Best()
    for epoch, score in enumerate((0.2, 0.5, 0.4, 0.5), start=1):
        best = best.after(score, epoch)
    assert best == Best(score=0.5, epoch=2)
    assert Best().after(0.0, 1) == Best(score=0.0, epoch=1)


def test_a_best_grows_stale_after_patience():
    best = Best(score=0.5, epoch=2)
    assert [best.is_stale(epoch, 3) for epoch in (2, 4, 5, 6)] == [False, False, True, True]
    assert not best.is_stale(100, 0)


def test_the_metric_is_the_wanted_one_or_the_usual_one():
    metrics = {"top1_pose": 0.2, "top1_fused": 0.1}
    assert metric_name("", metrics) == "top1_fused"
    assert metric_name("top1_pose", metrics) == "top1_pose"
    with pytest.raises(ValueError, match=r"train\.best_by must be one of top1_pose, top1_fused, got 'loss'"):
        metric_name("loss", metrics)


def test_a_metric_that_no_evaluation_gives_is_refused_at_once():
    check_metric("top1_rgb", "both", [0] * 6)
    check_metric("", "pose", [0] * 6)
    with pytest.raises(ValueError, match=r"train\.best_by must be one of top1_pose, .* got 'top1_fused'"):
        check_metric("top1_fused", "pose", [0] * 6)


def test_without_groups_there_is_no_f1_to_go_by():
    check_metric("top1_fused", "both", ())
    check_metric("f1_mean_fused", "both", [0] * 6)
    with pytest.raises(ValueError, match=r"train\.best_by must be one of top1_fused, .* got 'f1_mean_fused'"):
        check_metric("f1_mean_fused", "both", ())
