"""Modulation by two noise levels instead of by one for every token.

Kept tokens have noise level 0 and regenerated ones s, so a time embedding of thousands of rows
has only two distinct ones. Here the transformer is given the two, and each block spreads what it
makes of them over the tokens.
"""

from typing import TYPE_CHECKING, Any

from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel


class TwoValuedBlock(LTX2VideoTransformerBlock):  # type: ignore[misc]
    """A block that takes modulation as two rows, and `rows [N]` saying which row a token has."""

    rows: Tensor | None = None

    def get_mod_params(  # type: ignore[override]
        self, scale_shift_table: Tensor, temb: Tensor, batch_size: int
    ) -> tuple[Tensor, ...]:
        """Each parameter of a table `[p, D]` as `[B, N, D]`, or `[B, 1, D]` if all tokens share it.

        `temb [B, n, p * D]` has one row, two, or one for each token.
        """
        values = scale_shift_table + temb.unflatten(2, (len(scale_shift_table), -1))
        if self.rows is not None and temb.shape[1] == 2:
            values = values[:, self.rows]
        return values.unbind(2)


def accept_two_values(transformer: "LTX2VideoTransformer3DModel") -> None:
    """Let the transformer take `timestep [B, 2]` once `use_rows` has said which token has which."""
    if isinstance(transformer.transformer_blocks[0], TwoValuedBlock):
        return
    for block in transformer.transformer_blocks:
        block.__class__ = TwoValuedBlock
    transformer.time_embed.register_forward_hook(_spread_embedding)


def use_rows(transformer: "LTX2VideoTransformer3DModel", rows: Tensor | None) -> None:
    """Say which of the two timesteps each token has (`rows [N]`); None for any other timestep."""
    if not isinstance(transformer.transformer_blocks[0], TwoValuedBlock):
        return
    transformer.time_embed.rows = rows
    for block in transformer.transformer_blocks:
        block.rows = rows


def _spread_embedding(module: Any, _: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The output layer modulates by the embedding itself: give it one row for each token."""
    modulation, embedding = output
    rows = getattr(module, "rows", None)
    if rows is None:
        return output
    return modulation, embedding.unflatten(0, (-1, 2))[:, rows].flatten(0, 1)


def distinct(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """The one or two values of a mask `[1, N, 1]` as `[1, n, 1]`, and the row of each token.

    The rows are None where there is one value, which then holds for every token.
    """
    values, rows = mask[0, :, 0].unique(return_inverse=True)
    return values[None, :, None], rows if len(values) > 1 else None
