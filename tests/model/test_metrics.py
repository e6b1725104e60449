import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from epam_model.metrics import best_name, measure, rank_of_label, score_tables


def draw(num: int = 200, num_classes: int = 12) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(num_classes, (num,), generator=generator)
    logits = {name: torch.randn(num, num_classes, generator=generator) for name in ("rgb", "pose")}
    for scores in logits.values():
        scores[torch.arange(num), labels] += 1
    return logits, labels


def test_measures_agree_with_torchmetrics():
    logits, labels = draw()
    measures = measure(logits, labels)
    tables = score_tables(logits)
    assert set(tables) == {"fused", "rgb", "pose", "logit_sum"}
    assert set(measures) == {f"top{k}_{name}" for k in (1, 5) for name in tables}
    for name, scores in tables.items():
        for k in (1, 5):
            expected = multiclass_accuracy(scores, labels, num_classes=12, top_k=k, average="micro")
            assert measures[f"top{k}_{name}"] == pytest.approx(expected.item())


def test_fusions_are_mean_probability_and_sum_of_logits():
    rgb, pose = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 10.0, 0.0]])
    tables = score_tables({"rgb": rgb, "pose": pose})
    torch.testing.assert_close(tables["fused"], (rgb.double().softmax(1) + pose.double().softmax(1)) / 2)
    assert tables["logit_sum"].tolist() == [[9.0, 10.0, 0.0]]


def test_hidden_labels_never_give_a_score():
    logits, labels = draw()
    hidden = labels.clone()
    hidden[::3] = -1
    kept = hidden >= 0
    assert measure(logits, hidden) == measure({name: scores[kept] for name, scores in logits.items()}, labels[kept])
    assert measure(logits, torch.full_like(labels, -1)) == {}


def test_a_stream_that_is_not_there_has_no_measure():
    logits, labels = draw()
    measures = measure({"pose": logits["pose"]}, labels)
    assert list(measures) == ["top1_pose", "top5_pose"]
    assert best_name(measures) == "top1_pose"
    assert best_name(measure(logits, labels)) == "top1_fused"


def test_equal_scores_do_not_count_as_right():
    labels = torch.arange(10)
    assert rank_of_label(torch.zeros(10, 10), labels).tolist() == list(range(10))
    assert measure({"rgb": torch.zeros(10, 10)}, labels) == {"top1_rgb": 0.1, "top5_rgb": 0.5}


def test_fewer_than_five_classes():
    assert measure({"rgb": torch.randn(9, 3)}, torch.arange(9) % 3)["top5_rgb"] == 1.0


def test_errors():
    with pytest.raises(ValueError, match=r"\(N, K\) and \(N,\), got \(2, 3\) and \(3,\)"):
        rank_of_label(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.2, got 0\.\.3"):
        rank_of_label(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="scores must be finite"):
        rank_of_label(torch.tensor([[0.0, float("nan")]]), torch.tensor([1]))
    with pytest.raises(ValueError, match="every label is hidden"):
        best_name({})
