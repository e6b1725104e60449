"""The exponential moving average of a model's weights, which is often better than the weights of any single step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from epam_model.weights.checkpoint import load_weights


class WeightAverage:
    """A second model with the mean weights: mean = decay * mean + (1 - decay) * weights, after each step.

    Batch-norm statistics and prototypes are averaged too. It starts with the weights after the first step.

    Args:
        model: the trained model; it is copied.
        decay: share of the mean that a step keeps.

    Attributes:
        model: the averaged model, for evaluation.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        moving_average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._averaged = AveragedModel(model, multi_avg_fn=moving_average, use_buffers=True)
        self.model: nn.Module = self._averaged.module

    def update(self, model: nn.Module) -> None:
        """Update the mean after a step of the trained model."""
        self._averaged.update_parameters(model)

    def state(self) -> dict[str, Tensor]:
        """The averaged model's state dict."""
        return self.model.state_dict()

    @torch.no_grad()
    def load(self, state: dict[str, Tensor], what: str) -> None:
        """Restore a state; raises as `load_weights`."""
        load_weights(self.model, state, what)
        self._averaged.n_averaged.fill_(1)  # so that the next update averages instead of copying the weights
