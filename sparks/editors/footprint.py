"""What the denoiser and the decoder hold while they work: measured once, used to plan and choose.

Nothing heavy is imported here, so that memory can be planned before anything is loaded.
"""

from typing import Literal, get_args

Storage = Literal["resident", "fp8", "offload"]  # of the denoiser, see `sparks.editors.storage`
STORAGES: tuple[str, ...] = get_args(Storage)

# Activations of a block, in tensors the size of its video tokens (1.2 GiB at 1920 x 4096).
_BLOCK = 82
# Activations that a decoder keeps for its backward pass, in bfloat16 and with 256 channels at its
# finest as LTX-2.3 has them (13 GiB at 89 x 320 x 512).
_PIXEL, _CHANNELS, _ITEMSIZE = 960, 256, 2


def block_bytes(tokens: int, width: int, itemsize: int) -> int:
    """Of a block's activations for its backward pass, with so many video tokens."""
    return _BLOCK * tokens * width * itemsize


def decoder_bytes(pixels: int, channels: int, itemsize: int) -> int:
    """Of the decoder's activations for its backward pass, with so many channels at its finest."""
    return pixels * _PIXEL * channels * itemsize // (_CHANNELS * _ITEMSIZE)
