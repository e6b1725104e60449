r"""PCAN's prototype losses: pull ambiguous samples towards the prototype of their class (Li et al., AAAI 2025).

For embeddings z (B, h), softmax p of the logits, prototypes M (h, K) and a set of samples A_k for each class:

    S_nk = (cos(z_n, M_k) + Y_nk a (1 - p_nk) [A_k not empty] (s cos(z_n, sum of z over A_k) - 1)) / t
    term(A, s, w) = CE(w S, y),          a = t = 0.125

where M_k was first updated to 0.9 stop(M_k) + 0.1 (mean of z over the true positives of k), if there are any. The form
is that of FR-Head (Zhou et al., CVPR 2023).

Faults of the published code that are fixed here, unless `published_behaviour=True`:
- the diversity of the fine prototypes was computed on a new leaf tensor, so it trained nothing; here it is computed on
  the updated M, and its gradient reaches the embedding layer through the 0.1 part;
- each rank updated its own prototypes from its own sets; here sums and counts are those of all ranks, so the loss is
  that of the global batch, and all ranks have the same prototypes.
Always fixed: the coarse prototypes were not saved; constants of MA-52 (7, 45, 52, 59) and `.cuda()` were hard-coded;
labels went through the backbone.
Everything is computed in float32 or wider, whatever the dtype of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model.ranks.distributed import sum_with_gradient

ALPHA = TEMPERATURE = 0.125
MOMENTUM = 0.9
DROPPED_WEIGHT, MISSED_WEIGHT = 0.1, 0.5
"""Factors of the logits in the fine terms, for samples whose coarse prediction is wrong: fine right, fine wrong."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PrototypeLoss:
    """What a prototype loss returns."""

    loss: Tensor  # scalar
    prototypes: Tensor  # (h, K) float, updated; carries gradients
    diversity: Tensor | None = None  # scalar, of the fine prototypes


class CoarsePrototypeLoss(nn.Module):
    """Coarse feature refinement: mean of term(false negatives, +1, 1) + term(false positives, -1, 1).

    Args:
        published_behaviour: see the module's docstring.
    """

    def __init__(self, *, published_behaviour: bool = False) -> None:
        super().__init__()
        self.across_ranks = not published_behaviour

    def forward(self, embeddings: Tensor, logits: Tensor, labels: Tensor, prototypes: Tensor) -> PrototypeLoss:
        """The loss of a batch.

        Args:
            embeddings: (B, h) float.
            logits: (B, Kc) float, of the coarse groups.
            labels: (B,) int64, coarse.
            prototypes: (h, Kc) float, as they are before this batch.

        Raises:
            ValueError: shapes do not fit.
        """
        _check(embeddings, logits, labels, prototypes)
        with torch.autocast(embeddings.device.type, enabled=False):  # else its products and counts would be of 16 bits
            embeddings, logits, prototypes = _at_least_float32(embeddings, logits, prototypes)
            return self._loss(embeddings, logits, prototypes, labels)

    def _loss(self, embeddings: Tensor, logits: Tensor, prototypes: Tensor, labels: Tensor) -> PrototypeLoss:
        predicted = logits.argmax(dim=1)
        right = predicted == labels
        sets = _class_sums(
            embeddings,
            [(labels, right), (labels, ~right), (predicted, ~right)],
            num_classes=logits.shape[1],
            across_ranks=self.across_ranks,
        )
        updated = _moved(prototypes, sets[0])
        similarity = _cosines(embeddings, updated)
        gap = ALPHA * (1 - _of_label(logits.softmax(dim=1), labels))
        loss = _term(similarity, embeddings, labels, gap, sets[1], sign=1)
        loss = loss + _term(similarity, embeddings, labels, gap, sets[2], sign=-1)
        return PrototypeLoss(loss=loss, prototypes=updated)


class FinePrototypeLoss(nn.Module):
    """Fine feature refinement; the terms of a sample depend on whether its coarse prediction is right.

    With ok = coarse prediction right: mean of term(ok, fine wrong; +1, 1) + term(not ok, fine right; +1, 0.1) +
    term(not ok, fine wrong; +1, 0.5) + term(false positives; -1, 1). True positives, which move the prototypes, need
    both predictions right.

    Args:
        coarse_of: coarse label of each of the K classes.
        published_behaviour: see the module's docstring.
    """

    coarse_of: Tensor

    def __init__(self, coarse_of: Sequence[int], *, published_behaviour: bool = False) -> None:
        super().__init__()
        self.register_buffer("coarse_of", torch.tensor(coarse_of), persistent=False)
        self.across_ranks = not published_behaviour
        self.train_diversity = not published_behaviour

    def forward(
        self, embeddings: Tensor, logits: Tensor, coarse_logits: Tensor, labels: Tensor, prototypes: Tensor
    ) -> PrototypeLoss:
        """The loss of a batch; the diversity is returned separately.

        Args:
            embeddings: (B, h) float.
            logits: (B, K) float.
            coarse_logits: (B, Kc) float; they get no gradient.
            labels: (B,) int64.
            prototypes: (h, K) float, as they are before this batch.

        Raises:
            ValueError: shapes do not fit each other or the taxonomy.
        """
        _check(embeddings, logits, labels, prototypes)
        if logits.shape[1] != len(self.coarse_of):
            raise ValueError(f"logits must be (B, {len(self.coarse_of)}) for this taxonomy, got {tuple(logits.shape)}")
        ok = coarse_logits.argmax(dim=1) == self.coarse_of[labels]
        with torch.autocast(embeddings.device.type, enabled=False):  # else its products and counts would be of 16 bits
            embeddings, logits, prototypes = _at_least_float32(embeddings, logits, prototypes)
            return self._loss(embeddings, logits, prototypes, labels, ok)

    def _loss(
        self, embeddings: Tensor, logits: Tensor, prototypes: Tensor, labels: Tensor, ok: Tensor
    ) -> PrototypeLoss:
        predicted = logits.argmax(dim=1)
        right = predicted == labels
        sets = _class_sums(
            embeddings,
            [
                (labels, ok & right),
                (labels, ok & ~right),
                (labels, ~ok & right),
                (labels, ~ok & ~right),
                (predicted, ~right),
            ],
            num_classes=logits.shape[1],
            across_ranks=self.across_ranks,
        )
        updated = _moved(prototypes, sets[0])
        similarity = _cosines(embeddings, updated)
        gap = ALPHA * (1 - _of_label(logits.softmax(dim=1), labels))
        loss = _term(similarity, embeddings, labels, gap, sets[1], sign=1)
        loss = loss + _term(similarity, embeddings, labels, gap, sets[2], sign=1, weight=DROPPED_WEIGHT)
        loss = loss + _term(similarity, embeddings, labels, gap, sets[3], sign=1, weight=MISSED_WEIGHT)
        loss = loss + _term(similarity, embeddings, labels, gap, sets[4], sign=-1)
        spread = diversity(updated if self.train_diversity else updated.detach())
        return PrototypeLoss(loss=loss, prototypes=updated, diversity=spread)


def diversity(prototypes: Tensor) -> Tensor:
    """How similar the prototypes (h, K) are: the Frobenius norm of the matrix of their cosines, sqrt(K) ... K."""
    units = functional.normalize(prototypes, dim=0)
    norm: Tensor = torch.linalg.matrix_norm(units.T @ units)
    return norm


@dataclass(frozen=True, kw_only=True, eq=False)
class _ClassSums:
    sums: Tensor  # (K, h), sum of the embeddings of the set of each class
    counts: Tensor  # (K,), size of the set of each class


def _class_sums(
    embeddings: Tensor, sets: list[tuple[Tensor, Tensor]], *, num_classes: int, across_ranks: bool
) -> list[_ClassSums]:
    """Sums and counts by class over all ranks, for each set (class of each sample, whether it is in the set)."""
    members = torch.cat(
        [functional.one_hot(classes, num_classes) * chosen[:, None] for classes, chosen in sets], dim=1
    ).to(embeddings.dtype)  # (B, sets * K)
    table = torch.cat((members.T @ embeddings, members.sum(dim=0)[:, None]), dim=1)  # (sets * K, h + 1)
    if across_ranks:
        table = sum_with_gradient(table)
    return [_ClassSums(sums=part[:, :-1], counts=part[:, -1].detach()) for part in torch.split(table, num_classes)]


def _moved(prototypes: Tensor, true_positives: _ClassSums) -> Tensor:
    """The new prototypes (h, K): those with true positives move towards the mean of these."""
    counts = true_positives.counts
    means = (true_positives.sums / counts.clamp(min=1)[:, None]).T
    old = prototypes.detach()
    return torch.where(counts > 0, MOMENTUM * old + (1 - MOMENTUM) * means, old)


def _term(
    similarity: Tensor,
    embeddings: Tensor,
    labels: Tensor,
    gap: Tensor,
    ambiguous: _ClassSums,
    *,
    sign: int,
    weight: float = 1.0,
) -> Tensor:
    """Mean cross-entropy of the calibrated similarity; only the entry of the label is calibrated."""
    towards = functional.cosine_similarity(embeddings, ambiguous.sums[labels], dim=1, eps=1e-12)  # (B,)
    calibration = gap * (ambiguous.counts > 0)[labels] * (sign * towards - 1)
    at_label = functional.one_hot(labels, similarity.shape[1]).to(similarity.dtype)
    scores = (similarity + at_label * calibration[:, None]) / TEMPERATURE
    return functional.cross_entropy(weight * scores, labels)


def _cosines(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    return functional.normalize(embeddings, dim=1) @ functional.normalize(prototypes, dim=0)  # (B, K)


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def _at_least_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors)


def _check(embeddings: Tensor, logits: Tensor, labels: Tensor, prototypes: Tensor) -> None:
    expected = (embeddings.shape[1], logits.shape[1])
    if tuple(prototypes.shape) != expected:
        raise ValueError(f"prototypes must be {expected}, got {tuple(prototypes.shape)}")
    if not len(embeddings) == len(logits) == len(labels):
        raise ValueError(
            f"embeddings, logits and labels must have the same length, "
            f"got {len(embeddings)}, {len(logits)} and {len(labels)}"
        )
