"""A recogniser in evaluation mode as one graph: for `torch.export` (`.pt2`) or ONNX (`.onnx`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from epam_model.networks.fold import fold_batch_norms
from epam_model.networks.heads import Logits

FORMATS = (".pt2", ".onnx")


class PlainOutputs(nn.Module):
    """A recogniser that returns a tuple of tensors: the logits (B, K) of each stream, in the order rgb, pose.

    Args:
        model: maps (rgb, pose) to `Logits`; it is copied, with batch norms folded, in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = fold_batch_norms(model)

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
        """Classifies clips: rgb (B, 3, T, H, W), normalised, and pose (B, V, T', h, w), float."""
        logits: Logits = self.model(rgb, pose)
        return tuple(logits.streams.values())


def export_model(model: nn.Module, out: Path, *, rgb: Tensor, pose: Tensor) -> None:
    """Write a recogniser for one size of clips and any batch size.

    Args:
        model: maps (rgb, pose) to `Logits`, on the CPU.
        out: the file; its ending selects the format.
        rgb: clips (B, 3, T, H, W), float, as examples; B at least 2.
        pose: clips (B, V, T', h, w), float.

    Raises:
        ValueError: the ending is unknown, or a package that ONNX needs is not installed.
    """
    if out.suffix not in FORMATS:
        raise ValueError(f"{out}: the ending must be one of {', '.join(FORMATS)}")
    program = export_program(model, rgb=rgb, pose=pose)
    if out.suffix == ".pt2":
        torch.export.save(program, out)
        return
    try:
        import onnxscript  # noqa: F401 (torch's exporter imports it late, with a less clear error)
    except ImportError:
        raise ValueError(f"{out}: ONNX needs the packages onnx and onnxscript: pip install onnx onnxscript") from None
    names = [f"{stream}_logits" for stream in _streams(model, rgb, pose)]
    torch.onnx.export(
        program,
        (),
        str(out),
        input_names=["rgb", "pose"],
        output_names=names,
        dynamo=True,
        external_data=False,
        optimize=False,  # takes many minutes here; runtimes optimise when they load the file
    )


def export_program(model: nn.Module, *, rgb: Tensor, pose: Tensor) -> torch.export.ExportedProgram:
    """The graph that `export_model` writes; same arguments."""
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        return torch.export.export(PlainOutputs(model), (rgb, pose), dynamic_shapes=({0: batch}, {0: batch}))


def _streams(model: nn.Module, rgb: Tensor, pose: Tensor) -> list[str]:
    with torch.no_grad():
        logits: Logits = model.eval()(rgb[:1], pose[:1])
    return list(logits.streams)
