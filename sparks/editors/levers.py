"""How the frozen denoiser and decoder are run: their speed and memory, not what they compute."""

from dataclasses import dataclass

from sparks.errors import SparksError


@dataclass(frozen=True)
class Levers:
    """Switches of speed and memory. Results agree with the plain way up to rounding.

    Attributes:
        attention: backend of diffusers, e.g. `_native_cudnn` or `_native_flash`; its default if
            None.
        compile: compile the repeated transformer block.
        compile_backend: what compiles; `inductor` makes kernels, the others of torch check.
        activation_budget: with `compile`, what share of a block's activations its backward pass
            may keep; it takes the place of checkpointing. 0 keeps the inputs only.
        keep_blocks: blocks that are not recomputed when checkpointing; as many as memory allows
            if None.
        decoder_checkpointing: recompute the decoder stage by stage in the backward pass; where
            `sampling.checkpointing` is on and memory is short if None.
        channels_last: lay the decoder's convolutions out channels last.
        compile_decoder: compile the video decoder.
        tiled_decode: decode in overlapping tiles in time, to save memory; changes the seams.
    """

    attention: str | None = None
    compile: bool = False
    compile_backend: str = "inductor"
    activation_budget: float | None = None
    keep_blocks: int | None = None
    decoder_checkpointing: bool | None = None
    channels_last: bool = False
    compile_decoder: bool = False
    tiled_decode: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            SparksError: naming the switch, its value and what is allowed.
        """
        budget = self.activation_budget
        if budget is not None and not (0 <= budget <= 1 and self.compile):
            raise SparksError(
                f"activation_budget is {budget}; it must be 0 to 1 and needs compile=true"
            )
        if self.keep_blocks is not None and self.keep_blocks < 0:
            raise SparksError(f"keep_blocks is {self.keep_blocks}; it must be 0 or more")

    @property
    def need_resident(self) -> bool:
        """Whether the denoiser's weights must stay where they are."""
        return self.compile


@dataclass(frozen=True)
class LTX2Levers(Levers):
    """Switches of LTX-2: those of every editor, and its own.

    Attributes:
        two_valued: modulate tokens by their two noise levels, kept and regenerated, instead of
            working the modulation out for every token.
        cached_positions: compute rotary embeddings once per shape instead of in every forward.
        cuda_graphs: replay the steps without gradient as one CUDA graph.
    """

    two_valued: bool = True
    cached_positions: bool = True
    cuda_graphs: bool = False

    @property
    def need_resident(self) -> bool:
        """Whether the denoiser's weights must stay where they are."""
        return self.compile or self.cuda_graphs


PLAIN = LTX2Levers(two_valued=False, cached_positions=False)
