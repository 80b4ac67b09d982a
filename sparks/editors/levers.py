"""How the frozen denoiser and decoder are run: their speed and memory, not what they compute."""

from dataclasses import dataclass, replace

from sparks.errors import SparksError


@dataclass(frozen=True)
class Levers:
    """Switches of speed and memory. Results agree with the plain way up to rounding.

    Attributes:
        attention: backend of diffusers, e.g. `native`, `_native_cudnn` or `_native_flash`; its
            default if None.
        compile: compile the repeated transformer block, and what of it the backward pass needs
            again.
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
    compile: bool | None = None
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
        return bool(self.compile)


@dataclass(frozen=True)
class LTX2Levers(Levers):
    """Switches of LTX-2: those of every editor, and its own.

    On a CUDA device those of `attention`, `compile`, `joined_projections` and `cuda_graphs` that
    are None are chosen by what is quickest there, see `sparks.editors.choosing`; elsewhere they
    are off.

    Attributes:
        two_valued: modulate tokens by their two noise levels, kept and regenerated, instead of
            working the modulation out for every token.
        cached_positions: compute rotary embeddings once per shape instead of in every forward.
        joined_projections: one matrix product for all projections of the same tokens.
        cuda_graphs: replay a denoising step as one CUDA graph; with `compile` and checkpointing
            its backward pass too.
        eight_bits: matrix products of the large layers in 8 bits, with the input's gradient;
            beside `tiled_decode` the only one that changes the result beyond rounding.
    """

    two_valued: bool = True
    cached_positions: bool = True
    joined_projections: bool | None = None
    cuda_graphs: bool | None = None
    eight_bits: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            SparksError: naming the switch, its value and what is allowed.
        """
        super().__post_init__()
        if self.eight_bits and self.joined_projections is False:
            raise SparksError("eight_bits needs joined_projections; leave that open")

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the levers that the device decides."""
        names = ("attention", "compile", "joined_projections", "cuda_graphs")
        return tuple(name for name in names if getattr(self, name) is None)

    @property
    def closed(self) -> "LTX2Levers":
        """These, with what is open off; attention is left to the library."""
        return replace(
            self,
            compile=bool(self.compile),
            joined_projections=bool(self.joined_projections or self.eight_bits),
            cuda_graphs=bool(self.cuda_graphs),
        )

    @property
    def need_resident(self) -> bool:
        """Whether the denoiser's weights must stay where they are."""
        return bool(self.compile or self.cuda_graphs or self.joined_projections or self.eight_bits)


PLAIN = LTX2Levers(two_valued=False, cached_positions=False).closed
