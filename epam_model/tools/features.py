"""Features, logits and attention maps of a model on a split, as one HDF5 file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from epam_data.stream import Batch, BatchFinisher, Stream
from epam_data.system.files import atomic_write
from epam_model.evaluate.predict import evaluating

Kind = Literal["pooled", "full"]

Columns = dict[str, NDArray[Any]]


def extract(
    model: nn.Module,
    stream: Stream,
    finisher: BatchFinisher,
    device: torch.device,
    out: Path,
    *,
    kind: str = "pooled",
    identity: dict[str, Any],
) -> int:
    """Write the features of every clip of a split; an interrupted call can be repeated to resume.

    The file has a row per clip, in storage order: `key`, `label` (-1: hidden), `rgb_logits`, `pose_logits` (N, K),
    `rgb_features`, `pose_features` (N, C) or, of kind `full`, (N, C, T, H, W), and for EPAM-Net `attention`
    (N, T, H, W) in 0 ... 1; all float32, compressed, one chunk per clip if clips are large. The attribute `identity`
    says what was computed. Until all are done, each batch is a separate file in `<out>.parts/`.

    Args:
        model: a recogniser, on `device`.
        stream: an evaluation stream of one process.
        finisher: turns a batch into the model's input; on `device`.
        device: the model's device.
        out: the HDF5 file.
        kind: `pooled` (mean over time and space) or `full`.
        identity: what identifies this computation (weights, shards, settings); parts with another identity are refused.

    Returns:
        The number of clips whose features existed from an interrupted call.

    Raises:
        ValueError: the kind is unknown, the file exists, its parts belong to another computation, or damaged samples
            would be left out.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    if out.exists():
        raise ValueError(f"{out}: already exists")
    if stream.settings.on_damage != "raise":
        raise ValueError(f"stream.on_damage must be raise for a row per clip, got {stream.settings.on_damage}")
    batch_size = stream.settings.batch_size
    text = json.dumps({**identity, "kind": kind, "batch_size": batch_size}, sort_keys=True, default=str)
    parts = out.with_name(f"{out.name}.parts")
    first = _finished_parts(parts, text)
    with evaluating(model), torch.inference_mode():
        for number, batch in enumerate(stream.epoch(consumed=first * batch_size), start=first):
            columns = _columns(model, batch, finisher(batch.to(device)), kind)
            _write_tables(parts / f"{number:06d}.h5", [columns], text)
    files = sorted(parts.glob("*.h5"))
    _write_tables(out, map(_read, files), text, num_rows=stream.num_samples)
    shutil.rmtree(parts)
    return min(first * batch_size, stream.num_samples)


def model_outputs(model: nn.Module, rgb: Tensor, pose: Tensor) -> dict[str, Tensor]:
    """All outputs of one forward pass: `<stream>_logits`, `<stream>_features` (B, C, T, H, W), `attention`."""
    with _recorded(model) as outputs:
        logits = model(rgb, pose)
    return {f"{name}_logits": scores for name, scores in logits.streams.items()} | outputs


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the input of the head, and the attention map, while the model runs."""
    outputs: dict[str, Tensor] = {}

    def keep_features(head: Any, features: tuple[Tensor, ...]) -> None:
        outputs.update({f"{name}_features": each for name, each in zip(head.streams, features, strict=True)})

    def keep_attention(_: nn.Module, __: Any, attention: Tensor) -> None:
        outputs["attention"] = attention[:, 0]

    hooks = [model.get_submodule("head").register_forward_pre_hook(keep_features)]
    attention = dict(model.get_submodule("backbone").named_children()).get("attention")
    if attention is not None:
        hooks.append(attention.register_forward_hook(keep_attention))
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _columns(model: nn.Module, batch: Batch, clips: tuple[Tensor, Tensor], kind: str) -> Columns:
    outputs = model_outputs(model, *clips)
    if kind == "pooled":
        outputs = {
            name: value.mean(dim=(2, 3, 4)) if name.endswith("features") else value for name, value in outputs.items()
        }
    columns = {name: value.float().cpu().numpy() for name, value in outputs.items()}
    return {"key": np.array(batch.keys, dtype=object), "label": batch.label.cpu().numpy()} | columns


def _finished_parts(parts: Path, identity: str) -> int:
    """The number of parts that an interrupted call finished; creates the folder if needed."""
    parts.mkdir(parents=True, exist_ok=True)
    record = parts / "identity.json"
    if record.exists() and record.read_text(encoding="utf-8") != identity:
        raise ValueError(f"{parts}: contains parts of another computation; delete it, or give another --out")
    record.write_text(identity, encoding="utf-8")
    count = 0
    while (parts / f"{count:06d}.h5").exists():
        count += 1
    return count


def _write_tables(path: Path, tables: Any, identity: str, num_rows: int | None = None) -> None:
    """Write tables one after another, so that the file appears complete or not at all."""
    with atomic_write(path) as target, h5py.File(target.name, "w") as file:
        file.attrs["identity"] = identity
        row = 0
        for table in tables:
            count = len(table["key"])
            for name, values in table.items():
                if name not in file:
                    _create(file, name, values, num_rows or count)
                file[name][row : row + count] = values
            row += count


def _create(file: h5py.File, name: str, values: NDArray[Any], num_rows: int) -> None:
    kind = h5py.string_dtype() if values.dtype.kind == "O" else values.dtype
    rows = 1 if values[:1].nbytes > 1 << 16 else min(num_rows, 256)
    file.create_dataset(
        name, (num_rows, *values.shape[1:]), kind, chunks=(rows, *values.shape[1:]), compression="gzip", shuffle=True
    )


def _read(path: Path) -> Columns:
    with h5py.File(path, "r") as file:
        return {name: file[name][:] for name in file}
