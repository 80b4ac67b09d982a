"""A solver's state on disk: tensors as safetensors, the rest as JSON in the file's header."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.files import replacing

FORMAT = "sparks.state/1"
_BYTES = torch.uint8


@dataclass(frozen=True)
class Checkpoint:
    """A search whose last batch is scored and not yet told to the solver.

    Attributes:
        evaluations: how many there were, that batch included.
        state: the solver's, plain data.
        z: the batch `[B, k]`.
        gradients: of its totals `[B, k]`, if the solver asked for them.
        best: z `[k]` of the best so far.
        skipped: evaluations before the batch that were no number, and of those the latest in a row.
    """

    evaluations: int
    state: Any
    z: Tensor
    gradients: Tensor | None
    best: Tensor | None
    skipped: tuple[int, int] = (0, 0)

    @property
    def before(self) -> int:
        """Evaluations before the batch."""
        return self.evaluations - len(self.z)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write in one step; what was at `path` becomes `previous(path)`.

    Raises:
        SparksError: the state holds something else than plain data, or cannot be written.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    content = json.dumps(_flatten(vars(checkpoint), tensors))
    texts = {"format": FORMAT, "content": content, "sha256": _digest(content, tensors)}
    data = save(tensors, texts)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        if path.exists():
            path.replace(previous(path))


def load_checkpoint(path: Path) -> Checkpoint | None:
    """What `save_checkpoint` wrote; None if the file is torn or holds something else.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(str(path), "pt") as file:
            texts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return None
    content = texts.get("content", "")
    if texts.get("format") != FORMAT or texts.get("sha256") != _digest(content, tensors):
        return None
    try:
        checkpoint = Checkpoint(**_rebuild(json.loads(content), tensors))
    except (ValueError, TypeError, KeyError, RecursionError):  # a whole file of something else
        return None
    counts = (checkpoint.evaluations, *checkpoint.skipped)
    whole = all(type(count) is int for count in counts) and isinstance(checkpoint.z, Tensor)
    return checkpoint if whole and checkpoint.z.ndim == 2 else None


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_suffix(f".previous{path.suffix}")


def _digest(content: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        values = tensors[name].contiguous().reshape(-1).view(dtype=_BYTES).numpy()
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON that keeps tuples and keys that are numbers; its tensors go to `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, _flatten(each, tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_flatten(each, tensors) for each in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SparksError(
        f"a solver's state holds a {type(value).__name__}; "
        "state_dict may give tensors, numbers, texts, lists and dicts"
    )


def _rebuild(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _rebuild(each, tensors) for key, each in content}
    return {"list": list, "tuple": tuple}[kind](_rebuild(each, tensors) for each in content)
