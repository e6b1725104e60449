from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from epam_model.losses.prototype import CoarsePrototypeLoss, FinePrototypeLoss, diversity
from tests.model.golden import GOLDENS
from tests.model.shared_goldens import needs_goldens

COARSE_OF = (0, 0, 1, 1)


def draw_batch(dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Tensor]:
    """24 clips of 4 classes whose predictions are right and wrong in every way."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (24,), generator=random)
    logits = torch.randn(24, 4, generator=random, dtype=torch.float64)
    coarse_logits = torch.randn(24, 2, generator=random, dtype=torch.float64)
    logits[torch.arange(0, 24, 2), labels[::2]] += 5
    batch = {
        "embeddings": torch.randn(24, 8, generator=random, dtype=torch.float64),
        "logits": logits,
        "coarse_logits": coarse_logits,
        "prototypes": torch.randn(8, 4, generator=random, dtype=torch.float64),
    }
    return {name: value.to(dtype) for name, value in batch.items()} | {"labels": labels}


def slow_term(z, logits, labels, prototypes, members: list[list[int]], sign: int, weight: float) -> Tensor:
    """One term, as the formula reads: sample by sample, class by class."""
    probabilities = logits.softmax(1)
    losses = []
    for n, y in enumerate(labels.tolist()):
        scores = []
        for k in range(logits.shape[1]):
            score = torch.cosine_similarity(z[n], prototypes[:, k], dim=0)
            if k == y and members[k]:
                towards = torch.cosine_similarity(z[n], sum(z[m] for m in members[k]), dim=0)
                score = score + 0.125 * (1 - probabilities[n, k]) * (sign * towards - 1)
            scores.append(score / 0.125)
        losses.append(-(weight * torch.stack(scores)).log_softmax(0)[y])
    return torch.stack(losses).mean()


def members(num_samples: int, num_classes: int, chosen: Callable[[int, int], bool]) -> list[list[int]]:
    """The samples of each class that are chosen."""
    return [[n for n in range(num_samples) if chosen(n, k)] for k in range(num_classes)]


def slow_moved(z: Tensor, prototypes: Tensor, right: list[list[int]]) -> Tensor:
    moved = prototypes.clone()
    for k, samples in enumerate(right):
        if samples:
            moved[:, k] = 0.9 * moved[:, k] + 0.1 * sum(z[n] for n in samples) / len(samples)
    return moved


def slow_fine(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    z, logits, labels = batch["embeddings"], batch["logits"], batch["labels"].tolist()
    fine = logits.argmax(1).tolist()
    ok = [c == COARSE_OF[y] for c, y in zip(batch["coarse_logits"].argmax(1).tolist(), labels, strict=True)]
    size = len(labels), 4
    prototypes = slow_moved(z, batch["prototypes"], members(*size, lambda n, k: ok[n] and labels[n] == k == fine[n]))
    sets = (
        (members(*size, lambda n, k: ok[n] and labels[n] == k != fine[n]), 1, 1.0),
        (members(*size, lambda n, k: not ok[n] and labels[n] == k == fine[n]), 1, 0.1),
        (members(*size, lambda n, k: not ok[n] and labels[n] == k != fine[n]), 1, 0.5),
        (members(*size, lambda n, k: labels[n] != k == fine[n]), -1, 1.0),
    )
    assert len(labels) < 24 or all(any(group) for group, _, _ in sets), "24 clips reach every case"
    return sum(slow_term(z, logits, batch["labels"], prototypes, *each) for each in sets), prototypes


def slow_coarse(z: Tensor, logits: Tensor, labels: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    truth, predicted, size = labels.tolist(), logits.argmax(1).tolist(), logits.shape
    prototypes = slow_moved(z, prototypes, members(*size, lambda n, k: truth[n] == k == predicted[n]))
    missed = members(*size, lambda n, k: truth[n] == k != predicted[n])
    taken = members(*size, lambda n, k: truth[n] != k == predicted[n])
    terms = (slow_term(z, logits, labels, prototypes, *each, 1.0) for each in ((missed, 1), (taken, -1)))
    return sum(terms), prototypes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_clips", [24, 5])
def test_fine_loss_is_the_formula_read_aloud(num_clips: int, seed: int):
    """Of a few clips, most sets are empty, or of one clip."""
    batch = {
        name: value if name == "prototypes" else value[:num_clips] for name, value in draw_batch(seed=seed).items()
    }
    result = FinePrototypeLoss(COARSE_OF)(**batch)
    loss, prototypes = slow_fine(batch)
    torch.testing.assert_close(result.loss, loss)
    torch.testing.assert_close(result.prototypes, prototypes)
    torch.testing.assert_close(result.diversity, diversity(prototypes))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_clips", [24, 5])
def test_coarse_loss_is_the_formula_read_aloud(num_clips: int, seed: int):
    batch = draw_batch(seed=seed)
    z, logits, labels = (batch[name][:num_clips] for name in ("embeddings", "logits", "labels"))
    result = CoarsePrototypeLoss()(z, logits, labels, batch["prototypes"])
    loss, prototypes = slow_coarse(z, logits, labels, batch["prototypes"])
    torch.testing.assert_close(result.loss, loss)
    torch.testing.assert_close(result.prototypes, prototypes)
    assert result.diversity is None


def test_embeddings_of_any_length_count_alike():
    """Only their direction enters the cosines; the prototypes are moved by nothing here."""
    batch = draw_batch()
    batch["logits"] = -10.0 * torch.nn.functional.one_hot(batch["labels"], 4).double()  # never right
    tiny = batch | {"embeddings": 1e-6 * batch["embeddings"]}
    module = FinePrototypeLoss(COARSE_OF)
    torch.testing.assert_close(module(**tiny).loss, module(**batch).loss)


@pytest.mark.parametrize("published", [False, True])
def test_the_diversity_trains_the_embeddings_unless_the_published_behaviour_is_asked_for(published: bool):
    batch = draw_batch()
    module = FinePrototypeLoss(COARSE_OF, published_behaviour=published)
    assert (
        module(**batch | {"embeddings": batch["embeddings"].requires_grad_()}).diversity.requires_grad is not published
    )


def test_a_loss_has_nothing_to_save():
    """The taxonomy comes from the data set; the prototypes are the model's."""
    assert not FinePrototypeLoss(COARSE_OF).state_dict() and not CoarsePrototypeLoss().state_dict()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_computes_in_float32(dtype):
    exact = {name: value.to(dtype) for name, value in draw_batch().items() if name != "labels"}
    batch = exact | {"labels": draw_batch()["labels"]}
    result = FinePrototypeLoss(COARSE_OF)(**batch)
    assert result.loss.dtype == result.prototypes.dtype == torch.float32
    wide = {name: value.double() for name, value in exact.items()} | {"labels": batch["labels"]}
    torch.testing.assert_close(result.loss.double(), FinePrototypeLoss(COARSE_OF)(**wide).loss, rtol=0, atol=1e-5)


def test_diversity_of_orthogonal_and_of_equal_prototypes():
    assert diversity(torch.eye(9)[:, :4]).item() == pytest.approx(2)  # sqrt(K)
    assert diversity(torch.ones(9, 4)).item() == pytest.approx(4)  # K


def test_a_class_without_true_positives_keeps_its_prototype():
    batch = draw_batch()
    batch["logits"] = -10.0 * torch.nn.functional.one_hot(batch["labels"], 4).double()  # never right
    result = FinePrototypeLoss(COARSE_OF)(**batch)
    assert torch.equal(result.prototypes, batch["prototypes"])


@pytest.fixture
def units() -> dict[str, Tensor]:
    with np.load(GOLDENS / "pcan_loss_units_f64.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


CLOSE = {"rtol": 0, "atol": 1e-9}


@needs_goldens
def test_fine_loss_and_gradients_are_the_published_ones(units):
    names = ("feat", "logit_fine", "logit_coarse", "cl_fc_w")
    feat, fine, coarse, weight = (units[name].clone().requires_grad_() for name in names)
    embeddings = feat @ weight.T + units["cl_fc_b"]
    module = FinePrototypeLoss(units["f2c"].tolist(), published_behaviour=True)
    result = module(embeddings, fine, coarse, units["yf"], units["proto_fine0"])
    total = result.loss + result.diversity
    torch.testing.assert_close(total, units["fine_loss"], **CLOSE)
    torch.testing.assert_close(result.diversity, units["fine_div"], **CLOSE)
    total.backward()
    torch.testing.assert_close(result.prototypes, units["fine_proto1"], **CLOSE)
    torch.testing.assert_close(feat.grad, units["fine_gx"], **CLOSE)
    torch.testing.assert_close(fine.grad, units["fine_glogit"], **CLOSE)
    torch.testing.assert_close(weight.grad, units["fine_gW"], **CLOSE)
    assert coarse.grad is None and units["fine_gcoarse_is_none"]


@needs_goldens
def test_coarse_loss_and_gradients_are_the_published_ones(units):
    feat, logits = (units[name].clone().requires_grad_() for name in ("feat", "logit_coarse"))
    embeddings = feat @ units["cl_fc_w"].T + units["cl_fc_b"]
    result = CoarsePrototypeLoss()(embeddings, logits, units["yc"], units["proto_coarse0"])
    torch.testing.assert_close(result.loss, units["coarse_loss"], **CLOSE)
    result.loss.backward()
    torch.testing.assert_close(result.prototypes, units["coarse_proto1"], **CLOSE)
    torch.testing.assert_close(feat.grad, units["coarse_gx"], **CLOSE)
    torch.testing.assert_close(logits.grad, units["coarse_glogit"], **CLOSE)


def test_wrong_shapes_are_named():
    batch = draw_batch()
    with pytest.raises(ValueError, match=r"prototypes must be \(8, 4\), got \(8, 3\)"):
        FinePrototypeLoss(COARSE_OF)(**{**batch, "prototypes": batch["prototypes"][:, :3]})
    for name, lengths in (("embeddings", "11, 24 and 24"), ("logits", "24, 11 and 24"), ("labels", "24, 24 and 11")):
        values = [batch[each][:11] if each == name else batch[each] for each in ("embeddings", "logits", "labels")]
        with pytest.raises(ValueError, match=f"must have the same length, got {lengths}"):
            CoarsePrototypeLoss()(*values, batch["prototypes"])
    with pytest.raises(ValueError, match="must have the same length, got 24, 24 and 11"):
        FinePrototypeLoss(COARSE_OF)(**{**batch, "labels": batch["labels"][:11]})
    with pytest.raises(ValueError, match=r"logits must be \(B, 5\) for this taxonomy, got \(24, 4\)"):
        FinePrototypeLoss((0, 0, 1, 1, 1))(**batch)


def test_autocast_changes_nothing():
    """Its products of 16 bits would round the counts of large batches, and the prototypes for ever."""
    batch = draw_batch(torch.float32)
    labels, coarse = batch.pop("labels"), batch.pop("coarse_logits")
    fine = FinePrototypeLoss(COARSE_OF)

    def both() -> tuple[Tensor, ...]:
        of_classes = fine(batch["embeddings"], batch["logits"], coarse, labels, batch["prototypes"])
        of_groups = CoarsePrototypeLoss()(batch["embeddings"], batch["logits"], labels, batch["prototypes"])
        return of_classes.loss, of_classes.prototypes, of_classes.diversity, of_groups.loss, of_groups.prototypes

    expected = both()
    with torch.autocast("cpu", torch.bfloat16):
        got = both()
    assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


def test_sums_are_taken_over_the_ranks_unless_the_published_behaviour_is_asked_for():
    assert CoarsePrototypeLoss().across_ranks and FinePrototypeLoss(COARSE_OF).across_ranks
    assert not CoarsePrototypeLoss(published_behaviour=True).across_ranks
    assert not FinePrototypeLoss(COARSE_OF, published_behaviour=True).across_ranks
