"""What a pass would do on a GPU, seen without one: the operations that torch dispatches, and reads of the host."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

NOT_DETERMINISTIC = (
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward",
    "avg_pool3d_backward",
    "bincount",
    "cumsum",
    "fractional_max_pool",
    "grid_sampler",
    "histc",
    "max_pool3d_with_indices_backward",
    "max_unpool",
    "median",
    "put_",
    "reflection_pad",
    "replication_pad",
    "scatter_reduce",
    "upsample",
)
"""Starts of the names of operations whose order of additions on CUDA is open: `torch.use_deterministic_algorithms`
names them, and makes the others of its list deterministic."""


class Operations(TorchDispatchMode):
    """Notes the names of all operations inside, those of backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function._schema.name.removeprefix("aten::").lstrip("_"))
        return function(*args, **(kwargs or {}))

    def not_deterministic(self) -> set[str]:
        return {name for name in self.names if name.startswith(NOT_DETERMINISTIC)}
