import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from epam_data.taxonomy import TAXONOMIES
from epam_model.evaluate.metrics import (
    SCORES,
    best_name,
    class_f1,
    coarse_confusion,
    confusion_matrix,
    f1_scores,
    mean_class_accuracy,
    measure,
    probabilities,
    rank_of_label,
    score_tables,
    split_name,
)

COARSE_OF = (0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3)
F1 = ("f1_macro_fine", "f1_micro_fine", "f1_macro_coarse", "f1_micro_coarse", "f1_mean")


def draw(num: int = 200, num_classes: int = 12) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(num_classes, (num,), generator=generator)
    logits = {name: torch.randn(num, num_classes, generator=generator) for name in ("rgb", "pose")}
    for scores in logits.values():
        scores[torch.arange(num), labels] += 1
    return logits, labels


def test_measures_agree_with_torchmetrics():
    logits, labels = draw()
    measures = measure(logits, labels, COARSE_OF)
    tables = score_tables(logits)
    assert tuple(tables) == SCORES
    kinds = ("top1", "top5", "mean_class", *F1)
    assert list(measures) == [f"{kind}_{name}" for name in tables for kind in kinds]
    coarse = torch.tensor(COARSE_OF)
    for name, scores in tables.items():
        for k in (1, 5):
            expected = multiclass_accuracy(scores, labels, num_classes=12, top_k=k, average="micro")
            assert measures[f"top{k}_{name}"] == pytest.approx(expected.item())
        expected = multiclass_accuracy(scores, labels, num_classes=12, average="macro")
        assert measures[f"mean_class_{name}"] == pytest.approx(expected.item())
        chosen, mean = scores.argmax(1), 0.0
        for level, guess, truth, count in (("fine", chosen, labels, 12), ("coarse", coarse[chosen], coarse[labels], 4)):
            for average in ("macro", "micro"):
                expected = multiclass_f1_score(guess, truth, num_classes=count, average=average)
                assert measures[f"f1_{average}_{level}_{name}"] == pytest.approx(expected.item())
                mean += expected.item() / 4
        assert measures[f"f1_mean_{name}"] == pytest.approx(mean)


def test_the_confusion_matrix_is_that_of_torchmetrics():
    logits, labels = draw()
    matrix = confusion_matrix(logits["rgb"], labels)
    assert torch.equal(matrix, multiclass_confusion_matrix(logits["rgb"], labels, num_classes=12))
    coarse = torch.tensor(COARSE_OF)
    expected = multiclass_confusion_matrix(coarse[logits["rgb"].argmax(1)], coarse[labels], num_classes=4)
    assert torch.equal(coarse_confusion(matrix, COARSE_OF), expected)


def test_classes_without_clips():
    """Class 2 has no clip but is predicted once, class 3 is nowhere: the one is no accuracy, the other no F1 either."""
    matrix = torch.tensor([[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert mean_class_accuracy(matrix) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert class_f1(matrix)[:3].tolist() == pytest.approx([6 / 7, 1 / 2, 0])
    assert class_f1(matrix)[3].isnan()
    scores = f1_scores(matrix, (0, 0, 1, 1))
    assert scores["f1_macro_fine"] == pytest.approx((6 / 7 + 1 / 2 + 0) / 3)
    assert scores["f1_micro_fine"] == 4 / 6 and scores["f1_micro_coarse"] == 5 / 6
    assert scores["f1_macro_coarse"] == pytest.approx((10 / 11 + 0) / 2)


def test_f1_scores_of_ma52_by_hand():
    """One clip of each action; those of the head are taken for action 5, those of leg-hand for 0."""
    classes = TAXONOMIES["ma52"]
    labels = torch.arange(52)
    guess = labels.clone()
    guess[5:11], guess[48:] = 5, 0
    measures = measure({"rgb": torch.eye(52)[guess]}, labels, classes.coarse_of)
    assert measures["top1_rgb"] == measures["f1_micro_fine_rgb"] == 43 / 52
    fine = 41 + 2 / 7 + 2 / 6  # 41 classes are right and nothing is taken for them; 5 of 6 and 4 of 5 are wrong
    assert measures["f1_macro_fine_rgb"] == pytest.approx(fine / 52)
    assert measures["f1_micro_coarse_rgb"] == 48 / 52
    assert measures["f1_macro_coarse_rgb"] == pytest.approx((5 + 10 / 14 + 0) / 7)


def test_fusions():
    rgb, pose = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 3.0, 0.0]])
    tables = score_tables({"rgb": rgb, "pose": pose})
    p, q = rgb.double().softmax(1), pose.double().softmax(1)
    torch.testing.assert_close(tables["fused"], (p + q) / 2)
    torch.testing.assert_close(tables["fused_2_1"], (2 * p + q) / 3)
    torch.testing.assert_close(tables["fused_1_2"], (p + 2 * q) / 3)
    assert tables["logit_sum"].tolist() == [[2.0, 3.0, 0.0]]
    assert tables["rgb"].tolist() == rgb.tolist() and tables["pose"].tolist() == pose.tolist()


def test_probabilities_sum_to_one_and_rank_as_the_scores_do():
    logits, _ = draw()
    for name, table in score_tables(logits).items():
        values = probabilities(logits, name)
        torch.testing.assert_close(values.sum(dim=1), torch.ones(200, dtype=torch.float64))
        assert torch.equal(values.argmax(dim=1), table.argmax(dim=1))
    pose = {"pose": logits["pose"]}
    assert torch.equal(probabilities(pose), probabilities(logits, "pose"))
    with pytest.raises(ValueError, match="scores must be one of pose, got 'logit_sum'"):
        probabilities(pose, "logit_sum")


def test_names_of_measures_come_apart_again():
    logits, labels = draw()
    assert {split_name(name)[1] for name in measure(logits, labels, COARSE_OF)} == set(SCORES)
    assert split_name("f1_macro_fine_fused_2_1") == ("f1_macro_fine", "fused_2_1")
    assert split_name("mean_class_logit_sum") == ("mean_class", "logit_sum")


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
    assert list(measures) == ["top1_pose", "top5_pose", "mean_class_pose"]
    assert best_name(measures) == "top1_pose"
    assert best_name(measure(logits, labels)) == "top1_fused"


def test_equal_scores_do_not_count_as_right():
    labels = torch.arange(10)
    assert rank_of_label(torch.zeros(10, 10), labels).tolist() == list(range(10))
    assert measure({"rgb": torch.zeros(10, 10)}, labels) == {"top1_rgb": 0.1, "top5_rgb": 0.5, "mean_class_rgb": 0.1}


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
