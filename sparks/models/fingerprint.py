"""What tells one set of weights from another without reading all of it."""

import hashlib
from pathlib import Path

#: What controls are made for: their audio goes through one group, their text through the other.
GROUPS = {
    "model": ("transformer", "vae", "audio_vae"),
    "text_encoder": ("text_encoder", "tokenizer", "connectors"),
}
_BLOCK, _BLOCKS = 4096, 64


def fingerprints(folder: Path) -> dict[str, str]:
    """A fingerprint of each of GROUPS in a model folder.

    Of each weights file: its size and 64 blocks, the first, the last and others evenly between,
    so that 46 GB take no longer than 1 MB; training changes almost every block.
    """
    return {name: _fingerprint(folder, parts) for name, parts in GROUPS.items()}


def _fingerprint(folder: Path, parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted((folder / part).glob("*.safetensors")):
            digest.update(part.encode() + _sample(path))
        for path in (folder / part).glob("tokenizer.json"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    step = max(1, (size - _BLOCK) // (_BLOCKS - 1))
    with path.open("rb") as file:
        blocks = [str(size).encode()]
        for start in range(0, max(1, size - _BLOCK + 1), step):
            file.seek(start)
            blocks.append(file.read(_BLOCK))
    return b"".join(blocks)
