"""PCAN's losses, and its whole head with them against the published ones over three steps."""

import numpy as np
import pytest
import torch
from torch import Tensor

from epam_model.evaluate.metrics import probabilities
from epam_model.losses.objective import total
from epam_model.losses.pcan import PCANLosses
from epam_model.losses.prototype import diversity
from epam_model.losses.settings import LossSettings
from epam_model.networks.heads import Logits, TwoStreamHead, prototype_banks
from epam_model.weights.published_names import PCAN_HEAD, inverse
from tests.model.golden import GOLDENS, draw_features, draw_tensor, sample_positions
from tests.model.shared_goldens import needs_goldens

COARSE_OF = (0, 0, 1)


def small_head() -> TwoStreamHead:
    """One that finds class 0 and its group, so that their prototypes move."""
    torch.manual_seed(0)
    head = TwoStreamHead(3, 4, 5, 0.0, num_coarse_classes=2)
    for stream in (head.rgb, head.pose):
        stream.fc.bias.data[0] = stream.fc_coarse.bias.data[0] = 9.0
    return head


SMALL_CLIPS, SMALL_LABELS = (torch.rand(6, 4, 2, 2, 2), torch.rand(6, 5, 2, 2, 2)), torch.tensor([0, 0, 2, 2, 1, 0])


def prototypes_of(head: TwoStreamHead) -> dict[str, Tensor]:
    return {name: bank.prototypes.clone() for name, bank in prototype_banks(head).items()}


def test_prototypes_move_once_the_step_is_taken():
    head = small_head()
    losses, before = PCANLosses(LossSettings(), COARSE_OF, prototype_banks(head)), prototypes_of(head)
    losses(head(*SMALL_CLIPS), SMALL_LABELS)
    assert all(torch.equal(value, before[name]) for name, value in prototypes_of(head).items())
    losses.end_step(True)
    after = prototypes_of(head)
    assert list(after) == ["rgb_fine", "rgb_coarse", "pose_fine", "pose_coarse"]
    for name, value in after.items():
        assert not torch.equal(value[:, 0], before[name][:, 0]), name
        assert torch.equal(value[:, 1:], before[name][:, 1:]), name


def test_a_step_that_is_not_taken_leaves_nothing_behind():
    head, fresh = small_head(), small_head()
    tried, never = (PCANLosses(LossSettings(), COARSE_OF, prototype_banks(each)) for each in (head, fresh))
    tried(head(*SMALL_CLIPS), SMALL_LABELS)
    tried.end_step(False)
    terms, expected = (losses(each(*SMALL_CLIPS), SMALL_LABELS) for losses, each in ((tried, head), (never, fresh)))
    assert all(torch.equal(value, expected[name]) for name, value in terms.items())
    for losses in (tried, never):
        losses.end_step(True)
    assert all(torch.equal(value, prototypes_of(fresh)[name]) for name, value in prototypes_of(head).items())


def test_parts_of_a_batch_move_the_prototypes_one_after_another():
    """Two parts, then the end of the step, as two steps whose weights stand still."""
    parts, steps = small_head(), small_head()
    for head, ends in ((parts, [True]), (steps, [True, True])):
        losses = PCANLosses(LossSettings(), COARSE_OF, prototype_banks(head))
        for number in range(2):
            losses(head(*SMALL_CLIPS), SMALL_LABELS)
            if number or len(ends) == 2:
                losses.end_step(True)
    assert all(torch.equal(value, prototypes_of(steps)[name]) for name, value in prototypes_of(parts).items())


def test_prototypes_may_move_before_the_backward_pass():
    gradients = []
    for early in (False, True):
        head = small_head()
        losses = PCANLosses(LossSettings(), COARSE_OF, prototype_banks(head))
        terms = losses(head(*SMALL_CLIPS), SMALL_LABELS)
        if early:
            losses.end_step(True)
        total(terms).backward()
        gradients.append([weight.grad.clone() for weight in head.parameters()])
    assert all(torch.equal(late, early) for late, early in zip(*gradients, strict=True))


def test_the_prototypes_stay_the_models():
    losses = PCANLosses(LossSettings(), COARSE_OF, prototype_banks(small_head()))
    assert losses.state_dict() == {} and list(losses.parameters()) == []


def test_a_model_without_prototypes_and_other_labels_are_refused():
    with pytest.raises(ValueError, match=r"need a model with prototypes \(model\.head pcan\), this one has none"):
        PCANLosses(LossSettings(), COARSE_OF, prototype_banks(TwoStreamHead(3)))
    head = small_head()
    with pytest.raises(ValueError, match=r"labels must be \(6,\), got \(3,\)"):
        PCANLosses(LossSettings(), COARSE_OF, prototype_banks(head))(head(*SMALL_CLIPS), SMALL_LABELS[:3])


def step(head: TwoStreamHead, losses: PCANLosses, clips: tuple[Tensor, Tensor], labels: Tensor) -> dict[str, Tensor]:
    head.zero_grad()
    terms: dict[str, Tensor] = losses(head(*clips), labels)
    total(terms).backward()
    losses.end_step(True)
    return terms


def test_every_term_of_pcan_has_its_factor():
    torch.manual_seed(0)
    head = TwoStreamHead(3, 4, 5, 0.0, num_coarse_classes=2)
    clips = torch.rand(6, 4, 2, 2, 2), torch.rand(6, 5, 2, 2, 2)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    settings = {
        "rgb": 1.0,
        "pose": 1.2,
        "rgb_coarse": 0.5,
        "pose_coarse": 0.9,
        "coarse_prototype": 2.0,
        "fine_prototype": 3.0,
        "diversity": 4.0,
        "tree": 5.0,
    }
    banks, logits = prototype_banks(head), head(*clips)
    ones = PCANLosses(LossSettings(**dict.fromkeys(settings, 1.0)), COARSE_OF, banks)(logits, labels)
    terms = PCANLosses(LossSettings(**settings), COARSE_OF, banks)(logits, labels)
    assert list(terms) == [
        f"loss_{stream}{term}"
        for stream in ("rgb", "pose")
        for term in ("", "_coarse", "_coarse_prototype", "_fine_prototype", "_diversity", "_tree")
    ]
    for name, value in terms.items():
        key = name.removeprefix("loss_")
        factor = settings[key] if key in settings else settings[key.partition("_")[2]]
        assert value.item() == pytest.approx(factor * ones[name].item(), rel=1e-6), name


@pytest.fixture(params=["epam_head_ntu60", "pcan_head_ntu60"])
def golden(request):
    with np.load(GOLDENS / f"{request.param}.npz") as archive:
        yield dict(archive)


def published_head(golden: dict[str, np.ndarray], dtype: torch.dtype) -> TwoStreamHead:
    names = inverse(PCAN_HEAD)
    channels = [int(golden[f"f32/step0/grad_x_{stream}/shape"][1]) for stream in ("rgb", "pose")]
    head = TwoStreamHead(60, *channels, 0.0, num_coarse_classes=8)
    drawn = {name: draw_tensor(names[name], tuple(value.shape)) for name, value in head.state_dict().items()}
    head.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()})
    return head.to(dtype)


def draw_clips(head: TwoStreamHead, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    shapes = (16, head.rgb.fc.in_features, 2, 2, 2), (16, head.pose.fc.in_features, 4, 2, 2)
    clips = [draw_features(shape, number + seed).to(dtype) for number, shape in zip((100, 200), shapes, strict=True)]
    return clips[0].requires_grad_(), clips[1].requires_grad_()


@needs_goldens
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_three_steps_are_the_published_ones(golden, dtype):
    tag, atol = {torch.float32: ("f32", 2e-5), torch.float64: ("f64", 1e-9)}[dtype]
    head = published_head(golden, dtype)
    losses = PCANLosses(LossSettings(), golden["f2c"].tolist(), prototype_banks(head), published_behaviour=True)

    def same(name: str, value: Tensor) -> None:
        flat = value.detach().numpy().reshape(-1)
        expected = golden[f"{tag}/{name}/sample"]
        np.testing.assert_allclose(flat[sample_positions(flat.size)], expected, rtol=0, atol=atol, err_msg=name)

    def evaluated(name: str) -> Logits:
        with torch.no_grad():
            logits = head.eval()(*draw_clips(head, 0, dtype))
        for part in ("rgb", "pose", "rgb_coarse", "pose_coarse"):
            same(f"{name}/{part}", getattr(logits, part))
        head.train()
        return logits

    evaluated("eval0")
    for number in range(3):
        clips = draw_clips(head, number, dtype)
        terms = step(head, losses, clips, torch.from_numpy(golden["labels"][number]))
        figures = {name: value.item() for name, value in terms.items()}
        for stream, clip in zip(("rgb", "pose"), clips, strict=True):
            expected = {
                f"loss_{stream}": f"{stream}_loss_cls",
                f"loss_{stream}_coarse": f"{stream}_coarse_loss_cls",
                f"loss_{stream}_coarse_prototype": f"{stream}_fr_coarse_loss",
                f"loss_{stream}_tree": f"hierarchy_{stream}_loss",
            }
            for ours, theirs in expected.items():
                assert figures[ours] == pytest.approx(float(golden[f"{tag}/step{number}/{theirs}"]), abs=atol), ours
            fine = figures[f"loss_{stream}_fine_prototype"] + figures[f"loss_{stream}_diversity"]
            assert fine == pytest.approx(float(golden[f"{tag}/step{number}/{stream}_fr_loss"]), abs=atol)
            spread = float(golden[f"{tag}/step{number}/diversity_{stream}"])
            assert figures[f"loss_{stream}_diversity"] == pytest.approx(spread / 5, abs=atol)
            same(f"step{number}/grad_x_{stream}", clip.grad)
            for level in ("fine", "coarse"):
                same(f"step{number}/proto_{level}_{stream}", prototype_banks(head)[f"{stream}_{level}"].prototypes)
        assert total(terms).item() == pytest.approx(float(golden[f"{tag}/step{number}/total"]), abs=10 * atol)
        assert_same_gradients(head, golden, f"{tag}/step{number}", atol)
    logits = evaluated("eval3")
    same("eval3/fused_prob_1_1", 2 * probabilities(logits.streams))  # published: the sum


def assert_same_gradients(head: TwoStreamHead, golden: dict[str, np.ndarray], place: str, atol: float) -> None:
    """Also that of the leaf that the published diversity trained in vain: a fifth of the diversity's gradient."""
    names = inverse(PCAN_HEAD)
    norms = {names[name]: weight.grad.norm().item() for name, weight in head.named_parameters()}
    for stream in ("rgb", "pose"):
        leaf = prototype_banks(head)[f"{stream}_fine"].prototypes.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(diversity(leaf) / 5, leaf)
        norms[f"fr_{stream}.spatio_cl_net.avg_f"] = gradient.norm().item()
    expected = dict(zip(golden[f"{place}/grad_names"], golden[f"{place}/grad_norms"], strict=True))
    assert norms == pytest.approx(expected, abs=atol)


def test_the_mended_diversity_trains_the_embedding():
    torch.manual_seed(0)
    gradients = {}
    for published in (True, False, None):
        torch.manual_seed(0)
        head = TwoStreamHead(3, 4, 5, 0.0, num_coarse_classes=2)
        head.rgb.fc.bias.data[:] = torch.tensor([9.0, 0, 0])  # class 0 is right for the first clips
        head.rgb.fc_coarse.bias.data[:] = torch.tensor([9.0, 0])
        settings = LossSettings(**dict.fromkeys(("rgb", "pose", "rgb_coarse", "pose_coarse", "tree"), 0.0))
        choice = {} if published is None else {"published_behaviour": published}
        losses = PCANLosses(settings, COARSE_OF, prototype_banks(head), **choice)
        torch.manual_seed(1)
        clips = torch.rand(6, 4, 2, 2, 2), torch.rand(6, 5, 2, 2, 2)
        step(head, losses, clips, torch.tensor([0, 0, 2, 2, 1, 0]))
        gradients[published] = head.rgb.fine_bank.embed.weight.grad.clone()
    assert not torch.allclose(gradients[True], gradients[False], rtol=1e-3, atol=1e-6)
    assert torch.equal(gradients[False], gradients[None])  # mended by default
