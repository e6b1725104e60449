import base64
import re
from types import SimpleNamespace

import torch

from epam_model.reports.plots import class_order, confusion_plot, curves

MANIFEST = SimpleNamespace(classes=("wave", "kick", "clap", "jump"), groups=("arms", "legs"), coarse_of=(0, 1, 0, 1))


def svg(plot) -> str:
    return base64.b64decode(plot.url.partition("base64,")[2]).decode()


def history(num: int = 3) -> list[dict]:
    """`num` logged steps and an evaluation."""
    lines: list[dict] = []
    for step in range(1, num + 1):
        losses = {"loss": 4 / step, "loss_rgb": 3 / step, "loss_pose": 1 / step}
        others = {"lr": 0.1, "memory_gb": 2.0, "seconds_left": 9.0}
        lines.append({"part": "train", "epoch": 1, "step": step, **losses, **others})
    measures = {"top1_fused": 0.5, "top1_rgb": 0.25, "f1_macro_fine_rgb": 0.1}
    return [*lines, {"part": "val", "epoch": 1, "step": num, **measures}]


def test_each_kind_of_number_has_a_plot():
    plots = curves(history())
    assert [plot.title for plot in plots] == [
        "Loss",
        "Terms of the loss",
        "Top-1 accuracy",
        "Learning rate",
        "Memory",
    ]
    assert plots[0].words == "at the end: loss 1.333"
    assert plots[1].words == "at the end: loss_rgb 1, loss_pose 0.3333"
    assert ">top1_fused</text>" in svg(plots[2]) and ">top1_rgb</text>" in svg(plots[2])


def test_a_run_without_a_line_has_no_plot():
    assert curves([]) == []


def test_long_curves_are_thinned():
    def noisy(num: int) -> list[dict]:  # a smooth curve would be thinned by matplotlib itself
        return [{"part": "train", "epoch": 1, "step": step, "loss": step * 7919 % 101} for step in range(num)]

    short, long = (len(svg(curves(noisy(num))[0])) for num in (400, 20_000))
    assert long < 1.5 * short


def test_numbers_that_nobody_has_foreseen_are_shown():
    line = {"part": "train", "epoch": 1, "step": 1, "temperature": 3.0}
    assert [plot.title for plot in curves([line])] == ["temperature"]


def test_classes_stand_by_group():
    assert class_order(MANIFEST) == [0, 2, 1, 3]
    matrix = torch.tensor([[5, 0, 1, 0], [0, 4, 0, 0], [0, 0, 3, 1], [0, 2, 0, 2]])
    plot = confusion_plot(matrix, MANIFEST, "Confusion matrix of fused")
    assert plot.words.startswith("14 of 18 clips are on the diagonal")
    texts = re.findall(r">([a-z]+)</text>", svg(plot))
    assert texts[:4] == texts[5:9] == ["wave", "clap", "kick", "jump"]


def test_many_classes_are_named_by_their_groups():
    many = SimpleNamespace(classes=tuple(map(str, range(20))), groups=("arms", "legs"), coarse_of=(0,) * 8 + (1,) * 12)
    drawn = svg(confusion_plot(torch.eye(20, dtype=torch.int64), many, "x"))
    assert drawn.count(">arms</text>") == drawn.count(">legs</text>") == 2 and ">7</text>" not in drawn


def test_a_label_without_clips_is_drawn():
    matrix = torch.diag(torch.tensor([3, 0, 2, 1]))
    assert confusion_plot(matrix, MANIFEST, "x").words.startswith("6 of 6")


def test_a_name_of_a_class_is_no_formula() -> None:
    """To matplotlib, `$` begins one, and this one has no end."""
    odd = SimpleNamespace(**{**vars(MANIFEST), "classes": ("$x^{", "a_b$", *MANIFEST.classes[2:])})
    plot = confusion_plot(torch.eye(len(odd.classes), dtype=torch.int64), odd, "Confusion of $\\frac{")
    assert "$x^{" in svg(plot)
